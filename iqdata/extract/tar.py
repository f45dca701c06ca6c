"""tar headers → members, as GNU tar reads them: ustar, GNU, v7, pax, sparse; broken headers are skipped, as it skips them.

Refuses to map names or to judge members. Works on any run of chunks, so a compressed tar is read in one pass.
"""

from collections.abc import Callable, Iterator

from iqdata.errors import ArchiveError, Damaged
from iqdata.extract.decode import CompressedStream, CutShort, WrongChecksum, adler32
from iqdata.extract.members import WHOLE_BYTES, Member, Piece, Stored

BLOCK = 512
ZEROS = bytes(BLOCK)
_MAX_EXTENSION_BYTES = 1024 * 1024
"""A long name or pax header over this is an attack: the longest path Linux takes has 4,096 bytes."""

_KINDS = {
    b"2": Stored.SYMLINK,
    b"1": Stored.HARDLINK,
    b"3": Stored.DEVICE,
    b"4": Stored.DEVICE,
    b"5": Stored.DIRECTORY,
    b"6": Stored.FIFO,
    b"D": Stored.DIRECTORY,
}


class Window:
    """Chunks behind a cursor: exact takes, cheap skips."""

    def __init__(self, chunks: Iterator[bytes], *, skip_ahead: Callable[[int], int] | None = None) -> None:
        self._chunks = chunks
        self._skip_ahead = skip_ahead
        self._chunk = b""
        self._at = 0
        self.position = 0
        self.error: Damaged | None = None

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            self.position += size
            return data
        pieces = [bytes(piece) for piece in self.pieces(size)]
        return b"".join(pieces)

    def pieces(self, size: int) -> Iterator[Piece]:
        """Yield the next `size` bytes in pieces without copying; fewer only at the end."""
        while size:
            have = len(self._chunk) - self._at
            if not have:
                try:
                    self._chunk = next(self._chunks, b"")
                except Damaged as exc:
                    # Told again to whoever asks next: a generator that has raised only seems to be at its end.
                    self.error = self.error or exc
                    raise
                if not self._chunk and self.error is not None:
                    raise self.error
                self._at = 0
                have = len(self._chunk)
                if not have:
                    return
            if have > size:
                piece: Piece = memoryview(self._chunk)[self._at : self._at + size]
                have = size
            else:
                piece = memoryview(self._chunk)[self._at :] if self._at else self._chunk
            self._at += have
            self.position += have
            size -= have
            yield piece

    def skip(self, size: int) -> int:
        """Pass over `size` bytes and return how many there were."""
        have = len(self._chunk) - self._at
        if size <= have:
            self._at += size
            self.position += size
            return size
        self._at += have
        self.position += have
        skipped = have
        if self._skip_ahead is not None:
            moved = self._skip_ahead(size - have)
            self.position += moved
            return skipped + moved
        return skipped + sum(len(piece) for piece in self.pieces(size - have))


_FITTING: dict[bytes, int] = {}
"""Checksum fields met → the low half of the Adler-32 of every header that they fit: there are few thousand sums."""

_MOST_FITTING = 16384


def checksum_fits(header: bytes) -> bool:
    """Tell whether a block is a header by its checksum, summed unsigned or (old Suns) signed.

    Source: POSIX.1-1988 ustar; the field itself counts as blanks.
    """
    field = header[148:156]
    # Adler-32's low half is 1 + the sum of all bytes modulo 65521, and it is computed at the speed of memory.
    low = adler32(header) & 0xFFFF
    if _FITTING.get(field) == low:
        return True
    try:
        stored = int(field.strip(b"\0 ") or b"x", 8)
    except ValueError:
        return False
    if (low - sum(field) + 255 - stored) % 65521 == 0:
        if len(_FITTING) < _MOST_FITTING:
            _FITTING[field] = low
        return True
    signed = sum(byte - 256 if byte > 127 else byte for byte in header) - sum(
        byte - 256 if byte > 127 else byte for byte in field
    )
    return signed + 256 == stored


def number(field: bytes) -> int | None:
    """Return a numeric field (octal, or GNU's base 256 with the top bit set), or None when it is none."""
    first = field[0]
    if first & 0x80:
        # 0x80 marks a positive number, 0xFF a negative one in two's complement.
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        return value - (1 << bits) if first & 0x40 else value & ((1 << (bits - 1)) - 1)
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        return int(text, 8)
    except ValueError:
        return None


