"""The codecs of zip members → one interface that is fed packed bytes and yields content, never much more at once.

Refuses to check anything: sizes and checksums are the reader's.
"""

from collections.abc import Iterator
from typing import Protocol

from iqdata.errors import Damaged, EngineMissing, TooLarge
from iqdata.extract.decode import (
    INFLATE_ERRORS,
    OUT_BYTES,
    Decompressor,
    raw_inflate,
    zstd_decompressor,
    zstd_errors,
)


class UnknownMethod(Exception):
    """No decoder for this method here; the message says what to install, or that there is none."""


class ChunkDecoder(Protocol):
    """Packed bytes in, content out."""

    @property
    def eof(self) -> bool:
        """Whether the packed stream has ended by its own mark."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to."""
        ...

    def finish(self) -> Iterator[bytes]:
        """Yield what was held back, once all data was fed."""
        ...


class Standard:
    """A decoder with the interface of bz2, lzma, zstd and isal."""

    def __init__(self, decoder: Decompressor, errors: tuple[type[Exception], ...]) -> None:
        self._decoder = decoder
        self._errors = errors

    @property
    def eof(self) -> bool:
        """Whether the packed stream has ended by its own mark."""
        return self._decoder.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to."""
        decoder = self._decoder
        try:
            yield decoder.decompress(data, OUT_BYTES)
            while not decoder.needs_input and not decoder.eof:
                yield decoder.decompress(b"", OUT_BYTES)
        except self._errors as exc:
            if "emory" in str(exc):
                raise TooLarge("it asks for a larger dictionary than allowed here") from exc
            raise Damaged(f"its packed data makes no sense ({exc})") from exc

    def finish(self) -> Iterator[bytes]:
        """Nothing is held back."""
        return iter(())


class Deflate64:
    """Deflate with 64 KiB windows, as Windows writes it for large files."""

    def __init__(self) -> None:
        from inflate64 import Inflater

        self._inner = Inflater()

    @property
    def eof(self) -> bool:
        """Whether the packed stream has ended by its own mark."""
        return bool(self._inner.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to; in small bites, because the library has no limit on its output."""
        for at in range(0, len(data), 4096):
            if self.eof:
                return
            try:
                yield self._inner.inflate(data[at : at + 4096])
            except (ValueError, RuntimeError, OSError) as exc:
                raise Damaged("its packed data makes no sense") from exc

    def finish(self) -> Iterator[bytes]:
        """Nothing is held back."""
        return iter(())


class ZipLzma:
    """Method 14: a small header with the properties stands before the raw LZMA stream."""

    def __init__(self, size_bytes: int, *, end_marked: bool, max_dictionary_bytes: int) -> None:
        self._head = b""
        self._size_bytes = size_bytes
        self._end_marked = end_marked
        self._max_dictionary_bytes = max_dictionary_bytes
        self._inner: Standard | None = None

    @property
    def eof(self) -> bool:
        """Whether the packed stream has ended by its own mark."""
        return self._inner is not None and self._inner.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to."""
        import lzma

        if self._inner is None:
            self._head += data
            if len(self._head) < 9:
                return
            length = int.from_bytes(self._head[2:4], "little")
            if length != 5:
                raise Damaged("its LZMA header makes no sense")
            # liblzma's .lzma format is the same stream behind 13 bytes: properties and the size, unknown if end-marked.
            size = b"\xff" * 8 if self._end_marked else self._size_bytes.to_bytes(8, "little")
            decoder = lzma.LZMADecompressor(
                lzma.FORMAT_ALONE, memlimit=self._max_dictionary_bytes + 128 * 1024**2
            )
            self._inner = Standard(decoder, (lzma.LZMAError, EOFError))
            data = self._head[4:9] + size + self._head[9:]
        yield from self._inner.feed(data)

    def finish(self) -> Iterator[bytes]:
        """Nothing is held back."""
        return iter(())


class Ppmd8:
    """Method 98: PPMd variant I; two bytes of parameters stand before the data."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._inner: object | None = None
        self._head = b""

    @property
    def eof(self) -> bool:
        """Whether all that was claimed has come out."""
        return self._left <= 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to."""
        import pyppmd

        if self._inner is None:
            self._head += data
            if len(self._head) < 3:
                return
            parameters = int.from_bytes(self._head[:2], "little")
            order, megabytes, restore = (parameters & 15) + 1, (parameters >> 4 & 255) + 1, parameters >> 12
            if order < 2 or restore > 2:
                raise Damaged("its PPMd header makes no sense")
            self._inner = pyppmd.Ppmd8Decoder(order, megabytes * 1024**2, restore_method=restore)
            data = self._head[2:]
        yield from self._step(data)

    def _step(self, data: bytes) -> Iterator[bytes]:
        inner = self._inner
        if inner is None or self._left <= 0:
            return
        try:
            out = inner.decode(data, min(self._left, OUT_BYTES))  # type: ignore[attr-defined]  # the library ships no types
            while out:
                self._left -= len(out)
                yield out
                if self._left <= 0 or inner.needs_input:  # type: ignore[attr-defined]  # the library ships no types
                    return
                out = inner.decode(b"", min(self._left, OUT_BYTES))  # type: ignore[attr-defined]  # the library ships no types
        except (ValueError, RuntimeError, OSError) as exc:
            raise Damaged("its packed data makes no sense") from exc

    def finish(self) -> Iterator[bytes]:
        """Yield what the model still holds; a zero byte pushes it out, as in 7-Zip's own decoder."""
        for _ in range(2):
            if self._left > 0:
                yield from self._step(b"\0")


def zip_decoder(method: int, size_bytes: int, flags: int, *, max_dictionary_bytes: int) -> ChunkDecoder:
    """Return a decoder for a zip method.

    Raises:
        UnknownMethod: there is none here.
    """
    import bz2
    import lzma

    match method:
        case 8:
            return Standard(raw_inflate(), INFLATE_ERRORS)
        case 9:
            return Deflate64()
        case 12:
            return Standard(bz2.BZ2Decompressor(), (OSError, ValueError, EOFError))
        case 14:
            return ZipLzma(size_bytes, end_marked=bool(flags & 2), max_dictionary_bytes=max_dictionary_bytes)
        case 93:
            try:
                return Standard(zstd_decompressor(max_dictionary_bytes), zstd_errors())
            except EngineMissing as exc:
                raise UnknownMethod(str(exc)) from exc
        case 95:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=max_dictionary_bytes + 128 * 1024**2)
            return Standard(decoder, (lzma.LZMAError, EOFError))
        case 98:
            return Ppmd8(size_bytes)
        case _:
            raise UnknownMethod(f"its compression method {method} is read by nothing here")
