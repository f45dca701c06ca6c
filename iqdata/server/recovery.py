"""What came while nobody watched: every archive of a tree that the journal does not know as dealt with.

Refuses to extract what was there before the tree was ever watched, and to take a new date or a renamed folder for a
new upload.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from iqdata.rules import tool_for
from iqdata.server.autoextract import AutoExtract
from iqdata.server.jobs import Identity, Trigger
from iqdata.server.journal import Journal
from iqdata.server.layout import PRIVATE_FOLDER
from iqdata.server.permissions import LOG_FOLDER
from iqdata.server.worker import archive_at, fingerprint

Busy = Callable[[Path, str], bool]


def never_busy(_home: Path, _path: str) -> bool:
    """Nobody writes."""
    return False


_SKIPPED = frozenset({LOG_FOLDER, PRIVATE_FOLDER})


def recover(
    homes: Iterable[Path], journal: Journal, extractor: AutoExtract, *, busy: Busy = never_busy
) -> int:
    """Queue what came to any home while nobody watched and return how many archives that were."""
    return sum(recover_home(home, journal, extractor, busy=busy) for home in homes)


def recover_home(
    home: Path, journal: Journal, extractor: AutoExtract, *, below: str = "", busy: Busy = never_busy
) -> int:
    """Queue what came to one home and return how many archives that were.

    Args:
        home: the folder with the areas.
        journal: what is known.
        extractor: where to queue.
        below: look at this folder of the home only.
        busy: tells of a path in the home whether it is being written; its end is an event of its own.
    """
    present: set[str] = set()
    found = []
    for path, identity in archives_of(home, below):
        present.add(path)
        if not busy(home, path) and not is_dealt_with(home, path, identity, journal):
            found.append((identity.mtime_ns, path))
    queued = [
        extractor.submit(home, path, trigger=Trigger.RECOVERY, found=True)
        for _mtime_ns, path in sorted(found)
    ]
    if not below:
        # Uploads go on while this looks: what came to a folder that it has left already is not missing.
        journal.forget_missing(str(home), lambda path: path in present or archive_at(home, path) is not None)
    return len(queued) - queued.count(None)


def take_as_known(home: Path, journal: Journal) -> int:
    """Record everything in a home as dealt with, on the first look at a tree that was in use before."""
    count = 0
    for path, identity in archives_of(home):
        journal.know(str(home), path, identity)
        count += 1
    return count


def archives_of(home: Path, below: str = "") -> Iterator[tuple[str, Identity]]:
    """Yield every regular file whose name matches a rule, by its path in the home; links are not followed."""
    for folder, folders, names, descriptor in os.fwalk(home / below, follow_symlinks=False):
        relative = os.path.relpath(folder, home)
        if relative == ".":
            folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        parent_inode = 0
        for name in names:
            if tool_for(name) is None:
                continue
            try:
                seen = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:  # it has gone since
                continue
            if not stat.S_ISREG(seen.st_mode):
                continue
            parent_inode = parent_inode or os.fstat(descriptor).st_ino
            yield (
                name if relative == "." else f"{relative}/{name}",
                Identity(
                    inode=seen.st_ino,
                    parent_inode=parent_inode,
                    size_bytes=seen.st_size,
                    mtime_ns=seen.st_mtime_ns,
                ),
            )


def is_dealt_with(home: Path, path: str, now: Identity, journal: Journal) -> bool:
    """Tell whether what stands at a path now was extracted, or came out of an archive, already."""
    known = journal.known(str(home), path)
    if known is not None and known.size_bytes == now.size_bytes:
        if known.inode == now.inode and known.mtime_ns == now.mtime_ns:
            return True
        # Another date or another inode: dated, or restored from a copy, or uploaded anew. The content decides.
        if known.print and known.print == _print(home / path, now.size_bytes):
            journal.know(
                str(home),
                path,
                msgspec.structs.replace(now, print=known.print),
            )
            return True
        return False
    if known is None:
        name = path.rpartition("/")[2]
        for old_path, old in journal.known_by_inode(str(home), now.inode):
            # The same file in the same folder under another path: a folder above it was renamed, which extracts nothing.
            same = old_path.rpartition("/")[2] == name and old.parent_inode == now.parent_inode
            if same and old.size_bytes == now.size_bytes:
                if old.mtime_ns != now.mtime_ns and (
                    not old.print or old.print != _print(home / path, now.size_bytes)
                ):
                    continue
                journal.know(str(home), path, msgspec.structs.replace(now, print=old.print))
                return True
    return False


def _print(path: Path, size_bytes: int) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return fingerprint(descriptor, size_bytes)
    finally:
        os.close(descriptor)
