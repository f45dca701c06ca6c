"""What is wrong, or odd, in a model folder, found without running it: all of it at once, with file and line.

The same findings are given before an upload and before a run. Refuses to import the model: it is read as text.
"""

import ast
import dataclasses
import enum
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from iqeval.entry import ENTRY_FILE, module_file, read_entry
from iqeval.errors import EntryError

_AREAS = ("train_data", "group_data")
_FUNCTIONS = ("get_model_object", "get_eval_cls")
_MOST_CODE_BYTES = 4 << 20


class Level(enum.Enum):
    """How bad a finding is: an error stops packing."""

    ERROR = "error"
    WARNING = "warning"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found; `path` is relative to the model folder."""

    level: Level
    path: str
    text: str
    line: int | None = None

    @property
    def text_line(self) -> str:
        """The finding on one line, as compilers write theirs."""
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.level.value}: {self.text}"


def error(path: str, text: str, line: int | None = None) -> Finding:
    """Return a finding that stops packing."""
    return Finding(level=Level.ERROR, path=path, text=text, line=line)


def warning(path: str, text: str, line: int | None = None) -> Finding:
    """Return a finding that does not."""
    return Finding(level=Level.WARNING, path=path, text=text, line=line)


def entry_findings(folder: Path) -> Iterator[Finding]:
    """Yield what is wrong with the entry: the file, the module, its functions and their parameters."""
    try:
        entry = read_entry(folder)
    except EntryError as exc:
        yield error(ENTRY_FILE, str(exc).removeprefix(f"{folder / ENTRY_FILE}").lstrip(":, "))
        return
    path = module_file(folder, entry.module)
    if path is None or path.suffix != ".py":
        return  # compiled, or a folder without __init__.py: only a run can tell
    if "." in entry.module:
        inner = folder.joinpath(*entry.module.split("."))
        path = next(
            (file for file in (inner.with_suffix(".py"), inner / "__init__.py") if file.is_file()), None
        )
        if path is None:
            yield error(
                ENTRY_FILE,
                f"model: there is no module {entry.module!r}: {inner.with_suffix('.py')} is not there",
            )
            return
    yield from _function_findings(folder, path)


def _function_findings(folder: Path, path: Path) -> Iterator[Finding]:
    tree = parse(path)
    name = path.relative_to(folder).as_posix()
    if not isinstance(tree, ast.Module):
        return  # a syntax error: `code_findings` names it
    defined, star = _defined(tree)
    if not star and not any(function in defined for function in _FUNCTIONS):
        yield error(name, "defines neither get_model_object(category) nor get_eval_cls(category)")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node not in tree.body:
            continue
        given = node.args
        needed = len(given.posonlyargs) + len(given.args) - len(given.defaults)
        most = len(given.posonlyargs) + len(given.args)
        takes_one = (
            needed <= 1
            and (most >= 1 or given.vararg is not None)
            and not any(default is None for default in given.kw_defaults)
        )
        if node.name in _FUNCTIONS and not takes_one:
            yield error(name, f"{node.name} is called with one argument, the category", node.lineno)
        if node.name == "global_pre_run" and needed > 0:
            yield error(name, "global_pre_run is called without arguments", node.lineno)


def _defined(tree: ast.Module) -> tuple[set[str], bool]:
    """Return the names a module defines at its top level, and whether it imports all of another's."""
    names: set[str] = set()
    star = False
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    star = star or alias.name == "*"
                    names.add((alias.asname or alias.name).partition(".")[0])
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names, star


def parse(path: Path) -> ast.Module | SyntaxError | None:
    """Return a file's syntax tree, or the error in it; None where it is too large to be somebody's code."""
    try:
        if path.stat().st_size > _MOST_CODE_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as exc:
        return exc
    except (OSError, ValueError, RecursionError, MemoryError) as exc:
        return SyntaxError(str(exc))


def code_findings(folder: Path, files: list[Path], *, space: Path | None) -> Iterator[Finding]:
    """Yield what reading the code tells: syntax errors, data that is not there, absolute paths, imports found nowhere.

    Args:
        folder: the model folder.
        files: the Python files in it that count.
        space: the work root against which data paths are looked up; None where it is not known.
    """
    own = {path.stem for path in folder.glob("*.py")} | {
        path.name for path in folder.iterdir() if path.is_dir()
    }
    told: set[str] = set()
    for path in files:
        name = path.relative_to(folder).as_posix()
        tree = parse(path)
        if isinstance(tree, SyntaxError):
            yield error(name, f"syntax error: {tree.msg}", tree.lineno)
            continue
        if tree is None:
            continue
        documentation = _documentation(tree)
        beside = {file.stem for file in path.parent.glob("*.py")}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
                yield from _path_findings(name, node.value, node.lineno, space)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for top in _imported(node):
                    if top not in told and top not in own | beside and not _is_known(top):
                        told.add(top)
                        yield warning(
                            name,
                            f"imports {top!r}, which is neither in the folder nor installed here",
                            node.lineno,
                        )


def _documentation(tree: ast.Module) -> set[ast.AST]:
    """Return the strings that stand alone: they are text for people."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def _path_findings(name: str, text: str, line: int, space: Path | None) -> Iterator[Finding]:
    if len(text) > 400 or "\n" in text:
        return
    plain = text.removeprefix("./")
    if plain.partition("/")[0] in _AREAS and "/" in plain and space is not None:
        if any(char in plain for char in "*?[%{"):
            return  # a pattern or a template
        if not (space / plain).exists():
            yield warning(name, f"{text!r}: there is no {plain} in {space}", line)
    elif text.startswith(("/home/", "/Users/", "/root/", "/mnt/", "/data/")) or (
        len(text) > 3 and text[1:3] in (":\\", ":/") and text[0].isalpha()
    ):
        yield warning(
            name,
            f"{text!r} is an absolute path; a model sees its own folder, train_data and group_data",
            line,
        )


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [] if node.level or not node.module else [node.module.partition(".")[0]]


def _is_known(top: str) -> bool:
    if top in sys.stdlib_module_names or top in ("iqtest", "iqeval"):
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError, AttributeError):
        return False
