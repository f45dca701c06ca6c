"""A file and the tool that runs on it → a reader for what the file really holds, with a meter on what it decodes.

Refuses to plan or write anything.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from iqdata.errors import TooLarge
from iqdata.extract.decode import Ahead, Codec, CompressedStream
from iqdata.extract.detect import HEAD_BYTES, SEVENZIP_MAGIC, codec_of, is_lzma_alone, is_tar, other_format
from iqdata.extract.members import Piece, Reader
from iqdata.extract.model import ArchiveStatus, Limits
from iqdata.extract.source import RawFile
from iqdata.extract.stream import StreamReader
from iqdata.extract.tar import TarReader
from iqdata.extract.zip import ZipReader
from iqdata.rules import Tool

if TYPE_CHECKING:
    from iqdata.extract.sevenzip import SevenZipReader

_THREAD_FROM_BYTES = 1024 * 1024
"""Archives smaller than this are decoded in the thread that writes: starting another one costs more than it saves."""


class Meter:
    """Counts what is decoded and stops at the limits."""

    def __init__(self, limits: Limits, archive_bytes: int) -> None:
        self._max = limits.max_bytes
        self._ratio_max = max(limits.ratio_floor_bytes, limits.max_ratio * archive_bytes)
        self._limits = limits
        self.total = 0

    @property
    def most_bytes(self) -> int:
        """How much may come out at most."""
        return min(self._max, self._ratio_max)

    def add(self, size: int) -> None:
        """Count `size` decoded bytes.

        Raises:
            TooLarge: the total is over a limit.
        """
        self.total += size
        if self.total > self._max:
            raise TooLarge(f"it decodes to more than the {self._max} bytes allowed here (--max-bytes)")
        if self.total > self._ratio_max:
            raise TooLarge(
                f"it decodes to more than {self._limits.max_ratio} times its own size, as a decompression bomb does;"
                " if you trust it, allow a larger --max-ratio"
            )

    def counted(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Pass pieces on, counted."""
        for piece in pieces:
            self.add(len(piece))
            yield piece

    def counted_chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass chunks on, counted."""
        for chunk in chunks:
            self.add(len(chunk))
            yield chunk


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A reader for what a file really holds.

    Attributes:
        content: that, in words.
        metered: whether the reader itself counts what it decodes.
        ahead: the thread that decodes, to be closed.
    """

    reader: Reader
    content: str
    metered: bool
    stream: CompressedStream | None = None
    ahead: Ahead | None = None
    sevenzip: "SevenZipReader | None" = None


class Unreadable(Exception):
    """The tool does not open this content; the message says what it is."""

    def __init__(self, status: ArchiveStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def open_reader(
    source: RawFile, tool: Tool, name: str, limits: Limits, meter: Meter, *, threaded: bool
) -> Opened:
    """Return a reader for what `source` holds, as `tool` would open it.

    Args:
        source: the file.
        tool: the tool that the name chose.
        name: its base name, which names the content of a single stream.
        limits: on dictionaries, here.
        meter: told of every decoded byte.
        threaded: whether a stream may be decoded in a thread of its own.

    Raises:
        Unreadable: a format that the tool does not open everywhere.
    """
    head = source.at(0, HEAD_BYTES)
    codec = codec_of(head)
    if tool is Tool.TAR:
        if codec is None and not is_tar(head) and name.endswith((".lzma", ".tlz")):
            codec = Codec.LZMA
        if codec is None or is_tar(head):
            return _open_plain_tar(source)
        stream, chunks, ahead = _stream(source, codec, limits, meter, threaded=threaded)
        return Opened(
            reader=TarReader(chunks, stream=stream),
            content=f"tar in {codec.value}",
            metered=True,
            stream=stream,
            ahead=ahead,
        )
    if head.startswith(SEVENZIP_MAGIC):
        # Imported here because few archives need it, and its codecs take longer to import than most previews.
        from iqdata.extract.sevenzip import SevenZipReader

        reader = SevenZipReader(
            source,
            max_dictionary_bytes=limits.max_dictionary_bytes,
            meter=meter.add,
            threaded=threaded,
        )
        return Opened(reader=reader, content="7z", metered=True, sevenzip=reader)
    if is_tar(head):
        return _open_plain_tar(source)
    if codec is None and is_lzma_alone(head) and not head.startswith(b"PK"):
        codec = Codec.LZMA
    if codec is not None:
        stream, chunks, ahead = _stream(source, codec, limits, meter, threaded=threaded)
        single = StreamReader(stream, chunks, archive_name=name, archive_mtime_ns=source.mtime_ns)
        return Opened(reader=single, content=codec.value, metered=True, stream=stream, ahead=ahead)
    foreign = other_format(head)
    if foreign in ("RAR", "a Windows cabinet", "a Unix library (ar)", "cpio", "RPM", "XAR", "lzip"):
        raise Unreadable(
            ArchiveStatus.UNSUPPORTED,
            f"the file is {foreign}; whether the server's 7z opens it depends on its build; pack it as .zip or .7z",
        )
    zip_reader = ZipReader(source, max_dictionary_bytes=limits.max_dictionary_bytes)
    return Opened(reader=zip_reader, content="zip", metered=False)


def _open_plain_tar(source: RawFile) -> Opened:
    def skip(size: int) -> int:
        moved = max(0, min(size, source.size_bytes - source.position))
        source.position += moved
        source.report(source.position)
        return moved

    reader = TarReader(iter(source.read, b""), stream=None, skip_ahead=skip)
    return Opened(reader=reader, content="tar", metered=False)


def _stream(
    source: RawFile, codec: Codec, limits: Limits, meter: Meter, *, threaded: bool
) -> tuple[CompressedStream, Iterator[bytes], Ahead | None]:
    stream = CompressedStream(codec, source.read, max_dictionary_bytes=limits.max_dictionary_bytes)
    chunks: Iterator[bytes] = stream.chunks()
    ahead = None
    if threaded and source.size_bytes >= _THREAD_FROM_BYTES:
        ahead = Ahead(chunks)
        chunks = iter(ahead)
    return stream, meter.counted_chunks(chunks), ahead
