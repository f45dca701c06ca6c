"""Which module of a model folder is the entry. Refuses to import it: only the child does."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from iqeval.errors import EntryError

ENTRY_FILE = "entry.json"
SKIPPED = frozenset({"__pycache__", "upload.tar.gz", ".git"})
"""What is no part of a model: made by Python, by packing, by version control."""

_WHOLE_BELOW = 64 << 20
_SAMPLE = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model folder and its entry module."""

    folder: Path
    module: str


def read_entry(folder: Path) -> Entry:
    """Return what a model folder's `entry.json` says.

    Raises:
        EntryError: no folder, no file, not JSON, no `model`, or a module that is not in the folder.
    """
    path = folder / ENTRY_FILE
    if not folder.is_dir():
        raise EntryError(f"{folder}: no such folder; expected a model folder with {ENTRY_FILE}")
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as exc:
        raise EntryError(
            f'{path}: no such file; it names the entry module, as in {{"model": "entry_model"}}'
        ) from exc
    except UnicodeDecodeError as exc:
        raise EntryError(f"{path}: not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise EntryError(f"{path}, line {exc.lineno}: not JSON: {exc.msg}") from exc
    except OSError as exc:
        raise EntryError(f"{path}: cannot be read: {exc.strerror}") from exc
    if not isinstance(found, dict):
        raise EntryError(
            f'{path}: expected an object as in {{"model": "entry_model"}}, found {json.dumps(found)[:40]}'
        )
    name = found.get("model")
    if not isinstance(name, str) or not name:
        was = json.dumps(name)[:40] if "model" in found else "nothing"
        raise EntryError(f"{path}, model: expected the name of a module, found {was}")
    if module_file(folder, name) is None or not _inner_exists(folder, name):
        raise EntryError(f"{path}, model: there is no module {name!r} in {folder}{_near(folder, name)}")
    return Entry(folder=folder, module=name)


def module_file(folder: Path, name: str) -> Path | None:
    """Return the file that holds the top of module `name` in `folder`, or its package's folder, or None."""
    top = name.partition(".")[0]
    if not top or "/" in name or "\\" in name:
        return None
    for path in (folder / top / "__init__.py", folder / f"{top}.py"):
        if path.is_file():
            return path
    compiled = sorted(folder.glob(f"{_escaped(top)}.*so"))
    if compiled:
        return compiled[0]
    return folder / top if (folder / top).is_dir() and "." in name else None


def _inner_exists(folder: Path, name: str) -> bool:
    """Tell whether the inner part of a dotted name is there, where its package is plain source."""
    top, *inner = name.split(".")
    place = folder / top
    if not inner or not place.is_dir():
        return not inner
    target = place.joinpath(*inner)
    return (
        target.with_name(f"{target.name}.py").is_file()
        or target.is_dir()
        or any(target.parent.glob(f"{_escaped(target.name)}.*so"))
    )


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _near(folder: Path, name: str) -> str:
    if name.endswith(".py") and module_file(folder, name[:-3]):
        return f"; leave out the .py: {name[:-3]!r}"
    import difflib  # only where a name is wrong

    here = sorted(path.stem for path in folder.glob("*.py"))
    close = difflib.get_close_matches(name, here, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; there are {', '.join(map(repr, here[:8]))}" if here else "; there is no Python file at all"


def model_digest(folder: Path) -> str:
    """Return a hash of a model folder's names and contents, the same wherever the folder lies.

    Files over 64 MiB count by size, time and their first and last MiB: weights of many gigabytes would
    otherwise be read once more at each start.
    """
    digest = hashlib.sha256()
    for path in model_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode("utf-8", "surrogateescape"))
        try:
            status = path.stat()
            with path.open("rb") as stream:
                if status.st_size <= _WHOLE_BELOW:
                    digest.update(stream.read())
                else:
                    digest.update(f"{status.st_size} {status.st_mtime_ns}".encode() + stream.read(_SAMPLE))
                    stream.seek(-_SAMPLE, os.SEEK_END)
                    digest.update(stream.read())
        except OSError as exc:
            digest.update(f"unreadable {exc.errno}".encode())
        digest.update(b"\0")
    return digest.hexdigest()


def model_files(folder: Path) -> list[Path]:
    """Return a model folder's files in a fixed order, without what is no part of the model."""
    found: list[Path] = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        found += [Path(where, name) for name in sorted(files) if name not in SKIPPED]
    return found
