""".7z → members and their content, through the codecs of the standard library and py7zr.

Refuses passwords. What 7-Zip reads and nothing here decodes (BCJ2, ARM64, RISC-V, Swap) is left to the native engine; what
the server's 7z cannot read (zstd, brotli) is said to be so.
"""

import bz2
import lzma
import re
from collections.abc import Callable, Iterator

from iqdata.errors import ArchiveError, Damaged, Encrypted, EngineMissing, TooLarge
from iqdata.extract.codecs import Deflate64, Standard
from iqdata.extract.decode import INFLATE_ERRORS, OUT_BYTES, CutShort, WrongChecksum, crc32, raw_inflate
from iqdata.extract.lzma2 import decoded, independent_blocks
from iqdata.extract.members import WHOLE_BYTES, Flaw, Member, Piece, Stored
from iqdata.extract.sevenzip_header import Coder, Files, Folder, Streams, read_header, read_start
from iqdata.extract.source import CHUNK_BYTES, RawFile
from iqdata.extract.tar import Window
from iqdata.extract.zip_fields import FILETIME_EPOCH

_COPY, _DELTA, _LZMA, _LZMA2, _AES = b"\0", b"\3", b"\3\1\1", b"\x21", b"\6\xf1\7\1"
_PPMD, _BZIP2, _DEFLATE, _DEFLATE64 = b"\3\4\1", b"\4\2\2", b"\4\1\x08", b"\4\1\x09"
_BCJ = {  # method → (liblzma's filter, py7zr's class)
    b"\x03\x03\x01\x03": (lzma.FILTER_X86, "BCJDecoder"),
    b"\x04": (lzma.FILTER_X86, "BCJDecoder"),
    b"\x03\x03\x02\x05": (lzma.FILTER_POWERPC, "BcjPpcDecoder"),
    b"\x05": (lzma.FILTER_POWERPC, "BcjPpcDecoder"),
    b"\x03\x03\x04\x01": (lzma.FILTER_IA64, None),
    b"\x06": (lzma.FILTER_IA64, None),
    b"\x03\x03\x05\x01": (lzma.FILTER_ARM, "BcjArmDecoder"),
    b"\x07": (lzma.FILTER_ARM, "BcjArmDecoder"),
    b"\x03\x03\x07\x01": (lzma.FILTER_ARMTHUMB, "BcjArmtDecoder"),
    b"\x08": (lzma.FILTER_ARMTHUMB, "BcjArmtDecoder"),
    b"\x03\x03\x08\x05": (lzma.FILTER_SPARC, "BcjSparcDecoder"),
    b"\x09": (lzma.FILTER_SPARC, "BcjSparcDecoder"),
}
_NATIVE_ONLY = {
    b"\x03\x03\x01\x1b": "BCJ2",
    b"\x0a": "ARM64",
    b"\x0b": "RISC-V",
    b"\x02\x03\x02": "Swap2",
    b"\x02\x03\x04": "Swap4",
}
_FOREIGN = {b"\x04\xf7\x11\x01": "zstd", b"\x04\xf7\x11\x02": "brotli", b"\x04\xf7\x11\x04": "LZ4"}

_MAX_HEADER_BYTES = 1024**3
_THREADED_FROM_BYTES = 1024 * 1024


