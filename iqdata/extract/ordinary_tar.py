"""Plain tars of ordinary members, header after header in bulk; see `ordinary`.

Reads large windows where members are small and single headers where they are large. Refuses (with None) long names, pax
records, links, sparse files, unknown numbers, a header that does not fit, a missing or early end: the full reader's.
"""

import itertools
import operator
import struct
from array import array

from iqdata.extract.decode import adler32
from iqdata.extract.ordinary import Members
from iqdata.extract.source import RawFile
from iqdata.extract.tar import BLOCK, ZEROS, number

_FIELDS = struct.Struct("100s8s28x12s8s356x")
"""Name, mode, time and checksum of a header."""

_LEAST_BYTES = 4096
_MOST_BYTES = 256 * 1024
_TRAILER_BYTES = 22 * BLOCK
"""As much of what follows the last member as the full reader looks at."""

_FOLDER_BY_FLAG = bytes(int(byte == ord("5")) for byte in range(256))
_KNOWN_AT_MOST = 65536
"""How many different fields are remembered: a tar of files of equal dates has few, one of logs has one for each."""


class _NotOrdinary(Exception):
    """A header that the full reader has to look at."""


class _Numbers(dict[bytes, int]):
    """Numeric fields → their values; refuses those that GNU tar and Python may read differently."""

    def __missing__(self, field: bytes) -> int:
        value = number(field)
        if value is None or value < 0 or field[-1] not in b"\0 ":
            raise _NotOrdinary
        if len(self) >= _KNOWN_AT_MOST:
            self.clear()
        self[field] = value
        return value


class _Sums(dict[bytes, int]):
    """Checksum fields → the low half of the Adler-32 that a header with this field has when it fits."""

    def __missing__(self, field: bytes) -> int:
        stored = number(field)
        if stored is None:
            raise _NotOrdinary
        # The field counts as blanks in its own sum; Adler-32's low half starts from 1 and is taken modulo 65521.
        self[field] = (stored + sum(field) - 8 * 32 + 1) % 65521
        return self[field]


def tar_members(source: RawFile) -> Members | None:
    """Return the members of a plain tar, None where one is not ordinary."""
    members = Members()
    numbers, sums = _Numbers(), _Sums()
    at, size = 0, _LEAST_BYTES
    try:
        while True:
            window = source.at(at, size)
            headers, passed = _headers(window, numbers, members.sizes)
            if headers:
                _add(members, headers, numbers, sums)
            at += passed
            source.report(min(at, source.size_bytes))
            if passed + BLOCK <= len(window):
                # No window ends here, the tar does; only zeros may follow.
                ordinary = at <= source.size_bytes and not source.at(at, _TRAILER_BYTES).strip(b"\0")
                return members if ordinary else None
            if not headers:
                return None
            size = min(_MOST_BYTES, max(_LEAST_BYTES, len(headers) * 2 * BLOCK * 4))
    except (_NotOrdinary, OverflowError):
        return None


def _headers(window: bytes, numbers: _Numbers, sizes: "array[int]") -> tuple[list[bytes], int]:
    """Return the headers in a window that starts at one, and how far they lead; the end mark stays before that.

    The members' sizes go to `sizes` on the way.
    """
    headers = []
    at, last = 0, len(window) - BLOCK
    while at <= last:
        header = window[at : at + BLOCK]
        if header == ZEROS:
            break
        headers.append(header)
        size = numbers[header[124:136]]
        sizes.append(size)
        at += BLOCK + (size + 511 & -512)
    return headers, at


def _add(members: Members, headers: list[bytes], numbers: _Numbers, sums: _Sums) -> None:
    joined = b"".join(headers)
    flags = joined[156::BLOCK]
    is_folder = flags.translate(_FOLDER_BY_FLAG)
    # One call takes all fields out of a header; slices take one each.
    padded, modes, mtimes, stored = zip(*_FIELDS.iter_unpack(joined), strict=True)
    found = [checksum & 0xFFFF for checksum in map(adler32, headers)]
    if flags.strip(b"05") or found != list(map(sums.__getitem__, stored)):
        raise _NotOrdinary
    names = [name.rstrip(b"\0") for name in padded]
    if any(joined[345::BLOCK]):
        names = [
            header[345:500].partition(b"\0")[0] + b"/" + name
            if header[345] and header[257:263] == b"ustar\0"
            else name
            for header, name in zip(headers, names, strict=True)
        ]
    slashed = bytes([name.endswith(b"/") for name in names])
    if any(map(operator.gt, slashed, is_folder)):
        raise _NotOrdinary
    if any(itertools.compress(members.sizes[-len(headers) :], is_folder)):
        raise _NotOrdinary
    members.names += b"\0".join(names) + b"\0"
    members.is_folder += is_folder
    members.modes.extend([numbers[mode] & 0o7777 for mode in modes])
    members.mtimes_ns.extend([numbers[mtime] * 1_000_000_000 for mtime in mtimes])
