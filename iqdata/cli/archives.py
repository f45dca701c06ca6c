"""What `preview` and `extract` have in common: which archives the arguments mean, and what their paths are called.

Refuses to open an archive.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from iqdata.config import find_workspace, parse_size
from iqdata.errors import ConfigError
from iqdata.extract.model import Engine, Limits
from iqdata.extract.warnings import advice_without_rule
from iqdata.rules import is_temporary, tool_for
from iqdata.tree import Entry, Kind

_PRIVATE = ".iqdata"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One archive of the command line.

    Attributes:
        path: where it is, absolute.
        base: the folder that shown paths start from: its workspace, or the current folder.
        shown: its path below `base`, with `/`.
        workspace: the workspace it lies in, or None.
    """

    path: Path
    base: Path
    shown: str
    workspace: Path | None


F = TypeVar("F", bound=Callable[..., int])


def decoding_options(function: F) -> F:
    """Give a verb `--engine`, `--max-bytes` and `--max-ratio`."""
    for option in (
        click.option(
            "--max-ratio",
            type=click.IntRange(min=1),
            metavar="N",
            help="Allow N decoded bytes per archive byte.",
        ),
        click.option("--max-bytes", metavar="SIZE", help="Allow so much content per archive (10G)."),
        click.option(
            "--engine",
            type=click.Choice([engine.value for engine in Engine]),
            default="auto",
            help="Who decodes.",
        ),
    ):
        function = option(function)
    return function


def limits_of(max_bytes: str | None, max_ratio: int | None) -> Limits:
    """Return the limits that the command line asks for.

    Raises:
        ConfigError: a size that is none.
    """
    limits = Limits()
    if max_bytes is not None:
        limits = msgspec.structs.replace(limits, max_bytes=parse_size(max_bytes, what="--max-bytes"))
    if max_ratio is not None:
        limits = msgspec.structs.replace(limits, max_ratio=max_ratio)
    return limits


def archives_of(arguments: Sequence[str], *, current: Path) -> list[Archive]:
    """Return the archives that the arguments name; of a folder, every file in it to which a rule applies (or nearly).

    Raises:
        ConfigError: an argument that does not exist.
    """
    found: list[Archive] = []
    for argument in arguments:
        path = Path(os.path.normpath(current / argument))
        if path.is_dir():
            found.extend(_named(inner, current) for inner in _in_folder(path))
        elif os.path.lexists(path):
            found.append(_named(path, current))
        else:
            raise ConfigError(f"{argument}: no such file or folder (looked in {current})")
    return found


def _in_folder(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != _PRIVATE and not is_temporary(name))
        for name in sorted(files):
            if tool_for(name) is not None or advice_without_rule(name):
                yield Path(where, name)


def _named(path: Path, current: Path) -> Archive:
    workspace = find_workspace(path.parent)
    base = workspace or current
    shown = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
    return Archive(path=path, base=base, shown=shown, workspace=workspace)


def local_entry(base: Path, path: str) -> Entry | None:
    """Return what stands at `path` below `base`, links not followed."""
    try:
        facts = os.lstat(base / path)
    except OSError:
        return None
    kind = facts.st_mode & 0o170000
    if kind == 0o040000:
        return Entry(Kind.FOLDER)
    if kind == 0o100000:
        return Entry(Kind.FILE, facts.st_size, facts.st_mtime_ns)
    return Entry(Kind.OTHER)
