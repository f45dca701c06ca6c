"""The extra fields of zip entries → sizes, names and times.

Pure. Refuses to guess: a field that is too short counts as missing.
"""

import datetime
import struct

from iqdata.extract.decode import crc32

FILETIME_EPOCH = 116444736000000000
"""The year 1970 in NTFS' count: 100 ns since 1601."""


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """Return the extra field's parts by their tags; of two with one tag the first."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        tag, size = struct.unpack_from("<HH", extra, at)
        fields.setdefault(tag, extra[at + 4 : at + 4 + size])
        at += 4 + size
    return fields


def zip64_sizes(fields: dict[int, bytes], packed: int, claimed: int, offset: int) -> tuple[int, int, int]:
    """Return (packed, claimed, offset) with what the zip64 field says where the old fields are full."""
    wide = fields.get(1)
    if wide is None:
        return packed, claimed, offset
    values = [int.from_bytes(wide[at : at + 8], "little") for at in range(0, len(wide) - 7, 8)]
    # Only the fields that are full of ones stand in the extra field, in this order. Source: APPNOTE 4.5.3.
    if claimed == 0xFFFFFFFF and values:
        claimed = values.pop(0)
    if packed == 0xFFFFFFFF and values:
        packed = values.pop(0)
    if offset == 0xFFFFFFFF and values:
        offset = values.pop(0)
    return packed, claimed, offset


def unicode_name(fields: dict[int, bytes], name: bytes) -> bytes:
    """Return the name of the Info-ZIP Unicode path field, where it belongs to this raw name."""
    field = fields.get(0x7075)
    if (
        field is None
        or len(field) < 5
        or field[0] != 1
        or int.from_bytes(field[1:5], "little") != crc32(name)
    ):
        return name
    return field[5:]


def exact_time(fields: dict[int, bytes]) -> int | None:
    """Return the modification time from NTFS' field, else from Info-ZIP's; in nanoseconds, None where there is neither."""
    ntfs = fields.get(0x000A)
    if ntfs is not None and len(ntfs) >= 16:
        at = 4
        while at + 4 <= len(ntfs):
            tag, size = struct.unpack_from("<HH", ntfs, at)
            if tag == 1 and size >= 8 and at + 12 <= len(ntfs):
                return (int.from_bytes(ntfs[at + 4 : at + 12], "little") - FILETIME_EPOCH) * 100
            at += 4 + size
    stamp = fields.get(0x5455)
    if stamp is not None and len(stamp) >= 5 and stamp[0] & 1:
        return int.from_bytes(stamp[1:5], "little", signed=True) * 1_000_000_000
    old = fields.get(0x5855)
    if old is not None and len(old) >= 8:
        return int.from_bytes(old[4:8], "little", signed=True) * 1_000_000_000
    return None


_TIMES: dict[int, int] = {}
"""DOS times met lately: many members share one, and a million equal numbers would take 32 MB."""


def dos_time_ns(date: int, time: int) -> int | None:
    """Return a DOS time as UTC: the field has no zone, and a server's clock is set to UTC more often than not."""
    key = date << 16 | time
    known = _TIMES.get(key)
    if known is not None:
        return known
    days = _days_of(date)
    seconds = days * 86400 + (time >> 11) * 3600 + (time >> 5 & 63) * 60 + (time & 31) * 2
    if len(_TIMES) > 10_000:
        _TIMES.clear()
    if days < 0:
        return None
    return _TIMES.setdefault(key, seconds * 1_000_000_000)


def _days_of(date: int) -> int:
    try:
        day = datetime.date(1980 + (date >> 9), date >> 5 & 15, date & 31)
    except ValueError:
        return -1
    return day.toordinal() - datetime.date(1970, 1, 1).toordinal()
