"""Archives byte by byte, for what no packer writes: odd names, lies, clashes. Refuses to be a packer for anything else."""

import bz2
import gzip
import lzma
import struct
import zlib
from dataclasses import dataclass, field

TIME = 1_500_000_000
FILETIME = (TIME * 10_000_000) + 116444736000000000

# --- tar ----------------------------------------------------------------------------------------------------------


def tar_number(value: int, width: int) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return f"{value:0{width - 1}o}".encode() + b"\0"
    return (value & ((1 << (8 * width)) - 1) | (1 << (8 * width - 1))).to_bytes(width, "big")


def tar_header(
    name: bytes,
    size: int = 0,
    *,
    kind: bytes = b"0",
    mode: int = 0o644,
    mtime: int = TIME,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    tail: bytes = b"",
    device: tuple[int, int] = (0, 0),
    break_checksum: bool = False,
) -> bytes:
    head = bytearray(512)
    head[0:100] = name[:100].ljust(100, b"\0")
    head[100:108] = tar_number(mode, 8)
    head[108:116] = head[116:124] = tar_number(1000, 8)
    head[124:136] = tar_number(size, 12)
    head[136:148] = tar_number(mtime, 12)
    head[148:156] = b" " * 8
    head[156:157] = kind
    head[157:257] = link[:100].ljust(100, b"\0")
    head[257:265] = magic.ljust(8, b"\0")
    head[329:337], head[337:345] = tar_number(device[0], 8), tar_number(device[1], 8)
    if prefix:
        head[345:500] = prefix.ljust(155, b"\0")
    if tail:
        head[345 : 345 + len(tail)] = tail
    head[148:156] = f"{sum(head) + break_checksum:06o}".encode() + b"\0 "
    return bytes(head)


def blocks(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def tar_file(name: bytes, data: bytes = b"", **how) -> bytes:
    return tar_header(name, len(data), **how) + blocks(data)


def tar_folder(name: bytes, **how) -> bytes:
    return tar_header(name, kind=b"5", **{"mode": 0o755, **how})


def tar_link(name: bytes, target: bytes, **how) -> bytes:
    return tar_header(name, kind=b"2", link=target, **{"mode": 0o777, **how})


def tar_hard(name: bytes, target: bytes, **how) -> bytes:
    return tar_header(name, kind=b"1", link=target, **how)


def tar_long(kind: bytes, text: bytes) -> bytes:
    return tar_header(b"././@LongLink", len(text) + 1, kind=kind, magic=b"ustar  \0") + blocks(text + b"\0")


def pax_records(records) -> bytes:
    out = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        size = len(body) + 1
        while len(str(size)) + len(body) != size:
            size = len(str(size)) + len(body)
        out += str(size).encode() + body
    return out


def tar_pax(records, kind: bytes = b"x") -> bytes:
    data = pax_records(records)
    return tar_header(b"PaxHeaders/x", len(data), kind=kind) + blocks(data)


END = bytes(1024)


def tar(*parts: bytes, end: bytes = END) -> bytes:
    return b"".join(parts) + end


# --- gzip and friends ---------------------------------------------------------------------------------------------


def gz(
    data: bytes,
    *,
    name: bytes | None = None,
    mtime: int = 0,
    extra: bytes | None = None,
    comment: bytes | None = None,
    level: int = 9,
) -> bytes:
    flags = (
        (8 if name is not None else 0) | (4 if extra is not None else 0) | (16 if comment is not None else 0)
    )
    head = struct.pack("<2sBBLBB", b"\x1f\x8b", 8, flags, mtime, 0, 3)
    if extra is not None:
        head += struct.pack("<H", len(extra)) + extra
    if name is not None:
        head += name + b"\0"
    if comment is not None:
        head += comment + b"\0"
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (
        head
        + packer.compress(data)
        + packer.flush()
        + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    )


def xz(data: bytes, **how) -> bytes:
    return lzma.compress(data, **how)


def bz(data: bytes) -> bytes:
    return bz2.compress(data)


def plain_gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


# --- zip ----------------------------------------------------------------------------------------------------------


@dataclass
class Zipped:
    """One zip member; what is None is told truthfully."""

    name: bytes
    data: bytes = b""
    method: int = 0
    mode: int | None = 0o100644
    host: int = 3
    dos_attributes: int = 0
    flags: int = 0
    local_name: bytes | None = None
    packed: bytes | None = None
    claimed: int | None = None
    checksum: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    date: int = 0x4AEE  # 2017-07-14
    time: int = 0x1540  # 02:42:00
    descriptor: bool = False
    zip64: bool = False
    offset: int = field(default=0)

    def body(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            return packer.compress(self.data) + packer.flush()
        if self.method == 12:
            return bz2.compress(self.data)
        return self.data


def zip_local(member: Zipped) -> bytes:
    body = member.body()
    claimed = len(member.data) if member.claimed is None else member.claimed
    checksum = zlib.crc32(member.data) if member.checksum is None else member.checksum
    name = member.name if member.local_name is None else member.local_name
    flags = member.flags | (8 if member.descriptor else 0)
    known = (0, 0, 0) if member.descriptor else (checksum, len(body), claimed)
    extra = member.local_extra
    if member.zip64 and not member.descriptor:
        known = (checksum, 0xFFFFFFFF, 0xFFFFFFFF)
        extra = struct.pack("<HHQQ", 1, 16, claimed, len(body)) + extra
    head = struct.pack(
        "<4sHHHHHLLLHH",
        b"PK\3\4",
        20,
        flags,
        member.method,
        member.time,
        member.date,
        *known,
        len(name),
        len(extra),
    )
    out = head + name + extra + body
    if member.descriptor:
        out += struct.pack("<4sLLL", b"PK\7\10", checksum, len(body), claimed)
    return out


def zip_central(member: Zipped) -> bytes:
    body = member.body()
    claimed = len(member.data) if member.claimed is None else member.claimed
    checksum = zlib.crc32(member.data) if member.checksum is None else member.checksum
    attributes = ((member.mode or 0) << 16 & 0xFFFFFFFF) | member.dos_attributes
    flags = member.flags | (8 if member.descriptor else 0)
    extra, sizes, offset = member.extra, (len(body), claimed), member.offset
    if member.zip64:
        extra = struct.pack("<HHQQQ", 1, 24, claimed, len(body), offset) + extra
        sizes, offset = (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF
    return (
        struct.pack(
            "<4sBBHHHHHLLLHHHHHLL",
            b"PK\1\2", 20, member.host, 20, flags, member.method, member.time, member.date, checksum, *sizes,
            len(member.name), len(extra), 0, 0, 0, attributes, offset,
        )
        + member.name
        + extra
    )  # fmt: skip


def zipped(
    *members: Zipped,
    before: bytes = b"",
    comment: bytes = b"",
    moved: bool = True,
    count: int | None = None,
    zip64: bool = False,
) -> bytes:
    """A whole zip; `moved` says whether offsets count from the start of `before`."""
    out = bytearray(before)
    base = 0 if moved else len(before)
    for member in members:
        member.offset = len(out) - base
        out += zip_local(member)
    start = len(out) - base
    directory = b"".join(zip_central(member) for member in members)
    out += directory
    number = len(members) if count is None else count
    if zip64:
        at = len(out) - base
        out += struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, number, number, len(directory), start)
        out += struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
        out += (
            struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment))
            + comment
        )
    else:
        out += (
            struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, number, number, len(directory), start, len(comment))
            + comment
        )
    return bytes(out)


