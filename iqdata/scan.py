"""A folder or a space → a tree. Listings in parallel; what cannot be read is named, never taken for empty.

Refuses to judge: whether a difference matters is the plan's business.
"""

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import msgspec

from iqdata.errors import Missing, Refused, UnsafePath
from iqdata.filters import Predicate, everything
from iqdata.paths import ROOT, RelPath, check_name
from iqdata.rules import is_temporary
from iqdata.transports.pool import Pool
from iqdata.tree import FOLDER, Entry, Kind

_LISTED_TOGETHER = 256


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """A path of which nothing is known below it: neither side's entries there may be touched."""

    path: RelPath
    reason: str


class Scan(msgspec.Struct, kw_only=True):
    """One side as it was found.

    Attributes:
        entries: every path below the root that the filter lets through, folders included.
        blocked: folders that could not be listed, and names that must not be followed.
        refused_areas: areas that exist and may not be listed; not an error by itself (a group's member).
        missing_areas: areas that are not there.
        temporary: our own temporary names that were seen, for the sweep.
    """

    entries: dict[RelPath, Entry] = msgspec.field(default_factory=dict)
    blocked: list[Blocked] = msgspec.field(default_factory=list)
    refused_areas: dict[str, str] = msgspec.field(default_factory=dict)
    missing_areas: list[str] = msgspec.field(default_factory=list)
    temporary: dict[RelPath, Entry] = msgspec.field(default_factory=dict)


def local_entry(status: os.stat_result) -> Entry:
    """Return the entry of a local path from its `lstat`."""
    if stat.S_ISREG(status.st_mode):
        return Entry(Kind.FILE, status.st_size, status.st_mtime_ns, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        return FOLDER
    return Entry(Kind.OTHER, 0, status.st_mtime_ns, status.st_ino)


def scan_folder(workspace: Path, areas: Iterable[str], allowed: Predicate) -> Scan:
    """Return the areas of a workspace as they are now. Links are entries of kind OTHER and never followed."""
    found = Scan()
    entries = found.entries
    todo: list[RelPath] = []
    for area in areas:
        root = workspace / area
        if not root.exists() and not root.is_symlink():
            found.missing_areas.append(area)
        elif root.is_dir():
            # The area itself may be a link to where the data lie: the user put it there, and its name is fixed.
            entries[RelPath(area)] = FOLDER
            todo.append(RelPath(area))
        else:
            found.blocked.append(Blocked(path=RelPath(area), reason=f"{root} is not a folder"))
    all_allowed = allowed is everything
    while todo:
        folder = todo.pop()
        prefix = f"{folder}/"
        try:
            with os.scandir(workspace / folder) as listing:
                for item in listing:
                    name = item.name
                    path = RelPath(prefix + name)
                    if not (name.isascii() and name.isprintable()):
                        problem = _name_problem(name)
                        if problem is not None:
                            found.blocked.append(Blocked(path=path, reason=problem))
                            continue
                    try:
                        entry = local_entry(item.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue  # gone between the listing and the look: as if it had never been listed
                    is_folder = entry is FOLDER
                    if all_allowed or allowed(path, is_folder):
                        entries[path] = entry
                        if is_folder:
                            todo.append(path)
        except FileNotFoundError:
            entries.pop(folder, None)
        except OSError as exc:
            found.blocked.append(Blocked(path=folder, reason=f"cannot be listed here: {exc.strerror}"))
    return found


def _name_problem(name: str) -> str | None:
    """Return why a local name cannot be mirrored, or None."""
    try:
        name.encode("utf-8")
        check_name(name)
    except UnicodeEncodeError:
        return "the name is not UTF-8; rename it"
    except UnsafePath as exc:
        return str(exc)
    return None


def scan_space(pool: Pool, areas: Iterable[str], allowed: Predicate) -> Scan:
    """Return the areas of a space as they are now, with as many listings at once as the pool has connections.

    Raises:
        TransportError: the connection failed in a way that a listing of another folder would not survive either.
    """
    found = Scan()
    lock = threading.Lock()
    all_allowed = allowed is everything

    def list_one(folder: RelPath) -> list[RelPath]:
        """List one folder into `found` and return its subfolders."""
        try:
            listing = pool.ask(lambda transport: transport.list_folder(folder))
        except Missing:
            with lock:
                if folder.parent == ROOT:
                    found.missing_areas.append(folder)
                else:
                    found.entries.pop(
                        folder, None
                    )  # deleted by somebody between its parent's listing and its own
            return []
        except Refused as exc:
            if folder.parent == ROOT and not _is_about_rights(exc):
                raise
            with lock:
                if folder.parent == ROOT:
                    found.refused_areas[folder] = exc.reply or str(exc)
                else:
                    found.blocked.append(Blocked(path=folder, reason=f"cannot be listed in the space: {exc}"))
            return []
        except UnsafePath as exc:
            with lock:
                found.blocked.append(Blocked(path=folder, reason=f"the space's listing is refused: {exc}"))
            return []
        below: list[RelPath] = []
        entries: dict[RelPath, Entry] = {}
        temporary: dict[RelPath, Entry] = {}
        prefix = f"{folder}/"
        for name, entry in listing.items():
            path = RelPath(prefix + name)
            if is_temporary(name):
                temporary[path] = entry
                continue
            is_folder = entry.kind is Kind.FOLDER
            if all_allowed or allowed(path, is_folder):
                entries[path] = entry
                if is_folder:
                    below.append(path)
        with lock:
            if folder.parent == ROOT:
                found.entries[folder] = FOLDER
            found.entries.update(entries)
            found.temporary.update(temporary)
        return below

    with ThreadPoolExecutor(max_workers=pool.limit, thread_name_prefix="scan") as workers:
        running: set[Future[list[RelPath]]] = {workers.submit(list_one, RelPath(area)) for area in areas}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    running.update(workers.submit(list_one, path) for path in future.result())
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _is_about_rights(exc: Refused) -> bool:
    """Tell a folder that may not be listed from a listing that failed or came cut: that one is no answer at all."""
    return not exc.retryable and not exc.reply.startswith(("1", "2", "3", "4"))


def without_blocked(scan: Scan, blocked: Iterable[Blocked]) -> dict[RelPath, Entry]:
    """Return a scan's entries without those at or below paths of which the other side knows nothing."""
    closed = [item.path for item in blocked]
    if not closed:
        return scan.entries
    return {
        path: entry for path, entry in scan.entries.items() if not any(path.is_below(item) for item in closed)
    }


def list_folders(pool: Pool, folders: Iterable[RelPath]) -> Iterator[tuple[RelPath, Mapping[str, Entry]]]:
    """Yield each of these folders of the space and what stands in it now, by name; one that is not there holds nothing.

    Raises:
        TransportError: a folder could not be listed.
    """

    def one(folder: RelPath) -> Mapping[str, Entry]:
        try:
            return pool.ask(lambda transport: transport.list_folder(folder))
        except Missing:
            return {}

    wanted = sorted(set(folders))
    if len(wanted) <= 1:
        yield from ((folder, one(folder)) for folder in wanted)
        return
    with ThreadPoolExecutor(max_workers=min(pool.limit, len(wanted)), thread_name_prefix="list") as workers:
        # Some at a time: the listings of a large tree are not held all at once.
        for some in (wanted[at : at + _LISTED_TOGETHER] for at in range(0, len(wanted), _LISTED_TOGETHER)):
            yield from zip(some, workers.map(one, some), strict=True)