class SevenZipReader:
    """The members of one .7z."""

    def __init__(
        self,
        source: RawFile,
        *,
        max_dictionary_bytes: int,
        meter: Callable[[int], None],
        threaded: bool = False,
    ) -> None:
        self.warnings: list[str] = []
        self.damage: str | None = None
        self.names_encrypted = False
        self._source = source
        self._max_dictionary_bytes = max_dictionary_bytes
        self._meter = meter
        self._threaded = threaded
        self._streams = Streams()
        self._starts: list[tuple[int, int]] = []  # of each substream: folder, offset in it
        self._open_folder = -1
        self._window = Window(iter(()))
        self._count = 0

    def members(self) -> Iterator[Member]:
        """Yield the members in the header's order."""
        try:
            streams, files = self.header()
        except Encrypted:
            self.names_encrypted = True
            self.damage = "even its file names are encrypted; pack it without a password"
            return
        except EngineMissing:
            raise
        except TooLarge:
            raise
        except ArchiveError as exc:
            self.damage = str(exc)
            return
        self._streams = streams
        flaws = [self.flaw_of(folder) for folder in streams.folders]
        for index, count in enumerate(streams.counts):
            offset = 0
            base = len(self._starts)
            for size in streams.sizes[base : base + count]:
                self._starts.append((index, offset))
                offset += size
        yield from self._listed(files, flaws)

    def confirmed(self) -> int:
        """Every member has its own checksum."""
        return self._count

    def checksum_of(self, member: Member) -> int | None:
        """Return the header's checksum."""
        return self._streams.checksums[member.key] if member.key >= 0 else None

    @property
    def packed_bytes(self) -> int:
        """How much packed content there is, once the header has been read."""
        return sum(self._streams.pack_sizes)

    @property
    def unpacked_bytes(self) -> int:
        """How much the header says will come out; the format makes that exact."""
        return sum(folder.unpacked_bytes for folder in self._streams.folders)

    @property
    def contents(self) -> int:
        """How many members have content."""
        return len(self._streams.sizes)

    @property
    def is_lzma(self) -> bool:
        """Whether everything is packed with LZMA or LZMA2, where 7zz is the faster decoder."""
        return all(
            any(coder.method in (_LZMA, _LZMA2) for coder in folder.coders)
            for folder in self._streams.folders
        )

    def close(self) -> None:
        """Nothing is held."""

    def _listed(self, files: Files, flaws: list[tuple[Flaw, str] | None]) -> Iterator[Member]:
        stream = 0
        streams = self._streams
        columns = zip(
            files.names,
            files.has_stream,
            files.is_empty_file,
            files.is_anti,
            files.mtimes,
            files.attributes,
            strict=True,
        )
        for name, has_stream, is_empty_file, is_anti, filetime, attributes in columns:
            kind, mode = kind_and_mode(attributes, has_stream, is_empty_file)
            member = Member(
                name=raw_name(name),
                kind=Stored.ANTI if is_anti else kind,
                size_bytes=streams.sizes[stream] if has_stream else 0,
                mode=mode,
                mtime_ns=None if filetime is None else (filetime - FILETIME_EPOCH) * 100,
                key=stream if has_stream else -1,
            )
            if has_stream:
                flaw = flaws[self._starts[stream][0]]
                if flaw is not None:
                    member.flaw, member.why = flaw
                stream += 1
            self._count += 1
            yield member

    def header(self) -> tuple[Streams, Files]:
        """Return what the header says.

        Raises:
            Damaged, Encrypted, EngineMissing, TooLarge: it cannot be read here.
        """
        source = self._source
        start = read_start(source.at(0, 32))
        if not start.size:
            return Streams(), Files()
        if start.size > _MAX_HEADER_BYTES:
            raise Damaged("its header claims more than a gigabyte")
        data = source.at(start.offset, start.size)
        if len(data) < start.size:
            raise CutShort("it is cut: its header, which stands at the end, is missing")
        if crc32(data) != start.checksum:
            raise WrongChecksum("its header is damaged")
        for _ in range(4):
            found = read_header(data)
            if isinstance(found, tuple):
                return found
            data = self._encoded_header(found)
        raise Damaged("its header is packed too often")

    def _encoded_header(self, streams: Streams) -> bytes:
        if not streams.folders:
            raise Damaged("its header makes no sense")
        self._streams = streams
        folder = streams.folders[0]
        flaw = self.flaw_of(folder)
        if flaw is not None:
            if flaw[0] is Flaw.ENCRYPTED:
                raise Encrypted(flaw[1])
            raise EngineMissing(f"its header cannot be read here: {flaw[1]}")
        size = folder.unpacked_bytes
        if size > _MAX_HEADER_BYTES:
            raise Damaged("its header claims more than a gigabyte")
        data = Window(self._folder_chunks(0, metered=False)).take(size)
        if len(data) < size:
            raise CutShort("its header is cut")
        if folder.checksum is not None and crc32(data) != folder.checksum:
            raise WrongChecksum("its header is damaged")
        return data

    def flaw_of(self, folder: Folder) -> tuple[Flaw, str] | None:
        """Say why the content of a folder cannot be had here, None where it can."""
        for coder in folder.coders:
            if coder.method == _AES:
                return Flaw.ENCRYPTED, "it is encrypted; pack it without a password"
            if coder.method in _FOREIGN:
                name = _FOREIGN[coder.method]
                return (
                    Flaw.UNSUPPORTED,
                    f"it is packed with {name}, which the server's 7z cannot read; pack it with LZMA2",
                )
        has_lzma2 = any(coder.method == _LZMA2 for coder in folder.coders)
        for coder in folder.coders:
            if coder.method in _NATIVE_ONLY or (
                not has_lzma2 and coder.method in _BCJ and _BCJ[coder.method][1] is None
            ):
                name = _NATIVE_ONLY.get(coder.method, "IA64 without LZMA2")
                return Flaw.NATIVE, f"only the real 7zz decodes {name}"
            if not _is_known(coder):
                return (
                    Flaw.UNSUPPORTED,
                    f"it is packed with method {coder.method.hex()}, which nothing here reads",
                )
        return None

    # --- content ------------------------------------------------------------------------------------------------

    def content(self, member: Member) -> Iterator[Piece]:
        """Yield a member's content; members of one folder are read in order, those passed over are decoded unseen."""
        if member.key < 0:
            return
        folder, offset = self._starts[member.key]
        if folder != self._open_folder or self._window.position > offset:
            self._open_folder = folder
            self._window = Window(self._folder_chunks(folder, metered=True))
        if self._window.skip(offset - self._window.position) < 0:
            raise CutShort("its packed data ends early")
        size = self._streams.sizes[member.key]
        expected = self._streams.checksums[member.key]
        checksum = length = 0
        for piece in self._window.pieces(size):
            checksum = crc32(piece, checksum)
            length += len(piece)
            yield piece
        if length < size:
            raise CutShort(f"it is cut: {length} of {size} bytes came out")
        if expected is not None and checksum != expected:
            raise WrongChecksum("its checksum does not fit the content")

    def whole(self, member: Member) -> bytes | None:
        """Return a small member's content at once."""
        if member.key < 0:
            return b""
        if self._streams.sizes[member.key] > WHOLE_BYTES:
            return None
        folder, offset = self._starts[member.key]
        if folder != self._open_folder or self._window.position > offset:
            return b"".join(self.content(member))
        if self._window.position < offset:
            self._window.skip(offset - self._window.position)
        size = self._streams.sizes[member.key]
        data = self._window.take(size)
        if len(data) < size:
            raise CutShort(f"it is cut: {len(data)} of {size} bytes came out")
        expected = self._streams.checksums[member.key]
        if expected is not None and crc32(data) != expected:
            raise WrongChecksum("its checksum does not fit the content")
        return data

    def _folder_chunks(self, index: int, *, metered: bool) -> Iterator[bytes]:
        streams = self._streams
        folder = streams.folders[index]
        first = sum(len(before.packed_inputs) for before in streams.folders[:index])
        start = 32 + streams.pack_offset + sum(streams.pack_sizes[:first])
        size = streams.pack_sizes[first]
        chunks = self._side_by_side(folder, start, size) if self._threaded and metered else None
        if chunks is None:
            chunks = _chain(folder, self._packed(start, size), self._max_dictionary_bytes)
        left = folder.unpacked_bytes
        for chunk in chunks:
            if not chunk:
                continue
            piece = chunk[:left]
            left -= len(piece)
            if metered:
                self._meter(len(piece))
            yield piece
            if left <= 0:
                return

    def _side_by_side(self, folder: Folder, start: int, size: int) -> Iterator[bytes] | None:
        """Return the content of a folder decoded in several threads, None where it cannot or need not be."""
        if len(folder.coders) != 1 or folder.coders[0].method != _LZMA2 or size < _THREADED_FROM_BYTES:
            return None
        dictionary = _lzma2_filter(folder.coders[0], self._max_dictionary_bytes)["dict_size"]
        blocks = independent_blocks(self._source.at, start, size)
        if blocks is None:
            return None
        return decoded(blocks, self._source.at, dictionary, report=self._source.report)

    def _packed(self, start: int, size: int) -> Iterator[bytes]:
        at, end = start, start + size
        while at < end:
            data = self._source.at(at, min(CHUNK_BYTES, end - at))
            if not data:
                raise CutShort("the archive ends before its content does")
            at += len(data)
            self._source.report(at)
            yield data


