"""Plain tars of ordinary members, header after header in bulk; see `ordinary`.

Reads large windows where members are small and single headers where they are large. Refuses (with None) long names, pax
records, links, sparse files, unknown numbers, a header that does not fit, a missing or early end: the full reader's.
"""

import struct
from collections.abc import Callable

from iqdata.extract.decode import adler32
from iqdata.extract.ordinary import Members, folders_in
from iqdata.extract.source import RawFile
from iqdata.extract.tar import BLOCK, number

_FIELDS = struct.Struct("100s8s16x12s12s8s356x")
"""Name, mode, size, time and checksum of a header."""
_SIZE = slice(124, 136)

_LEAST_BYTES = 4096
_MOST_BYTES = 256 * 1024
_BLOCKS = [slice(at, at + BLOCK) for at in range(0, _MOST_BYTES, BLOCK)]
_TRAILER_BYTES = 22 * BLOCK
"""As much of what follows the last member as the full reader looks at."""

_FOLDER_BY_FLAG = bytes(int(byte == ord("5")) for byte in range(256))
_KNOWN_AT_MOST = 65536
"""How many different fields are remembered: a tar of files of equal dates has few, one of logs has one for each."""


class _NotOrdinary(Exception):
    """A header that the full reader has to look at."""


class _Known(dict[bytes, int]):
    """Fields of headers → what is made of their values, worked out once for each; C's own look-up does the rest."""

    def __init__(self, made_of: Callable[[bytes], int]) -> None:
        super().__init__()
        self._made_of = made_of

    def __missing__(self, field: bytes) -> int:
        if len(self) >= _KNOWN_AT_MOST:
            self.clear()
        value = self[field] = self._made_of(field)
        return value


def _size(field: bytes) -> int:
    """Return a number; refuse one that GNU tar and Python may read differently."""
    value = number(field)
    if value is None or value < 0 or field[-1] not in b"\0 ":
        raise _NotOrdinary
    return value


def _mode(field: bytes) -> int:
    return _size(field) & 0o7777


def _time_ns(field: bytes) -> int:
    return _size(field) * 1_000_000_000


def _step(field: bytes) -> int:
    """Return how many blocks on the next header is from the one with this size, 0 at the block of zeros at the end."""
    return 1 + (_size(field) + BLOCK - 1) // BLOCK if any(field) else 0


def _sum(field: bytes) -> int:
    """Return the low half of the Adler-32 that a header with this checksum has when it fits."""
    stored = number(field)
    if stored is None:
        raise _NotOrdinary
    # The field counts as blanks in its own sum; Adler-32's low half starts from 1 and is taken modulo 65521.
    return (stored + sum(field) - 8 * 32 + 1) % 65521


def tar_members(source: RawFile) -> Members | None:
    """Return the members of a plain tar, None where one is not ordinary."""
    columns = _Columns()
    steps = _Known(_step)
    at, size = 0, _LEAST_BYTES
    try:
        while True:
            window = source.at(at, size)
            headers, passed = _headers(window, steps)
            if headers:
                columns.add(headers)
            at += passed
            source.report(min(at, source.size_bytes))
            if passed + BLOCK <= len(window):
                # No window ends here, the tar does; only zeros may follow.
                ordinary = at <= source.size_bytes and not source.at(at, _TRAILER_BYTES).strip(b"\0")
                return columns.members if ordinary else None
            if not headers:
                return None
            size = min(_MOST_BYTES, max(_LEAST_BYTES, len(headers) * 2 * BLOCK * 4))
    except (_NotOrdinary, OverflowError):
        return None


def _headers(window: bytes, steps: _Known) -> tuple[list[bytes], int]:
    """Return the headers in a window that starts at one, and how far they lead; the end mark stays before that."""
    headers: list[bytes] = []
    add = headers.append
    at, last = 0, len(window) // BLOCK - 1
    while at <= last:
        header = window[_BLOCKS[at]]
        step = steps[header[_SIZE]]
        if not step:
            break
        add(header)
        at += step
    return headers, at * BLOCK


class _Columns:
    """The members of many headers, taken apart by as few steps for each as C's own loops allow."""

    def __init__(self) -> None:
        # Few different numbers, each kept once: lists of them grow faster than arrays, and are hardly larger.
        self.members = Members(sizes=[], modes=[], mtimes_ns=[])
        self._modes, self._sizes, self._times = _Known(_mode), _Known(_size), _Known(_time_ns)
        self._sums = _Known(_sum)

    def add(self, headers: list[bytes]) -> None:
        """Append members.

        Raises:
            _NotOrdinary: one of them is not.
        """
        joined = b"".join(headers)
        flags = joined[156::BLOCK]
        is_folder = flags.translate(_FOLDER_BY_FLAG)
        # One call takes all fields out of a header; slices take one each.
        padded, modes, sizes, mtimes, stored = zip(*_FIELDS.iter_unpack(joined), strict=True)
        found = [checksum & 0xFFFF for checksum in map(adler32, headers)]
        if flags.strip(b"05") or found != list(map(self._sums.__getitem__, stored)):
            raise _NotOrdinary
        names = [name.partition(b"\0")[0] for name in padded]
        if joined[345::BLOCK].strip(b"\0"):
            names = [
                header[345:500].partition(b"\0")[0] + b"/" + name
                if header[345] and header[257:263] == b"ustar\0"
                else name
                for header, name in zip(headers, names, strict=True)
            ]
        held = list(map(self._sizes.__getitem__, sizes))
        for index in folders_in(is_folder):
            if held[index]:
                raise _NotOrdinary
            if names[index] != b"./":
                names[index] = names[index].removesuffix(b"/")
        members = self.members
        members.names += b"\0".join(names) + b"\0"
        members.is_folder += is_folder
        members.sizes.extend(held)
        members.modes.extend(map(self._modes.__getitem__, modes))
        members.mtimes_ns.extend(map(self._times.__getitem__, mtimes))
