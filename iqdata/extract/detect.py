"""First bytes of a file → what it really holds, as each tool finds out.

Pure. Refuses to look at names, except where GNU tar itself falls back to the name (`.lzma`).
"""

from iqdata.extract.decode import Codec
from iqdata.extract.tar import BLOCK, checksum_fits

SEVENZIP_MAGIC = b"7z\xbc\xaf\x27\x1c"

HEAD_BYTES = BLOCK
"""How much `codec_of` and the others want to see."""

_CODECS = (
    (b"\x1f\x8b", Codec.GZIP),
    (b"BZh", Codec.BZIP2),
    (b"\xfd7zXZ\0", Codec.XZ),
    (b"\x28\xb5\x2f\xfd", Codec.ZSTD),
    (b"\x1f\x9d", Codec.COMPRESS),
)

_OTHERS = (
    (b"Rar!\x1a\x07", "RAR"),
    (b"LZIP", "lzip"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\x89LZO\0", "lzop"),
    (b"MSCF", "a Windows cabinet"),
    (b"!<arch>\n", "a Unix library (ar)"),
    (b"070701", "cpio"),
    (b"070707", "cpio"),
    (b"\xed\xab\xee\xdb", "RPM"),
    (b"xar!", "XAR"),
    (SEVENZIP_MAGIC, "7z"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "PDF"),
    (b"\x89PNG", "PNG"),
    (b"SQLite format 3\0", "SQLite"),
    (b"\x89HDF", "HDF5"),
    (b"PAR1", "Parquet"),
)


def codec_of(head: bytes) -> Codec | None:
    """Return the codec of a compressed stream by its first bytes."""
    for magic, codec in _CODECS:
        if head.startswith(magic):
            return codec
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return Codec.ZSTD  # a skippable frame comes first
    return None


def is_lzma_alone(head: bytes) -> bool:
    """Tell whether this is the old `.lzma` format, which has no signature: properties, a usual dictionary, a sane size."""
    if len(head) < 13 or head[0] >= 225:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    usual = dictionary >= 4096 and (
        dictionary & (dictionary - 1) == 0
        or (dictionary % 3 == 0 and (dictionary // 3) & (dictionary // 3 - 1) == 0)
    )
    return (
        (usual or dictionary == 0xFFFFFFFF)
        and (size == (1 << 64) - 1 or size < 1 << 40)
        and head[13:14] in (b"", b"\0")
    )


def is_tar(head: bytes) -> bool:
    """Tell whether the first block is a tar header."""
    return len(head) >= BLOCK and any(head[:BLOCK]) and checksum_fits(head[:BLOCK])


def other_format(head: bytes) -> str | None:
    """Name a format that the tool at hand does not read, for people."""
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    text = head[:256].lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page (an error page of a download?)"
    if head and not head.strip(b"\0"):
        return "zeros"
    if head and all(byte >= 32 or byte in b"\t\r\n" for byte in head[:256]):
        return "plain text"
    return None