def unicode_path(name: bytes, utf8: bytes) -> bytes:
    return struct.pack("<HHBL", 0x7075, 5 + len(utf8), 1, zlib.crc32(name)) + utf8


def unix_time(seconds: int) -> bytes:
    return struct.pack("<HHBl", 0x5455, 5, 1, seconds)


def ntfs_time(seconds: int) -> bytes:
    stamp = seconds * 10_000_000 + 116444736000000000
    return struct.pack("<HHLHHQQQ", 0x000A, 32, 0, 1, 24, stamp, stamp, stamp)


# --- 7z -----------------------------------------------------------------------------------------------------------


@dataclass
class Seven:
    """One .7z member, stored uncompressed."""

    name: str | bytes
    data: bytes | None = b""
    mode: int | None = 0o100644
    attributes: int | None = None
    anti: bool = False
    checksum: int | None = None

    @property
    def is_folder(self) -> bool:
        return self.data is None


def seven_number(value: int) -> bytes:
    for extra in range(8):
        if value < 1 << (7 * (extra + 1)):
            first = (0xFF00 >> extra) & 0xFF | value >> (8 * extra)
            return bytes((first,)) + (value & ((1 << (8 * extra)) - 1)).to_bytes(extra, "little")
    return b"\xff" + value.to_bytes(8, "little")


def _bits(flags) -> bytes:
    out = bytearray((len(flags) + 7) // 8)
    for index, flag in enumerate(flags):
        if flag:
            out[index // 8] |= 0x80 >> index % 8
    return bytes(out)


def seven(*members: Seven, method: bytes = b"\0", packed: bytes | None = None) -> bytes:
    """A whole .7z with one solid folder (method Copy unless told otherwise) and a plain header."""
    full = [member for member in members if member.data]
    body = b"".join(member.data for member in full)
    stored = body if packed is None else packed
    header = b"\x01"
    if full:
        header += (
            b"\x04\x06" + seven_number(0) + seven_number(1) + b"\x09" + seven_number(len(stored)) + b"\0"
        )
        header += b"\x07\x0b" + seven_number(1) + b"\0" + seven_number(1) + bytes((len(method),)) + method
        header += b"\x0c" + seven_number(len(body)) + b"\0"
        header += b"\x08\x0d" + seven_number(len(full))
        if len(full) > 1:
            header += b"\x09" + b"".join(seven_number(len(member.data)) for member in full[:-1])
        sums = [zlib.crc32(member.data) if member.checksum is None else member.checksum for member in full]
        header += b"\x0a\x01" + struct.pack(f"<{len(sums)}L", *sums) + b"\0\0"
    header += b"\x05" + seven_number(len(members))
    empty = [not member.data for member in members]
    if any(empty):
        vector = _bits(empty)
        header += b"\x0e" + seven_number(len(vector)) + vector
        files = [member.data is not None for member in members if not member.data]
        header += b"\x0f" + seven_number(len(_bits(files))) + _bits(files)
        antis = [member.anti for member in members if not member.data]
        if any(antis):
            header += b"\x10" + seven_number(len(_bits(antis))) + _bits(antis)
    names = b"".join(
        (member.name if isinstance(member.name, bytes) else member.name.encode("utf-16-le", "surrogatepass"))
        + b"\0\0"
        for member in members
    )
    header += b"\x11" + seven_number(len(names) + 1) + b"\0" + names
    times = b"\x01\0" + struct.pack("<Q", FILETIME) * len(members)
    header += b"\x14" + seven_number(len(times)) + times
    words = [
        member.attributes
        if member.attributes is not None
        else (
            0x8000
            | (member.mode if not member.is_folder else 0o040755) << 16
            | (0x10 if member.is_folder else 0x20)
        )
        for member in members
    ]
    attributes = b"\x01\0" + struct.pack(f"<{len(words)}L", *words)
    header += b"\x15" + seven_number(len(attributes)) + attributes + b"\0\0"
    start = struct.pack("<QQL", len(stored), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<L", zlib.crc32(start)) + start + stored + header
