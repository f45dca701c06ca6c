""".7z header bytes → folders (coder chains) and files, as 7-Zip leaves them: duplicates, anti items and odd names included.

Pure: works on bytes. Own code because py7zr's parser refuses anti items and lone surrogates, renames duplicates, and
takes three times as long. Refuses counts that the header is too small to hold. Source: 7zFormat.txt of the LZMA SDK.
"""

import dataclasses
import struct
import zlib

from iqdata.errors import Damaged

SIGNATURE = b"7z\xbc\xaf\x27\x1c"

_END, _HEADER, _ARCHIVE_PROPERTIES, _ADDITIONAL_STREAMS, _MAIN_STREAMS, _FILES = 0, 1, 2, 3, 4, 5
_PACK_INFO, _UNPACK_INFO, _SUBSTREAMS, _SIZE, _CRC, _FOLDER = 6, 7, 8, 9, 10, 11
_CODERS_SIZE, _NUM_SUBSTREAMS, _EMPTY_STREAM, _EMPTY_FILE, _ANTI, _NAMES = 12, 13, 14, 15, 16, 17
_MTIME, _ATTRIBUTES, _ENCODED = 20, 21, 23


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Coder:
    """One step of decoding."""

    method: bytes
    properties: bytes
    inputs: int
    outputs: int


@dataclasses.dataclass(slots=True, kw_only=True)
class Folder:
    """One chain of coders with its packed streams.

    Attributes:
        bindings: (input, output) pairs between coders.
        packed_inputs: which inputs take packed streams.
        sizes: of each coder's output.
    """

    coders: tuple[Coder, ...]
    bindings: tuple[tuple[int, int], ...]
    packed_inputs: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    checksum: int | None = None

    @property
    def unpacked_bytes(self) -> int:
        """Size of what comes out at the end: of the output that no other coder takes."""
        if not self.bindings:
            return self.sizes[0]
        bound = {out for _, out in self.bindings}
        at = 0
        for coder in self.coders:
            for _ in range(coder.outputs):
                if at not in bound:
                    return self.sizes[at]
                at += 1
        raise Damaged("its coder chain is a loop")


@dataclasses.dataclass(slots=True, kw_only=True)
class Streams:
    """Where the packed streams lie and what is in each folder."""

    pack_offset: int = 0
    pack_sizes: tuple[int, ...] = ()
    folders: list[Folder] = dataclasses.field(default_factory=list)
    counts: list[int] = dataclasses.field(default_factory=list)
    sizes: list[int] = dataclasses.field(default_factory=list)  # of each substream, over all folders
    checksums: list[int | None] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, kw_only=True)
class Files:
    """The files' properties, column by column."""

    names: list[str] = dataclasses.field(default_factory=list)
    has_stream: list[bool] = dataclasses.field(default_factory=list)
    is_empty_file: list[bool] = dataclasses.field(default_factory=list)
    is_anti: list[bool] = dataclasses.field(default_factory=list)
    mtimes: list[int | None] = dataclasses.field(default_factory=list)
    attributes: list[int | None] = dataclasses.field(default_factory=list)