_ESCAPED_BYTE = re.compile(rb"\xee([\xbe\xbf])([\x80-\xbf])")
"""U+EF80 to U+EFFF in UTF-8."""


def raw_name(name: str) -> bytes:
    """Return a name's bytes on disk.

    7-Zip keeps a byte that is no UTF-8 as a character of U+EF80 to U+EFFF, whose low half it is, and writes any such
    character as that byte. Source: observed with 7-Zip 26.02 in both directions.
    """
    raw = name.encode("utf-8", "surrogatepass")
    if b"\xee" not in raw:
        return raw
    return _ESCAPED_BYTE.sub(lambda match: bytes(((match[1][0] & 1) << 6 | match[2][0],)), raw)


def kind_and_mode(
    attributes: int | None,
    has_stream: bool,  # noqa: FBT001  # the header's own columns, in their order
    is_empty_file: bool,  # noqa: FBT001
) -> tuple[Stored, int | None]:
    """Return what a member is, anti items aside, and its permission bits."""
    mode: int | None = None
    kind = Stored.FILE if has_stream or is_empty_file else Stored.DIRECTORY
    if attributes is not None:
        if attributes & 0x8000:
            unix = attributes >> 16
            mode = unix & 0o7777
            if kind is Stored.FILE and unix & 0o170000 == 0o120000:
                kind = Stored.SYMLINK
            elif unix & 0o170000 == 0o040000 and not has_stream:
                kind = Stored.DIRECTORY
        elif attributes & 1:
            mode = 0o555 if kind is Stored.DIRECTORY else 0o444
    return kind, mode


