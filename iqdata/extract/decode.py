"""Compressed stream → chunks of content, by the libraries' decoders; and how far checksums confirm what came out.

Decoders are imported where they are used: a preview of a zip needs none of them.

Refuses to know members: a stream is one run of bytes. Errors say which of three things happened, because they differ in
what the bytes before them are worth: the input ended, the data makes no sense, a checksum is wrong.
"""

import enum
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from iqdata.errors import Damaged, EngineMissing, TooLarge
from iqdata.extract.lzw import lzw_chunks
from iqdata.extract.source import RawFile

OUT_BYTES = 256 * 1024
"""How much is decoded at once: enough that a call's cost vanishes, little enough to stay in the processor's cache."""


class CutShort(Damaged):
    """The input ended in the middle."""


class WrongChecksum(Damaged):
    """All bytes came, and they are not the ones that went in."""


class Codec(enum.Enum):
    """A compressed stream by its content; the words are for people."""

    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"
    LZMA = "lzma"
    COMPRESS = "compress"


class Decompressor(Protocol):
    """What the decoders of isal, bz2, lzma and zstd have in common."""

    @property
    def eof(self) -> bool: ...  # noqa: D102  # the standard library's own names
    @property
    def needs_input(self) -> bool: ...  # noqa: D102
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...  # noqa: D102


class ZlibInflate:
    """zlib behind the same interface, where isal is not to be had."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=-15)
        self._rest = b""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """Whether more can come without more input."""
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Decode, at most `max_length` bytes at once."""
        out = self._inner.decompress(self._rest + data, max(max_length, 0))
        self._rest = self._inner.unconsumed_tail
        return out


try:
    from isal.igzip_lib import DECOMP_DEFLATE, IgzipDecompressor, IsalError
    from isal.isal_zlib import adler32 as adler32
    from isal.isal_zlib import crc32 as crc32

    INFLATE_ERRORS: tuple[type[Exception], ...] = (zlib.error, IsalError)  # type: ignore[assignment,unused-ignore]  # isal types its error as an instance

    def raw_inflate() -> Decompressor:
        """Return a decoder for a raw deflate stream."""
        return IgzipDecompressor(flag=DECOMP_DEFLATE)
except ImportError:  # a platform without isal's wheel
    INFLATE_ERRORS = (zlib.error,)
    from zlib import adler32 as adler32
    from zlib import crc32 as crc32

    def raw_inflate() -> Decompressor:
        """Return a decoder for a raw deflate stream."""
        return ZlibInflate()


def zstd_decompressor(max_window_bytes: int) -> Decompressor:
    """Return a decoder for one zstd frame, with the window that the zstd program accepts unasked (128 MiB).

    Raises:
        EngineMissing: the module is not installed.
    """
    try:
        from backports import zstd
    except ImportError:
        try:
            from compression import zstd  # type: ignore[import-not-found,no-redef,unused-ignore]  # Python 3.14's own
        except ImportError:
            raise EngineMissing("zstd is not available here; install the package backports.zstd") from None
    bits = max(10, min(27, max_window_bytes.bit_length() - 1))
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: bits})


def zstd_errors() -> tuple[type[Exception], ...]:
    """Return what the zstd module raises for bad data."""
    try:
        from backports.zstd import ZstdError
    except ImportError:
        from compression.zstd import ZstdError  # type: ignore[import-not-found,no-redef,unused-ignore]
    return (ZstdError,)


