"""A plan of ordinary files and folders, kept column by column: an entry is built when somebody looks at it.

A hundred thousand entries cost more to build than to read, and most are only counted. Refuses links and refusals: a plan
that holds any is a tuple of entries.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import overload

from iqdata.extract.model import MemberKind, PlannedEntry
from iqdata.paths import RelPath


class EntryTable(Sequence[PlannedEntry]):
    """Planned entries that are all made, each an ordinary file or a folder.

    Attributes:
        paths: where they land; unique, parents before what is in them.
        is_folder: one byte an entry, 1 for a folder.
        sizes: in bytes; 0 for a folder.
        modes: as the tool leaves them.
        mtimes_ns: as the tool leaves them; None is the time of extraction.
    """

    __slots__ = ("is_folder", "modes", "mtimes_ns", "paths", "sizes")

    def __init__(
        self,
        paths: list[str],
        is_folder: bytes,
        sizes: Sequence[int],
        modes: Sequence[int],
        mtimes_ns: Sequence[int | None],
    ) -> None:
        self.paths = paths
        self.is_folder = is_folder
        self.sizes = sizes
        self.modes = modes
        self.mtimes_ns = mtimes_ns

    def __len__(self) -> int:
        return len(self.paths)

    def _entry(self, path: str, is_folder: int, size: int, mode: int, mtime_ns: int | None) -> PlannedEntry:
        return PlannedEntry(
            path=RelPath(path),
            kind=MemberKind.DIRECTORY if is_folder else MemberKind.FILE,
            size_bytes=size,
            mode=mode,
            mtime_ns=mtime_ns,
        )

    def __iter__(self) -> Iterator[PlannedEntry]:
        return map(self._entry, self.paths, self.is_folder, self.sizes, self.modes, self.mtimes_ns)

    @overload
    def __getitem__(self, index: int) -> PlannedEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PlannedEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> PlannedEntry | tuple[PlannedEntry, ...]:
        if isinstance(index, slice):
            return tuple(itertools.islice(self, *index.indices(len(self))))
        return self._entry(
            self.paths[index],
            self.is_folder[index],
            self.sizes[index],
            self.modes[index],
            self.mtimes_ns[index],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntryTable | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self.paths))