def _is_known(coder: Coder) -> bool:
    known = (_COPY, _DELTA, _LZMA, _LZMA2, _PPMD, _BZIP2, _DEFLATE, _DEFLATE64)
    return coder.inputs == coder.outputs == 1 and (coder.method in known or coder.method in _BCJ)


def _ordered(folder: Folder) -> list[tuple[Coder, int]]:
    """Return (coder, size of its output) from the packed side to the content."""
    feeds = {output: to for to, output in folder.bindings}  # output of a coder → the input that takes it
    order: list[tuple[Coder, int]] = []
    at: int | None = folder.packed_inputs[0]
    while at is not None and at < len(folder.coders) and len(order) <= len(folder.coders):
        order.append((folder.coders[at], folder.sizes[at]))
        at = feeds.get(at)
    if len(order) != len(folder.coders):
        raise Damaged("its coder chain makes no sense")
    return order


def _chain(folder: Folder, packed: Iterator[bytes], max_dictionary_bytes: int) -> Iterator[bytes]:
    """Return the content of a folder.

    Raises:
        EngineMissing: a chain that only the real 7zz reads.
    """
    chunks = packed
    coders = _ordered(folder)
    at = 0
    while at < len(coders):
        coder, size = coders[at]
        if coder.method == _LZMA2:
            # liblzma runs LZMA2 and the filters behind it in one go.
            filters = [_lzma2_filter(coder, max_dictionary_bytes)]
            while at + 1 < len(coders) and coders[at + 1][0].method in (_DELTA, *_BCJ) and len(filters) < 4:
                at += 1
                filters.insert(0, _simple_filter(coders[at][0]))
            chunks = _standard(
                Standard(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters), _LZMA_ERRORS), chunks
            )
        elif coder.method == _LZMA:
            chunks = _lzma1(coder, size, chunks, max_dictionary_bytes)
        elif coder.method == _BZIP2:
            chunks = _bzip2(chunks)
        elif coder.method == _DEFLATE:
            chunks = _standard(Standard(raw_inflate(), INFLATE_ERRORS), chunks)
        elif coder.method == _DEFLATE64:
            chunks = _standard(Deflate64(), chunks)
        elif coder.method == _PPMD:
            chunks = _ppmd(coder, size, chunks, max_dictionary_bytes)
        elif coder.method in _BCJ:
            chunks = _branch(coder, size, chunks)
        elif coder.method == _DELTA:
            chunks = _delta(coder, chunks)
        at += 1
    return chunks


_LZMA_ERRORS: tuple[type[Exception], ...] = (lzma.LZMAError, EOFError)