class Input:
    """The undecoded side of a stream: a window of bytes that grows on demand."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self.window = b""
        self.ended = False
        self.tail = b""  # the last four bytes seen, for gzip's length field

    def fill(self, size: int) -> bool:
        """Make the window hold `size` bytes; False when the input ends before."""
        while len(self.window) < size and not self.ended:
            more = self._read()
            if more:
                self.window += more
                self.tail = (self.tail + more[-4:])[-4:]
            else:
                self.ended = True
        return len(self.window) >= size

    def take(self) -> bytes:
        """Return the window, or the next piece where it is empty; b"" at the end."""
        if not self.window:
            self.fill(1)
        data, self.window = self.window, b""
        return data


class CompressedStream:
    """One compressed file, decoded in order.

    Attributes:
        codec: what it is.
        verified_bytes: how many decoded bytes a checksum has confirmed so far.
        decoded_bytes: how many came out so far.
        stored_name: gzip's own name for the content, from the first member.
        stored_mtime_s: gzip's own time, from the first member; 0 when it has none.
        trailing: what follows the last stream ("zeros", "other data"), or None.
    """

    def __init__(self, codec: Codec, read: Callable[[], bytes], *, max_dictionary_bytes: int) -> None:
        self.codec = codec
        self.verified_bytes = 0
        self.decoded_bytes = 0
        self.stored_name: bytes | None = None
        self.stored_mtime_s = 0
        self.trailing: str | None = None
        self.parts = 0
        self._input = Input(read)
        self._max_dictionary_bytes = max_dictionary_bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the content.

        Raises:
            CutShort, WrongChecksum, Damaged: see the module.
            TooLarge: the stream asks for a dictionary over the limit.
            EngineMissing: the decoder is not installed.
        """
        for chunk in self._of_codec():
            if chunk:
                self.decoded_bytes += len(chunk)
                yield chunk

    def _of_codec(self) -> Iterator[bytes]:
        match self.codec:
            case Codec.GZIP:
                return self._gzip()
            case Codec.COMPRESS:
                return self._compress()
            case Codec.LZMA:
                return self._frames(self._new_lzma, lambda _start: False, self._lzma_errors(), verifies=False)
            case Codec.XZ:
                return self._frames(
                    self._new_xz, lambda start: start == b"\xfd7zX", self._lzma_errors(), padding=True
                )
            case Codec.BZIP2:
                return self._frames(
                    self._new_bzip2,
                    lambda start: start[:3] == b"BZh",
                    (OSError, ValueError),
                    padding=False,
                )
            case Codec.ZSTD:
                return self._frames(self._new_zstd, _starts_zstd, zstd_errors(), padding=False)

    @staticmethod
    def _new_bzip2() -> Decompressor:
        import bz2

        return bz2.BZ2Decompressor()

    def _new_xz(self) -> Decompressor:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._max_dictionary_bytes + 128 * 1024**2)

    def _new_lzma(self) -> Decompressor:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=self._max_dictionary_bytes + 128 * 1024**2)

    def _new_zstd(self) -> Decompressor:
        return zstd_decompressor(self._max_dictionary_bytes)

    @staticmethod
    def _lzma_errors() -> tuple[type[Exception], ...]:
        import lzma

        return (lzma.LZMAError, EOFError)

    def _frames(
        self,
        new: Callable[[], Decompressor],
        starts: Callable[[bytes], bool],
        errors: tuple[type[Exception], ...],
        *,
        padding: bool = False,
        verifies: bool = True,
    ) -> Iterator[bytes]:
        source = self._input
        while True:
            self.parts += 1
            decoder = new()
            try:
                while not decoder.eof:
                    data = source.take() if decoder.needs_input else b""
                    if decoder.needs_input and not data:
                        raise CutShort(f"the {self.codec.value} stream ends early")
                    yield decoder.decompress(data, OUT_BYTES)
            except errors as exc:
                raise _translated(exc, self.codec) from exc
            if verifies:
                self.verified_bytes = self.decoded_bytes
            source.window = decoder.unused_data + source.window
            if padding:
                _drop_padding(source)
            if not source.fill(4):
                self._note_trailing()
                return
            if not starts(source.window[:4]):
                self._note_trailing()
                return

    def _note_trailing(self) -> None:
        if self._input.window:
            self.trailing = "other data" if self._input.window.strip(b"\0") else "zeros"

    def _gzip(self) -> Iterator[bytes]:
        source = self._input
        while True:
            self.parts += 1
            self._gzip_header()
            decoder = raw_inflate()
            checksum = length = 0
            try:
                while not decoder.eof:
                    data = source.take() if decoder.needs_input else b""
                    if decoder.needs_input and not data:
                        raise self._gzip_cut(length)
                    out = decoder.decompress(data, OUT_BYTES)
                    checksum = crc32(out, checksum)
                    length += len(out)
                    yield out
            except INFLATE_ERRORS as exc:
                raise Damaged(f"the gzip stream makes no sense after {length} bytes of content") from exc
            source.window = decoder.unused_data + source.window
            if not source.fill(8):
                raise CutShort("the gzip stream ends inside its checksum")
            if int.from_bytes(source.window[:4], "little") != checksum:
                raise WrongChecksum("the gzip checksum does not fit the content")
            if int.from_bytes(source.window[4:8], "little") != length & 0xFFFFFFFF:
                raise WrongChecksum("the gzip length field does not fit the content")
            source.window = source.window[8:]
            self.verified_bytes = self.decoded_bytes
            if not source.fill(2) or source.window[:2] != b"\x1f\x8b":
                self._note_trailing()
                return

    def _gzip_cut(self, length: int) -> Damaged:
        """Tell a cut stream from a flipped bit that swallowed the end: then the length field still stands at the end."""
        claimed = int.from_bytes(self._input.tail, "little")
        if claimed and abs(claimed - (length & 0xFFFFFFFF)) < 65536:
            return WrongChecksum("the gzip stream runs over its own end")
        return CutShort("the gzip stream ends early")

    def _gzip_header(self) -> None:
        source = self._input
        if not source.fill(10):
            raise CutShort("the gzip header ends early")
        head = source.window[:10]
        if head[:3] != b"\x1f\x8b\x08":
            raise Damaged("not a gzip stream that anything reads (unknown method)")
        flags = head[3]
        if flags & 0xE0:
            raise Damaged("the gzip header has reserved flags set")
        source.window = source.window[10:]
        if flags & 4:
            if not source.fill(2):
                raise CutShort("the gzip header ends early")
            extra = int.from_bytes(source.window[:2], "little")
            if not source.fill(2 + extra):
                raise CutShort("the gzip header ends early")
            source.window = source.window[2 + extra :]
        name = self._gzip_text() if flags & 8 else None
        if flags & 16:
            self._gzip_text()
        if flags & 2:
            if not source.fill(2):
                raise CutShort("the gzip header ends early")
            source.window = source.window[2:]
        if self.parts == 1:
            self.stored_name = name
            self.stored_mtime_s = int.from_bytes(head[4:8], "little")

    def _gzip_text(self) -> bytes:
        source = self._input
        seen = 0
        while (end := source.window.find(b"\0", seen)) < 0:
            seen = len(source.window)
            if seen > OUT_BYTES:
                raise Damaged("the gzip header holds a name without an end")
            if not source.fill(seen + 1):
                raise CutShort("the gzip header ends early")
        text = source.window[:end]
        source.window = source.window[end + 1 :]
        return text

    def _compress(self) -> Iterator[bytes]:
        self.parts += 1
        yield from lzw_chunks(self._input.take)