class Cursor:
    """Header bytes and a position."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise Damaged("its header ends early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def byte(self) -> int:
        """Return the next byte."""
        if self.at >= len(self.data):
            raise Damaged("its header ends early")
        value = self.data[self.at]
        self.at += 1
        return value

    def number(self) -> int:
        """Return a number in 7z's own variable length: leading ones of the first byte count the bytes that follow."""
        first = self.byte()
        if first < 0x80:
            return first
        mask, extra = 0x80, 0
        while extra < 8 and first & mask:
            extra += 1
            mask >>= 1
        value = int.from_bytes(self.take(extra), "little")
        if extra < 7:
            value |= (first & (mask - 1)) << (8 * extra)
        return value

    def numbers(self, count: int) -> list[int]:
        """Return the next `count` numbers."""
        found: list[int] = []
        data, at, end = self.data, self.at, len(self.data)
        for _ in range(count):
            if at < end and (first := data[at]) < 0x80:
                found.append(first)
                at += 1
            else:
                self.at = at
                found.append(self.number())
                at = self.at
        self.at = at
        return found

    def count(self) -> int:
        """Return a number of things, each of which takes at least a bit of this header."""
        return self.possible(self.number())

    def possible(self, count: int) -> int:
        """Return a number of things if this header can hold so many."""
        if count > 8 * len(self.data) + 64:
            raise Damaged("its header claims more than it can hold")
        return count

    def bits(self, count: int) -> list[bool]:
        """Return a vector of bits, first bit highest."""
        data = self.take((count + 7) // 8)
        text = bin(int.from_bytes(b"\1" + data, "big"))[3 : 3 + count]
        return [bit == "1" for bit in text]

    def optional_bits(self, count: int) -> list[bool]:
        """Return a vector of bits that may be abbreviated to "all"."""
        return [True] * count if self.byte() else self.bits(count)


def checksums(cursor: Cursor, count: int) -> list[int | None]:
    """Read CRCs, defined or not."""
    defined = cursor.optional_bits(count)
    values = struct.unpack(f"<{sum(defined)}L", cursor.take(4 * sum(defined)))
    if len(values) == count:
        return list(values)
    rest = iter(values)
    return [next(rest) if is_defined else None for is_defined in defined]


def read_streams(cursor: Cursor) -> Streams:
    """Read a StreamsInfo."""
    streams = Streams()
    while (tag := cursor.number()) != _END:
        match tag:
            case 6:
                _read_pack_info(cursor, streams)
            case 7:
                _read_unpack_info(cursor, streams)
            case 8:
                _read_substreams(cursor, streams)
            case _:
                raise Damaged("its header makes no sense")
    if not streams.counts:
        streams.counts = [1] * len(streams.folders)
        streams.sizes = [folder.unpacked_bytes for folder in streams.folders]
        streams.checksums = [folder.checksum for folder in streams.folders]
    if sum(len(folder.packed_inputs) for folder in streams.folders) > len(streams.pack_sizes):
        raise Damaged("its header names packed streams that are not there")
    return streams


def _read_pack_info(cursor: Cursor, streams: Streams) -> None:
    streams.pack_offset = cursor.number()
    count = cursor.count()
    while (tag := cursor.number()) != _END:
        if tag == _SIZE:
            streams.pack_sizes = tuple(cursor.numbers(count))
        elif tag == _CRC:
            checksums(cursor, count)
        else:
            raise Damaged("its header makes no sense")


def _read_unpack_info(cursor: Cursor, streams: Streams) -> None:
    if cursor.number() != _FOLDER:
        raise Damaged("its header makes no sense")
    count = cursor.count()
    if cursor.byte():
        raise Damaged("its header keeps parts in another stream, which nothing writes")
    streams.folders = _read_folders(cursor, count)
    if cursor.number() != _CODERS_SIZE:
        raise Damaged("its header makes no sense")
    for folder in streams.folders:
        folder.sizes = tuple(cursor.numbers(len(folder.bindings) + 1))
    while (tag := cursor.number()) != _END:
        if tag != _CRC:
            raise Damaged("its header makes no sense")
        for folder, checksum in zip(streams.folders, checksums(cursor, count), strict=True):
            folder.checksum = checksum


def _read_folders(cursor: Cursor, count: int) -> list[Folder]:
    folders: list[Folder] = []
    written = b""
    for _ in range(count):
        # Without solid blocks each file has a folder, written with the same bytes as the one before.
        if written and cursor.data.startswith(written, cursor.at):
            before = folders[-1]
            folders.append(
                Folder(coders=before.coders, bindings=before.bindings, packed_inputs=before.packed_inputs)
            )
            cursor.at += len(written)
        else:
            start = cursor.at
            folders.append(_read_folder(cursor))
            written = cursor.data[start : cursor.at]
    return folders


def _read_folder(cursor: Cursor) -> Folder:
    coders = []
    for _ in range(_few(cursor.number())):
        flags = cursor.byte()
        method = cursor.take(flags & 15)
        inputs = outputs = 1
        if flags & 0x10:
            inputs, outputs = _few(cursor.number()), _few(cursor.number())
        properties = cursor.take(cursor.number()) if flags & 0x20 else b""
        if flags & 0x80:
            raise Damaged("its header names alternative methods, which nothing writes")
        coders.append(Coder(method=method, properties=properties, inputs=inputs, outputs=outputs))
    inputs, outputs = sum(coder.inputs for coder in coders), sum(coder.outputs for coder in coders)
    if not outputs:
        raise Damaged("its header holds an empty coder chain")
    bindings = tuple((cursor.number(), cursor.number()) for _ in range(outputs - 1))
    packed = inputs - (outputs - 1)
    bound = {to for to, _ in bindings}
    free = [index for index in range(inputs) if index not in bound]
    if packed < 1 or not free:
        raise Damaged("its coder chain is a loop")
    packed_inputs = (free[0],) if packed == 1 else tuple(cursor.number() for _ in range(packed))
    return Folder(coders=tuple(coders), bindings=bindings, packed_inputs=packed_inputs)


def _few(count: int) -> int:
    if not 0 < count <= 32:
        raise Damaged("its header makes no sense")
    return count


def _read_substreams(cursor: Cursor, streams: Streams) -> None:
    counts = [1] * len(streams.folders)
    tag = cursor.number()
    if tag == _NUM_SUBSTREAMS:
        counts = [cursor.possible(count) for count in cursor.numbers(len(streams.folders))]
        tag = cursor.number()
    sizes: list[int] = []
    for folder, count in zip(streams.folders, counts, strict=True):
        if not count:
            continue
        if count > 1 and tag != _SIZE:
            raise Damaged("its header gives no sizes")
        if count == 1:
            sizes.append(folder.unpacked_bytes)
            continue
        listed = cursor.numbers(count - 1)
        last = folder.unpacked_bytes - sum(listed)
        if last < 0:
            raise Damaged("its sizes do not add up")
        sizes.extend(listed)
        sizes.append(last)
    if tag == _SIZE:
        tag = cursor.number()
    known = [
        folder.checksum is not None and count == 1
        for folder, count in zip(streams.folders, counts, strict=True)
    ]
    missing = sum(count for count, is_known in zip(counts, known, strict=True) if not is_known)
    listed_checksums: list[int | None] = [None] * missing
    while tag != _END:
        if tag != _CRC:
            raise Damaged("its header makes no sense")
        listed_checksums = checksums(cursor, missing)
        tag = cursor.number()
    at = 0
    for folder, count, is_known in zip(streams.folders, counts, known, strict=True):
        if is_known:
            streams.checksums.append(folder.checksum)
        else:
            streams.checksums.extend(listed_checksums[at : at + count])
            at += count
    streams.counts, streams.sizes = counts, sizes


def read_header(data: bytes) -> tuple[Streams, Files] | Streams:
    """Read a header; an encoded one comes back as the streams that hold the real one.

    Raises:
        Damaged: it makes no sense.
    """
    cursor = Cursor(data)
    tag = cursor.number()
    if tag == _ENCODED:
        return read_streams(cursor)
    if tag != _HEADER:
        raise Damaged("its header makes no sense")
    streams, files = Streams(), Files()
    tag = cursor.number()
    if tag == _ARCHIVE_PROPERTIES:
        while cursor.number() != _END:
            cursor.take(cursor.number())
        tag = cursor.number()
    if tag == _ADDITIONAL_STREAMS:
        read_streams(cursor)
        tag = cursor.number()
    if tag == _MAIN_STREAMS:
        streams = read_streams(cursor)
        tag = cursor.number()
    if tag == _FILES:
        files = _read_files(cursor)
        tag = cursor.number()
    if tag != _END:
        raise Damaged("its header makes no sense")
    if sum(files.has_stream) != len(streams.sizes):
        raise Damaged("its header names more files than it has contents")
    return streams, files


def _read_files(cursor: Cursor) -> Files:
    count = cursor.count()
    files = Files(
        names=[""] * count,
        has_stream=[True] * count,
        is_empty_file=[False] * count,
        is_anti=[False] * count,
        mtimes=[None] * count,
        attributes=[None] * count,
    )
    empties = 0
    while (tag := cursor.number()) != _END:
        part = Cursor(cursor.take(cursor.number()))
        if tag == _EMPTY_STREAM:
            empty = part.bits(count)
            files.has_stream = [not flag for flag in empty]
            empties = sum(empty)
        elif tag in (_EMPTY_FILE, _ANTI):
            flags = iter(part.bits(empties))
            spread = [False if has_stream else next(flags) for has_stream in files.has_stream]
            if tag == _EMPTY_FILE:
                files.is_empty_file = spread
            else:
                files.is_anti = spread
        elif tag == _NAMES:
            files.names = _names(part, count)
        elif tag == _MTIME:
            files.mtimes = _column(part, count, "Q", 8)
        elif tag == _ATTRIBUTES:
            files.attributes = _column(part, count, "L", 4)
    return files


def _names(part: Cursor, count: int) -> list[str]:
    if part.byte():
        raise Damaged("its header keeps names in another stream, which nothing writes")
    raw = part.data[1:]
    names = raw[: len(raw) // 2 * 2].decode("utf-16-le", "surrogatepass").split("\0")
    if len(names) < count + 1:
        raise Damaged("its header lacks names")
    return names[:count]


def _column(part: Cursor, count: int, code: str, width: int) -> list[int | None]:
    defined = part.optional_bits(count)
    if part.byte():
        raise Damaged("its header keeps properties in another stream, which nothing writes")
    present = sum(defined)
    values = struct.unpack(f"<{present}{code}", part.take(width * present))
    if present == count:
        return list(values)
    rest = iter(values)
    return [next(rest) if is_defined else None for is_defined in defined]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The 32 bytes at the start: where the header lies."""

    offset: int
    size: int
    checksum: int


def read_start(data: bytes) -> Start:
    """Read the signature header.

    Raises:
        Damaged: it is cut or its checksum is wrong.
    """
    if len(data) < 32 or data[:6] != SIGNATURE:
        raise Damaged("it is cut before its header")
    if zlib.crc32(data[12:32]) != int.from_bytes(data[8:12], "little"):
        raise Damaged("its first header is damaged")
    offset, size, checksum = struct.unpack("<QQL", data[12:32])
    return Start(offset=32 + offset, size=size, checksum=checksum)
