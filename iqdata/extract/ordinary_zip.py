"""zip directories of ordinary members, read in bulk; see `ordinary`.

A directory splits at its own signature; every piece must be as long as its own fields say, so a signature inside a name or
a number is noticed. Refuses (with None) zip64 and Unicode-name fields, encrypted or unknown methods, links, members out of
order, odd ends: the full reader's.
"""

import itertools
import operator
from array import array
from collections.abc import Iterator, Sequence

from iqdata.extract.columns import column, holds
from iqdata.extract.members import Stored
from iqdata.extract.ordinary import NO_MODE, Members, folders_in
from iqdata.extract.source import RawFile
from iqdata.extract.zip import (
    CENTRAL,
    ENCRYPTED,
    INFO_ZIP_START,
    METHODS,
    ZipReader,
    kind_and_mode,
    zone_warning,
)
from iqdata.extract.zip_fields import FILETIME_EPOCH, dos_time_ns, exact_time, extra_fields

_RECORD = 42  # of the fixed part, without its signature
_LONGEST_BYTES = 46 + 3 * 65535 + 3
_WINDOW_BYTES = 4 * 1024 * 1024
_INFO_ZIP_BYTES = 24
_NTFS_BYTES = 36
_NTFS_HEAD = b"\x0a\0\x20\0"
_NTFS_TAG = b"\1\0\x18\0"
_ZIP64, _UNICODE_NAME = 0x0001, 0x7075


class _NotOrdinary(Exception):
    """A record that the full reader has to look at."""


def zip_members(source: RawFile, reader: ZipReader) -> Members | None:
    """Return the members of a zip by its directory, None where one is not ordinary."""
    found = reader.find_directory()
    if found is None or not reader.is_zip:
        return None
    start, size, count = found
    directory = _Directory(source)
    try:
        for pieces in _records(source, start, size):
            directory.add(pieces)
    except (_NotOrdinary, OverflowError):
        return None
    members = directory.members
    seen = len(members.is_folder)
    if seen & 0xFFFF != count & 0xFFFF:
        return None
    members.warnings = [*reader.warnings, *zone_warning(directory.without_zone, seen)]
    return members


def _records(source: RawFile, start: int, size: int) -> Iterator[list[bytes]]:
    """Yield the directory's records without their signatures, a window at a time."""
    at, end = start, min(start + size, source.size_bytes)
    rest = b""
    while at < end:
        window = rest + source.at(at, min(_WINDOW_BYTES, end - at))
        at = min(at + _WINDOW_BYTES, end)
        pieces = window.split(CENTRAL)
        if pieces[0]:
            raise _NotOrdinary
        if at < end:
            # The last one may go on in the next window, and so may a signature at its end.
            rest = CENTRAL + pieces.pop()
            if len(rest) > _LONGEST_BYTES:
                raise _NotOrdinary
        del pieces[0]
        if pieces:
            yield pieces


class _Directory:
    """What all windows have in common."""

    def __init__(self, source: RawFile) -> None:
        self.members = Members()
        self.without_zone = 0
        self._source = source
        self._end = -1  # of the last member's content

    def add(self, pieces: list[bytes]) -> None:
        """Add records.

        Raises:
            _NotOrdinary: one needs the full reader.
            OverflowError: a number is too large for a column.
        """
        heads = b"".join([piece[:_RECORD] for piece in pieces])
        if len(heads) != _RECORD * len(pieces):
            raise _NotOrdinary

        def field(code: str, at: int) -> "array[int]":
            return column(heads, code, at=at, step=_RECORD)

        name_lengths, extra_lengths = field("H", 24), field("H", 26)
        ends = [_RECORD + length for length in name_lengths]
        fits = list(map(operator.add, ends, extra_lengths)) == [*map(len, pieces)]
        if not fits or any(field("H", 28)) or not set(field("H", 6)) <= METHODS:
            raise _NotOrdinary
        if any(flags & ENCRYPTED for flags in set(field("H", 4))):
            raise _NotOrdinary
        self._lie_in_order(field("I", 38), field("I", 16))
        names = [piece[_RECORD:end] for piece, end in zip(pieces, ends, strict=True)]
        hosts, attributes, sizes = field("B", 1), field("I", 34), field("I", 20)
        if len(set(hosts)) > 1:
            raise _NotOrdinary  # packed by two systems
        kinds = {value: kind_and_mode(hosts[0], value) for value in set(attributes)}
        if any(kind is Stored.SYMLINK for kind, _ in kinds.values()):
            raise _NotOrdinary
        slashed = bytes([name[-1:] == b"/" for name in names])
        folders = {value for value, (kind, _) in kinds.items() if kind is Stored.DIRECTORY}
        is_folder = slashed
        if folders:
            is_folder = bytes(map(operator.or_, slashed, [value in folders for value in attributes]))
        if any(itertools.compress(sizes, is_folder)):
            raise _NotOrdinary  # data that 7z drops
        for index in folders_in(slashed):
            names[index] = names[index][:-1]
        modes = {value: NO_MODE if mode is None else mode for value, (_, mode) in kinds.items()}
        extras = [piece[end:] for piece, end in zip(pieces, ends, strict=True)]
        members = self.members
        members.names += b"\0".join(names) + b"\0"
        members.is_folder += is_folder
        members.sizes.extend(sizes.tolist())
        members.modes.extend([modes[value] for value in attributes])
        members.mtimes_ns.extend(self._times(extras, set(extra_lengths), field("I", 8)))

    def _lie_in_order(self, offsets: Sequence[int], packed: Sequence[int]) -> None:
        """Check that the contents lie one behind the other, whole and apart: then no two share bytes."""
        ends = [offset + size + 30 for offset, size in zip(offsets, packed, strict=True)]
        if any(map(operator.lt, offsets, [self._end, *ends])) or ends[-1] > self._source.size_bytes:
            raise _NotOrdinary
        self._end = ends[-1]

    def _times(self, extras: list[bytes], lengths: set[int], stamps: Sequence[int]) -> list[int]:
        """Return the members' times, from columns where a packer has written the same fields for all."""
        joined = b"".join(extras)
        if lengths == {_INFO_ZIP_BYTES}:
            step = _INFO_ZIP_BYTES
            if holds(joined, INFO_ZIP_START, at=0, step=step) and holds(joined, b"ux", at=9, step=step):
                return [seconds * 1_000_000_000 for seconds in column(joined, "i", at=5, step=step)]
        if lengths == {_NTFS_BYTES}:
            step = _NTFS_BYTES
            if holds(joined, _NTFS_HEAD, at=0, step=step) and holds(joined, _NTFS_TAG, at=8, step=step):
                return [(time - FILETIME_EPOCH) * 100 for time in column(joined, "Q", at=12, step=step)]
        zoneless = {stamp: dos_time_ns(stamp >> 16, stamp & 0xFFFF) for stamp in set(stamps)}
        times = (
            [self._exact(extra) if extra else None for extra in extras] if joined else [None] * len(extras)
        )
        self.without_zone += times.count(None)
        chosen = [
            zoneless[stamp] if time is None else time for time, stamp in zip(times, stamps, strict=True)
        ]
        known = [time for time in chosen if time is not None]
        if len(known) != len(chosen):
            raise _NotOrdinary
        return known

    @staticmethod
    def _exact(extra: bytes) -> int | None:
        fields = extra_fields(extra)
        if _ZIP64 in fields or _UNICODE_NAME in fields:
            raise _NotOrdinary
        return exact_time(fields)