def _cut(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


class TarReader:
    """The members of one tar, from chunks of its plain bytes."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        *,
        stream: CompressedStream | None,
        skip_ahead: Callable[[int], int] | None = None,
    ) -> None:
        self.warnings: list[str] = []
        self.damage: str | None = None
        self.looks_like_tar = False
        self._window = Window(chunks, skip_ahead=skip_ahead)
        self._stream = stream
        self._left = 0  # of the current member's content
        self._padding = 0
        self._ends: list[int] = []  # where each member's content ends, in decoded bytes
        self._chained = 0  # how many members were followed by a header that fits, before anything was wrong
        self._error: ArchiveError | None = None
        self._globals: dict[str, bytes] = {}

    def members(self) -> Iterator[Member]:
        """Yield the members; ends at the end mark, at the end of the bytes, or where the stream breaks."""
        try:
            for member in self._walk():
                self._ends.append(self._window.position + self._left)
                yield member
            self._drain()
        except Damaged as exc:
            self._error = exc
            self._note(str(exc))

    def content(self, _member: Member) -> Iterator[Piece]:
        """Yield the current member's content (of a sparse file: only its data)."""
        size, self._left = self._left, 0
        before = self._window.position
        try:
            yield from self._window.pieces(size)
        finally:
            self._left = size - (self._window.position - before)
        if self._left:
            raise CutShort(f"it is cut: {size - self._left} of {size} bytes are there")

    def whole(self, member: Member) -> bytes | None:
        """Return a small member's content at once."""
        size = self._left
        if size > WHOLE_BYTES or member.data_segments is not None:
            return None
        data = self._window.take(size)
        self._left = size - len(data)
        if self._left:
            raise CutShort(f"it is cut: {len(data)} of {size} bytes are there")
        return data

    def confirmed(self) -> int:
        """Return how many members are known to be right; see `decode` for what a broken stream is worth."""
        count = len(self._ends)
        if self._error is None:
            return count
        if self._stream is None:
            # A plain tar has no checksum: a member that is there to its last byte is all there is to know.
            return sum(1 for end in self._ends if end <= self._window.position)
        verified = sum(1 for end in self._ends if end <= self._stream.verified_bytes)
        if isinstance(self._error, WrongChecksum):
            return verified
        return max(verified, self._chained)

    def checksum_of(self, _member: Member) -> int | None:
        """A tar has no checksums of content."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def _note(self, damage: str) -> None:
        if self.damage is None:
            self.damage = damage

    def _next_header(self) -> bytes | None:
        """Return the next header that fits, skipping what is none; None at the end."""
        skipping = False
        while True:
            header = self._window.take(BLOCK)
            if len(header) < BLOCK:
                if header.strip(b"\0"):
                    self._note(
                        "it is cut inside a header; what followed is lost"
                        if self.looks_like_tar
                        else "it does not look like a tar archive"
                    )
                elif not skipping and self.looks_like_tar:
                    self.warnings.append(
                        "The tar has no end mark: it may have been cut between two members, which tar does not notice."
                        " Compare the number of members with the original."
                    )
                elif not self.looks_like_tar and self._stream is None and self._window.position == 0:
                    self._note("it is empty")
                return None
            if header == ZEROS:
                if skipping:
                    continue
                self._end_mark()
                return None
            if checksum_fits(header):
                if self.damage is None:
                    self._chained = len(self._ends)
                self.looks_like_tar = True
                return header
            if not skipping:
                self._note(
                    "a header in the middle is damaged; tar goes on at the next one"
                    if self.looks_like_tar
                    else "it does not look like a tar archive"
                )
                skipping = True

    def _end_mark(self) -> None:
        if self.damage is None:
            self._chained = len(self._ends)
        self.looks_like_tar = True
        second = self._window.take(BLOCK)
        if second and second != ZEROS[: len(second)]:
            self.warnings.append("A lone zero block ends the tar for GNU tar; what follows it is not read.")

    def _drain(self) -> None:
        """Read to the end: only there a stream's checksum stands, and only there one sees what tar does not read."""
        noted = False
        for _ in range(1 if self._stream is None else 1 << 62):
            piece = self._window.take(20 * BLOCK)
            if not piece:
                return
            if not noted and piece.strip(b"\0"):
                noted = True
                blocks = [piece[at : at + BLOCK] for at in range(0, len(piece), BLOCK)]
                first = next(block for block in blocks if block.strip(b"\0"))
                self.warnings.append(
                    "A second tar follows the first one's end mark; tar reads only the first. Pack them as one."
                    if len(first) == BLOCK and checksum_fits(first)
                    else "Data follows the end of the tar; tar does not read it."
                )

    def _walk(self) -> Iterator[Member]:
        long_name: bytes | None = None
        long_link: bytes | None = None
        pax: dict[str, bytes] = {}
        while True:
            missing = self._left + self._padding
            if missing and self._window.skip(missing) < missing - self._padding:
                raise CutShort("the last member is cut")
            self._left = self._padding = 0
            header = self._next_header()
            if header is None:
                return
            flag = header[156:157]
            if flag == b"0" and not pax and long_name is None and not self._globals:
                quick = self._quick(header)
                if quick is not None:
                    long_link = None
                    yield quick
                    continue
            size = number(header[124:136])
            if size is None or size < 0:
                self._note("a header holds a size that is none")
                continue
            if flag in b"LKxgX" and flag:
                data = self._extension(size)
                if flag == b"L":
                    long_name = _cut(data)
                elif flag == b"K":
                    long_link = _cut(data)
                elif flag == b"g":
                    self._globals.update(self._pax(data))
                else:
                    pax = self._pax(data)
                continue
            member = self._member(
                header, flag, size, long_name, long_link, {**self._globals, **pax} if self._globals else pax
            )
            long_name = long_link = None
            pax = {}
            if member is not None:
                yield member

    def _quick(self, header: bytes) -> Member | None:
        """Return the member of the commonest header, an ordinary file in plain octal; None for any other."""
        if header[345] and header[257:263] == b"ustar\0":
            return None
        name = header[:100].partition(b"\0")[0]
        try:
            size, mtime, mode = int(header[124:135], 8), int(header[136:147], 8), int(header[100:107], 8)
        except ValueError:
            return None
        if name[-1:] == b"/" or size < 0 or mtime < 0 or mode < 0:
            return None
        self._left, self._padding = size, -size % BLOCK
        return Member(
            name=name, kind=Stored.FILE, size_bytes=size, mode=mode & 0o7777, mtime_ns=mtime * 1_000_000_000
        )

    def _extension(self, size: int) -> bytes:
        if size > _MAX_EXTENSION_BYTES:
            raise Damaged(f"a name or pax header claims {size} bytes")
        data = self._window.take(size)
        padding = -size % BLOCK
        if len(data) < size or self._window.skip(padding) < padding:
            raise CutShort("it is cut inside a long name")
        return data

    def _pax(self, data: bytes) -> dict[str, bytes]:
        """Parse records of the form `length key=value`. Source: POSIX.1-2001 pax, extended header."""
        found: dict[str, bytes] = {}
        sparse: list[bytes] = []
        at = 0
        while at < len(data):
            blank = data.find(b" ", at, at + 20)
            digits = data[at:blank] if blank > 0 else b""
            if not digits.isdigit():
                if data[at:].strip(b"\0"):
                    self._note("a pax header is malformed")
                break
            length = int(digits)
            body = data[blank + 1 : at + length - 1]
            if (
                length <= len(digits) + 1
                or at + length > len(data)
                or data[at + length - 1 : at + length] != b"\n"
            ):
                self._note("a pax header is malformed")
                break
            raw_key, mark, value = body.partition(b"=")
            if not mark:
                self._note("a pax header is malformed")
                break
            key = raw_key.decode("utf-8", "replace")
            if key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
                # Version 0.0 repeats the two keys; together they are the map of version 0.1.
                sparse.append(value)
                found["GNU.sparse.map"] = b",".join(sparse)
            else:
                found[key] = value
            at += length
        return found

    def _member(
        self,
        header: bytes,
        flag: bytes,
        size: int,
        long_name: bytes | None,
        long_link: bytes | None,
        pax: dict[str, bytes],
    ) -> Member | None:
        name = long_name
        if name is None:
            name = _cut(header[:100])
            if header[257:263] == b"ustar\0" and header[345]:
                name = _cut(header[345:500]) + b"/" + name
        link = long_link if long_link is not None else _cut(header[157:257])
        seconds = number(header[136:148])
        mtime_ns = None if seconds is None else seconds * 1_000_000_000
        segments: tuple[tuple[int, int], ...] | None = None
        real_size: int | None = None
        if pax:
            name = (
                pax.get("GNU.sparse.name", pax.get("path", name))
                if long_name is None or "path" in pax
                else name
            )
            link = pax.get("linkpath", link)
            mtime_ns = _pax_time(pax.get("mtime"), mtime_ns)
            declared = pax.get("size")
            if declared is not None:
                if not declared.isdigit():
                    self._note("a pax header holds a size that is none")
                    return None
                size = int(declared)
        kind = _KINDS.get(flag, Stored.FILE)
        if flag == b"1":
            size = 0  # links have no content on tape, whatever the field says
        stored = size
        if kind is Stored.FILE and flag in b"\x007 " + bytes(range(48, 56)) and name.endswith(b"/"):
            # BSD spelt a folder so. Its data, if any, is not skipped: tar then meets it as a broken header.
            kind, stored = Stored.DIRECTORY, 0
            size = 0
        self._left, self._padding = stored, -stored % BLOCK
        if flag in (b"V", b"M", b"N"):
            if flag == b"M":
                self._note("it is a later volume of a multi-volume tar; a member continues from another file")
            return None
        try:
            if flag == b"S":
                segments, real_size = self._gnu_sparse(header)
            elif "GNU.sparse.major" in pax or "GNU.sparse.map" in pax:
                segments, real_size = self._pax_sparse(pax)
        except ValueError:
            self._note("a sparse map is malformed")
            return None
        if segments is not None and sum(length for _, length in segments) != self._left:
            self._note("a sparse map does not fit its data")
            return None
        mode = number(header[100:108])
        return Member(
            name=name,
            kind=kind,
            size_bytes=0 if kind is not Stored.FILE else size if real_size is None else real_size,
            mode=None if mode is None or mode < 0 else mode & 0o7777,
            mtime_ns=mtime_ns,
            link=link if kind in (Stored.SYMLINK, Stored.HARDLINK) else None,
            data_segments=segments,
        )

    def _gnu_sparse(self, header: bytes) -> tuple[tuple[tuple[int, int], ...], int]:
        segments = _sparse_pairs(header[386:482])
        more = header[482]
        while more:
            block = self._window.take(BLOCK)
            if len(block) < BLOCK:
                raise CutShort("it is cut inside a sparse map")
            segments += _sparse_pairs(block[:504])
            more = block[504]
            if len(segments) > _MAX_EXTENSION_BYTES // 24:
                raise Damaged("a sparse map claims too many pieces")
        real = number(header[483:495])
        return _checked_segments(segments, real)

    def _pax_sparse(self, pax: dict[str, bytes]) -> tuple[tuple[tuple[int, int], ...], int]:
        real = int(pax.get("GNU.sparse.realsize", pax.get("GNU.sparse.size", b"x")))
        if "GNU.sparse.map" in pax:
            flat = [int(word) for word in pax["GNU.sparse.map"].split(b",") if word]
        else:
            flat = self._inline_map()
        if len(flat) % 2:
            raise ValueError("odd map")
        return _checked_segments(list(zip(flat[::2], flat[1::2], strict=True)), real)

    def _inline_map(self) -> list[int]:
        """Read the map that version 1.0 puts before the data: decimal lines, padded to a block."""
        text = b""
        wanted: int | None = None
        while True:
            if self._left < BLOCK or len(text) > _MAX_EXTENSION_BYTES:
                raise ValueError("map runs over")
            block = self._window.take(BLOCK)
            if len(block) < BLOCK:
                raise CutShort("it is cut inside a sparse map")
            self._left -= BLOCK
            text += block
            lines = text.split(b"\n")
            if wanted is None and len(lines) > 1:
                wanted = int(lines[0]) * 2
            if wanted is not None and len(lines) > wanted + 1:
                return [int(line) for line in lines[1 : wanted + 1]]


def _sparse_pairs(table: bytes) -> list[tuple[int, int]]:
    pairs = []
    for at in range(0, len(table) - 23, 24):
        offset, length = number(table[at : at + 12]), number(table[at + 12 : at + 24])
        if offset is None or length is None:
            raise ValueError("no number")
        if not table[at + 12]:
            break
        pairs.append((offset, length))
    return pairs


def _checked_segments(
    segments: list[tuple[int, int]], real: int | None
) -> tuple[tuple[tuple[int, int], ...], int]:
    end = 0
    for offset, length in segments:
        if offset < end or length < 0:
            raise ValueError("pieces overlap")
        end = offset + length
    if real is None or real < end:
        raise ValueError("pieces lie behind the end")
    return tuple(segments), real


def _pax_time(text: bytes | None, fallback: int | None) -> int | None:
    """Return a decimal time in nanoseconds, exactly: a float would lose the last three digits."""
    if text is None:
        return fallback
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    if not whole.lstrip(b"-").isdigit() or (fraction and not fraction.isdigit()):
        return fallback
    nanoseconds = int((fraction + b"000000000")[:9])
    return int(whole) * 1_000_000_000 + (-nanoseconds if negative else nanoseconds)