def _lzma2_filter(coder: Coder, max_dictionary_bytes: int) -> dict[str, int]:
    if len(coder.properties) != 1 or coder.properties[0] > 40:
        raise Damaged("its LZMA2 properties make no sense")
    code = coder.properties[0]
    size = 0xFFFFFFFF if code == 40 else (2 | code & 1) << (code // 2 + 11)
    _check_dictionary(size, max_dictionary_bytes)
    return {"id": lzma.FILTER_LZMA2, "dict_size": size}


def _check_dictionary(size: int, max_dictionary_bytes: int) -> None:
    if size > max_dictionary_bytes:
        raise TooLarge(
            f"it asks for a dictionary of {size // 1024**2} MiB; {max_dictionary_bytes // 1024**2} MiB are allowed here"
        )


def _simple_filter(coder: Coder) -> dict[str, int]:
    if coder.method == _DELTA:
        return {"id": lzma.FILTER_DELTA, "dist": (coder.properties or b"\0")[0] + 1}
    return {"id": _BCJ[coder.method][0]}


def _standard(decoder: Standard | Deflate64, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield from decoder.feed(chunk)
        if decoder.eof:
            return


def _lzma1(coder: Coder, size: int, chunks: Iterator[bytes], max_dictionary_bytes: int) -> Iterator[bytes]:
    # A raw LZMA stream has no end of its own; the .lzma format is the same behind 13 bytes that say its size.
    properties = coder.properties
    if len(properties) != 5:
        raise Damaged("its LZMA properties make no sense")
    _check_dictionary(int.from_bytes(properties[1:5], "little"), max_dictionary_bytes)
    # 7-Zip writes any size here; liblzma takes only 2^n and 2^n + 2^(n-1), so the next larger one is claimed.
    dictionary = 4096
    wanted = int.from_bytes(properties[1:5], "little")
    while dictionary < wanted:
        dictionary = dictionary * 3 // 2 if dictionary & (dictionary - 1) == 0 else dictionary // 3 * 4
    decoder = Standard(lzma.LZMADecompressor(lzma.FORMAT_ALONE), _LZMA_ERRORS)
    head = properties[:1] + min(dictionary, 0xFFFFFFFF).to_bytes(4, "little") + size.to_bytes(8, "little")
    yield from decoder.feed(head)
    yield from _standard(decoder, chunks)


def _bzip2(chunks: Iterator[bytes]) -> Iterator[bytes]:
    # 7-Zip's threads write one stream each.
    decoder = bz2.BZ2Decompressor()
    data = b""
    try:
        for chunk in chunks:
            data += chunk
            while data or not (decoder.needs_input or decoder.eof):
                if decoder.eof:
                    decoder = bz2.BZ2Decompressor()
                yield decoder.decompress(data, OUT_BYTES)
                data = decoder.unused_data if decoder.eof else b""
    except (OSError, ValueError, EOFError) as exc:
        raise Damaged("its packed data makes no sense") from exc


def _ppmd(coder: Coder, size: int, chunks: Iterator[bytes], max_dictionary_bytes: int) -> Iterator[bytes]:
    from py7zr.compressor import PpmdDecompressor

    if len(coder.properties) not in (5, 7):
        raise Damaged("its PPMd properties make no sense")
    order, memory = coder.properties[0], int.from_bytes(coder.properties[1:5], "little")
    if not 2 <= order <= 64 or memory < 2048:
        raise Damaged("its PPMd properties make no sense")
    _check_dictionary(memory, max_dictionary_bytes)
    decoder = PpmdDecompressor(coder.properties)
    left = size
    for chunk in _then_empty(chunks):
        data = chunk
        while left > 0:
            try:
                out = decoder.decompress(data, min(left, OUT_BYTES))
            except (ValueError, RuntimeError, OSError) as exc:
                raise Damaged("its packed data makes no sense") from exc
            data = b""
            left -= len(out)
            yield out
            if not out or decoder.decoder.needs_input:
                break


def _then_empty(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    yield b""


def _branch(coder: Coder, size: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    from py7zr import compressor

    name = _BCJ[coder.method][1]
    if name is None:
        raise EngineMissing("only the real 7zz decodes this filter without LZMA2; install it (Debian: 7zip)")
    decoder = getattr(compressor, name)(size)
    for chunk in chunks:
        yield decoder.decompress(chunk)


def _delta(coder: Coder, chunks: Iterator[bytes]) -> Iterator[bytes]:
    distance = (coder.properties or b"\0")[0] + 1
    history = bytearray(distance)
    at = 0
    for chunk in chunks:
        out = bytearray(chunk)
        for index, value in enumerate(out):
            history[at] = out[index] = (value + history[at]) & 0xFF
            at = (at + 1) % distance
        yield bytes(out)
