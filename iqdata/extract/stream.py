"""One compressed stream under a 7z rule → one file, named as 7-Zip names it.

Refuses to look inside what comes out: a tar in a `.gz` stays a tar.
"""

from collections.abc import Iterator

from iqdata.errors import ArchiveError, Damaged
from iqdata.extract.decode import CompressedStream
from iqdata.extract.mapping import stream_name
from iqdata.extract.members import Member, Piece, Stored
from iqdata.extract.source import RawFile


def xz_blocks(source: RawFile) -> int:
    """Return how many blocks the last stream of an .xz says it has; 0 where its end makes no sense.

    Source: xz file format 1.2.0, sections 2.1.2 and 4.2.
    """
    footer = source.at(source.size_bytes - 12, 12)
    if footer[10:] != b"YZ":
        return 0
    size = (int.from_bytes(footer[4:8], "little") + 1) * 4
    index = source.at(source.size_bytes - 12 - size, 20)
    count = shift = 0
    for byte in index[1:]:
        count |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return count
    return 0


class StreamReader:
    """The single member of a gzip, xz, bzip2, zstd, lzma or compress file."""

    def __init__(
        self, stream: CompressedStream, chunks: Iterator[bytes], *, archive_name: str, archive_mtime_ns: int
    ) -> None:
        self.warnings: list[str] = []
        self.damage: str | None = None
        self._stream = stream
        self._chunks = chunks
        self._archive_name = archive_name
        self._archive_mtime_ns = archive_mtime_ns
        self._first: bytes | ArchiveError = b""
        self._good = 0

    def members(self) -> Iterator[Member]:
        """Yield the member once its header has been read; nothing when there is no header."""
        # The first chunk brings the header with it, and with it the name.
        try:
            self._first = next(self._chunks, b"")
        except Damaged as exc:
            if not self._stream.parts or (
                self._stream.stored_name is None and not self._stream.decoded_bytes
            ):
                self.damage = str(exc)
            self._first = exc
        name = self._stream.stored_name or stream_name(self._archive_name).encode("utf-8", "surrogateescape")
        seconds = self._stream.stored_mtime_s
        yield Member(
            name=name,
            kind=Stored.FILE,
            size_bytes=None,
            mtime_ns=seconds * 1_000_000_000 if seconds else self._archive_mtime_ns,
        )
        if self._stream.trailing is not None:
            self.warnings.append(
                f"The stream is followed by {self._stream.trailing}; the content is whole, yet 7z ends with an error."
            )

    def content(self, _member: Member) -> Iterator[Piece]:
        """Yield the content, checked by the stream's own checksum."""
        if isinstance(self._first, ArchiveError):
            raise self._first
        if self._first:
            yield self._first
        yield from self._chunks

    def whole(self, _member: Member) -> bytes | None:
        """The size is not known before."""
        return None

    def confirmed(self) -> int:
        """One member, judged by its own error."""
        return 1

    def checksum_of(self, _member: Member) -> int | None:
        """The stream checks itself."""
        return None

    def close(self) -> None:
        """Nothing is held."""
