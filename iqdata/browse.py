"""The space by hand: look, fetch, put, rename, delete, one thing at a time.

Refuses to replace what it was not told to: an existing target is an error unless `force` says otherwise.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from iqdata.errors import ConfigError, Missing
from iqdata.localfolder import random_token
from iqdata.paths import ROOT, RelPath
from iqdata.rules import temporary_name
from iqdata.transports.base import PublishJob, Transport
from iqdata.tree import FOLDER, Entry, Kind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One entry of the space, and how deep below the start it stands (1 for its children)."""

    path: RelPath
    entry: Entry
    depth: int
    last: bool = False


def entry_at(space: Transport, path: RelPath) -> Entry:
    """Return what stands at a path.

    Raises:
        Missing: nothing does; near names are given.
    """
    if path == ROOT:
        return FOLDER
    entry = space.stat(path)
    if entry is None:
        raise Missing(f"{path}: not in the space{_near(space, path)}", op="look", path=path)
    return entry


def _near(space: Transport, path: RelPath) -> str:
    import difflib

    try:
        names = list(space.list_folder(path.parent))
    except Missing:
        return f" (nor is its folder {path.parent})"
    close = difflib.get_close_matches(path.name, names, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def listing(space: Transport, path: RelPath) -> list[Found]:
    """Return the entries of a folder by name, or the one entry of a file."""
    entry = entry_at(space, path)
    if entry.kind is not Kind.FOLDER:
        return [Found(path=path, entry=entry, depth=1, last=True)]
    items = sorted(space.list_folder(path).items())
    return [
        Found(path=path.joined(name), entry=item, depth=1, last=index == len(items))
        for index, (name, item) in enumerate(items, 1)
    ]


def walk(space: Transport, path: RelPath, *, depth: int = 1) -> Iterator[Found]:
    """Yield everything below a folder, each folder before what it holds."""
    for found in listing(space, path):
        yield dataclasses.replace(found, depth=depth)
        if found.entry.kind is Kind.FOLDER:
            yield from walk(space, found.path, depth=depth + 1)


def fetch(
    space: Transport, path: RelPath, target: Path, *, force: bool, on_bytes: Callable[[int], None]
) -> list[tuple[RelPath, Path, int]]:
    """Download a file, or a folder with all below it, and return (path, local file, bytes) for each file.

    Raises:
        ConfigError: a local file is in the way and `force` is not set.
        Missing: nothing stands at `path`.
    """
    if entry_at(space, path).kind is not Kind.FOLDER:
        return [_fetch_one(space, path, target, force=force, on_bytes=on_bytes)]
    target.mkdir(parents=True, exist_ok=True)
    got = []
    for found in walk(space, path):
        inside = target / (found.path.removeprefix(f"{path}/") if path else found.path)
        if found.entry.kind is Kind.FOLDER:
            inside.mkdir(exist_ok=True)
        else:
            got.append(_fetch_one(space, found.path, inside, force=force, on_bytes=on_bytes))
    return got


def _fetch_one(
    space: Transport, path: RelPath, target: Path, *, force: bool, on_bytes: Callable[[int], None]
) -> tuple[RelPath, Path, int]:
    if target.is_dir() and not target.is_symlink():
        target = target / path.name
    if (target.exists() or target.is_symlink()) and not force:
        raise ConfigError(f"{target} exists; --force replaces it")
    entry = entry_at(space, path)
    temporary = target.with_name(temporary_name(random_token()))
    try:
        with temporary.open("xb") as sink:
            count = space.read_into(path, sink, on_bytes=on_bytes)
            sink.flush()
            os.fsync(sink.fileno())
        if entry.mtime_ns is not None:
            os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return path, target, count


def put(
    space: Transport, source: Path, path: RelPath, *, force: bool, on_bytes: Callable[[int], None]
) -> tuple[RelPath, int]:
    """Upload one file under an inert name, then rename it; a folder as target keeps the file's own name.

    Raises:
        ConfigError: something is in the way and `force` is not set.
        TransportError: the space refused.
    """
    there = FOLDER if path == ROOT else space.stat(path)
    if there is not None and there.kind is Kind.FOLDER:
        path = RelPath.parse(path.joined(source.name))
        there = space.stat(path)
    if there is not None and not force:
        raise ConfigError(f"{path} exists in the space; --force replaces it")
    status = source.stat()
    job = PublishJob(
        path=path,
        temporary=path.parent.joined(temporary_name(random_token())),
        open_source=lambda: source.open("rb"),
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        on_bytes=on_bytes,
        before_rename=lambda: None,
    )
    for published in space.publish(iter([job])):
        if published.error is not None:
            raise published.error
    return path, status.st_size


def rename(space: Transport, source: RelPath, target: RelPath, *, force: bool) -> RelPath:
    """Give a path another name; a folder as target keeps the own name. Returns the new path.

    Raises:
        ConfigError: something is in the way and `force` is not set.
        Missing: nothing stands at `source`.
    """
    entry_at(space, source)
    there = FOLDER if target == ROOT else space.stat(target)
    if there is not None and there.kind is Kind.FOLDER:
        target = target.joined(source.name)
        there = space.stat(target)
    if there is not None and not force:
        raise ConfigError(f"{target} exists in the space; --force replaces it")
    space.rename(source, target)
    return target


def remove(space: Transport, path: RelPath, *, recursive: bool) -> list[RelPath]:
    """Delete a file or an empty folder, or a folder with all below it, and return what went.

    Raises:
        ConfigError: a folder that holds something, and `recursive` is not set.
    """
    entry = entry_at(space, path)
    if entry.kind is not Kind.FOLDER:
        space.remove(path, entry.kind)
        return [path]
    below = list(walk(space, path))
    if below and not recursive:
        raise ConfigError(
            f"{path} is a folder that holds {len(below)} entries; -r deletes it with all of them"
        )
    for found in reversed(below):
        space.remove(found.path, found.entry.kind)
    space.remove(path, Kind.FOLDER)
    return [*(found.path for found in reversed(below)), path]


def make_folders(space: Transport, path: RelPath) -> None:
    """Create a folder and those above it that are missing."""
    for folder in (*path.ancestors(), path):
        if space.stat(folder) is None:
            space.make_folder(folder)