def _starts_zstd(start: bytes) -> bool:
    return start == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50)


def _drop_padding(source: Input) -> None:
    """Drop xz stream padding: zeros in groups of four. Source: xz file format 1.2.0, section 2.2."""
    while source.fill(4) and source.window[:4] == b"\0\0\0\0":
        stripped = source.window.lstrip(b"\0")
        source.window = source.window[(len(source.window) - len(stripped)) // 4 * 4 :]


def _translated(exc: Exception, codec: Codec) -> Exception:
    text = str(exc)
    if "emory usage limit" in text or "emory limit" in text or "requires too much memory" in text:
        return TooLarge(f"the {codec.value} stream asks for a larger dictionary than allowed here")
    if "checksum" in text.lower() or "CRC" in text:
        return WrongChecksum(f"the {codec.value} checksum does not fit the content")
    return Damaged(f"the {codec.value} stream makes no sense ({text})")


def raw_reader(source: RawFile) -> Callable[[], bytes]:
    """Return a function that reads an archive from its start, piece by piece."""
    return source.read


class Ahead:
    """Runs an iterator of chunks in a thread of its own, a few chunks ahead: decoding and writing take turns no more.

    Errors arrive in order, after the chunks before them. `close` ends the thread, wherever it is.
    """

    _DEPTH = 6

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(self._DEPTH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                if not self._put(chunk):
                    return
        except BaseException as exc:  # noqa: BLE001  # the thread ends here; the error goes to the one who reads
            self._put(exc)
        else:
            self._put(None)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join()
