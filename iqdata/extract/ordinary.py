"""Archives of ordinary members, planned in bulk: what a preview of a hundred thousand files needs, and no more.

Ordinary is an archive without damage whose members are all files and folders with new, plain, relative names and content
that can be had: no links, no `..`, no empty parts, no name twice, no file where a folder is needed, within the limits.
Refuses everything else by returning None: then the readers and the planner take it member by member. What both accept
comes out the same.
"""

import dataclasses
import re
from array import array
from collections.abc import MutableSequence, Sequence

from iqdata.extract.mapping import MAX_NAME_BYTES
from iqdata.extract.model import Limits, MemberKind
from iqdata.extract.planner import planned_mode
from iqdata.extract.table import EntryTable
from iqdata.rules import Tool

NO_MODE = -1

_ODD_NAMES = frozenset(("", ".", ".."))

_FOLDER = re.compile(b"\1")

_ODD_START = re.compile(rb"\0(?:[/\0]|\.{1,2}[/\0])")
"""An absolute name, or a first part that is empty, `.` or `..`; a NUL stands before and behind each name."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Members:
    """The members of an archive, column by column, as they are stored.

    Attributes:
        names: raw, each ended by a NUL, without the `/` at the end that marks folders; a tar's own folder stays `./`.
        modes: permission bits, NO_MODE where the archive has none.
    """

    names: bytearray = dataclasses.field(default_factory=bytearray)
    is_folder: bytearray = dataclasses.field(default_factory=bytearray)
    sizes: MutableSequence[int] = dataclasses.field(default_factory=lambda: array("q"))
    modes: MutableSequence[int] = dataclasses.field(default_factory=lambda: array("h"))
    mtimes_ns: MutableSequence[int] = dataclasses.field(default_factory=lambda: array("q"))
    warnings: list[str] = dataclasses.field(default_factory=list)


def folders_in(is_folder: bytes | bytearray) -> list[int]:
    """Return where folders stand, from one byte a member."""
    return [match.start() for match in _FOLDER.finditer(is_folder)]


def plan_in_bulk(members: Members, tool: Tool, *, archive_name: str, limits: Limits) -> EntryTable | None:
    """Return what the planner makes of ordinary members, None where a member is not ordinary."""
    count = len(members.is_folder)
    total = sum(members.sizes)
    if not count or count > limits.max_members or total > limits.max_bytes:
        return None
    paths = _plain_paths(members.names, strip_dot=tool is Tool.TAR)
    if paths is None:
        return None
    is_folder: bytes = bytes(members.is_folder)
    first = 0
    if not paths[0]:
        # The folder itself, as `tar -C folder .` stores it, leaves nothing.
        if not is_folder[0]:
            return None
        first, is_folder = 1, is_folder[1:]
        del paths[0]
    if len(paths) != len(is_folder):
        return None  # a NUL cuts a name
    before = _implied(paths, is_folder, archive_name, limits.max_depth)
    if before is None:
        return None
    table = EntryTable(
        paths,
        is_folder,
        members.sizes[first:],
        _modes(members.modes[first:], is_folder),
        members.mtimes_ns[first:],
    )
    return _with_folders(table, before) if before else table


def _plain_paths(names: bytearray, *, strip_dot: bool) -> list[str] | None:
    """Return the names as paths, the first one empty where it is that of the folder itself; None where one is odd."""
    whole = b"\0" + bytes(names)
    if strip_dot:
        whole = whole.replace(b"\0./", b"\0")
    start = 1 if whole.startswith(b"\0\0") else 0
    if (
        _ODD_START.search(whole, start)
        or b"/\0" in whole
        or (b"/." in whole and (b"/.\0" in whole or b"/..\0" in whole))
    ):
        return None
    text = whole[1:-1].decode("utf-8", "surrogateescape")
    paths = text.split("\0")
    lengths = map(len, paths if text.isascii() else whole.split(b"\0"))
    return None if max(lengths) > MAX_NAME_BYTES else paths


def _implied(
    paths: list[str], is_folder: bytes, archive_name: str, max_depth: int
) -> dict[str, tuple[int, int]] | None:
    """Return folders that stand before the member that stands for them: path → (index needed at, own index or -1).

    None where the tree cannot be made as it is listed: a path twice, a file where a folder is needed, too deep, or in the
    archive's own place.
    """
    count = len(paths)
    taken = set(paths)
    if len(taken) != count or archive_name in taken:
        return None
    folders = {paths[index]: index for index in folders_in(is_folder)}
    parents = [path.rpartition("/")[0] for path in paths]
    at = 0
    before: dict[str, tuple[int, int]] = {}
    stands: set[str] = {""}
    for parent in dict.fromkeys(parents):
        at = parents.index(parent, at)  # its first child
        chain = []
        folder = parent
        while folder not in stands:
            stands.add(folder)
            chain.append(folder)
            folder = folder.rpartition("/")[0]
        if chain and parent.count("/") + 1 >= max_depth:
            return None
        if not _ODD_NAMES.isdisjoint(folder.rpartition("/")[2] for folder in chain):
            return None
        for folder in reversed(chain):
            own = folders.get(folder, -1)
            if own > at or own < 0:
                before[folder] = (at, own)
            if folder == archive_name or (own < 0 and folder in taken):
                return None
    return before


def _with_folders(table: EntryTable, before: dict[str, tuple[int, int]]) -> EntryTable:
    """Return the table with folders where they are first needed: 7-Zip lists folders last, many zips not at all."""
    moved = {own for _, own in before.values() if own >= 0}
    fresh = len(table)
    order: list[int] = []
    done = 0
    names: list[str] = []
    for folder, (at, own) in before.items():
        order.extend(index for index in range(done, at) if index not in moved)
        done = at
        order.append(own if own >= 0 else fresh + len(names))
        if own < 0:
            names.append(folder)
    order.extend(index for index in range(done, fresh) if index not in moved)
    missing = len(names)
    paths = [*table.paths, *names]
    is_folder = table.is_folder + b"\1" * missing
    sizes = [*table.sizes, *[0] * missing]
    modes = [*table.modes, *[planned_mode(MemberKind.DIRECTORY, None)] * missing]
    mtimes: list[int | None] = [*table.mtimes_ns, *[None] * missing]
    return EntryTable(
        [paths[index] for index in order],
        bytes([is_folder[index] for index in order]),
        [sizes[index] for index in order],
        [modes[index] for index in order],
        [mtimes[index] for index in order],
    )


def _modes(stored: Sequence[int], is_folder: bytes) -> list[int]:
    known = {mode: planned_mode(MemberKind.FILE, _or_none(mode)) for mode in set(stored)}
    modes = list(map(known.__getitem__, stored))
    for index in folders_in(is_folder):
        modes[index] = planned_mode(MemberKind.DIRECTORY, _or_none(stored[index]))
    return modes


def _or_none(mode: int) -> int | None:
    return None if mode == NO_MODE else mode
