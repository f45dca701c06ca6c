"""zip directory → members, and their content, as 7-Zip reads them.

The central directory counts; of joined archives the first is read; where the directory is gone, the local headers speak.
Refuses to believe sizes: content is decoded up to what was claimed and must fit its checksum.
"""

import struct
from array import array
from collections.abc import Iterator

import msgspec

from iqdata.errors import Damaged, EngineMissing, TooLarge
from iqdata.extract.codecs import ChunkDecoder, UnknownMethod, zip_decoder
from iqdata.extract.decode import INFLATE_ERRORS, CutShort, WrongChecksum, crc32, raw_inflate
from iqdata.extract.members import WHOLE_BYTES, Flaw, Member, Piece, Stored
from iqdata.extract.source import CHUNK_BYTES, RawFile
from iqdata.extract.zip_fields import dos_time_ns, exact_time, extra_fields, unicode_name, zip64_sizes

LOCAL = b"PK\x03\x04"
CENTRAL = b"PK\x01\x02"
END = b"PK\x05\x06"
END64 = b"PK\x06\x06"
LOCATOR64 = b"PK\x06\x07"
DESCRIPTOR = b"PK\x07\x08"

_CENTRAL_STRUCT = struct.Struct("<4sBBBBHHHHLLLHHHHHLL")
_LOCAL_STRUCT = struct.Struct("<4sHHHHHLLLHH")
_END_STRUCT = struct.Struct("<4sHHHHLLH")
_END64_STRUCT = struct.Struct("<4sQHHLLQQQQ")

_SMALL_BYTES = 256 * 1024
ENCRYPTED = 0x1 | 0x40
"""Flags of the traditional and of the strong encryption."""

_DOS_FOLDER_HOSTS = frozenset((0, 6, 10, 11, 14))
_UNIX = 3
_S_IFMT, _S_IFDIR, _S_IFLNK, _S_IFREG = 0o170000, 0o040000, 0o120000, 0o100000

METHODS = frozenset((0, 8, 9, 12, 14, 93, 95, 98, 99))
"""What is decoded here: Store, Deflate, Deflate64, BZip2, LZMA, zstd, xz, PPMd; and 99, which is said to be AES."""


INFO_ZIP_START = b"UT\5\0\3"
"""How the extra field of nearly every entry by Info-ZIP starts: exact times, of which the directory holds one."""

_WINDOW_BYTES = 1024 * 1024

_OVERLAP = "members of the zip share the same bytes, as a decompression bomb's do; nothing was extracted"

_KINDS_AT_MOST = 4096
"""How many different attributes are remembered: an honest zip has a handful."""

_NATIVE_METHODS = {1: "Shrink", 6: "Implode"}


class _Where(msgspec.Struct, frozen=True, gc=False):
    """Where a member's content lies and what it must be."""

    offset: int
    packed: int
    claimed: int
    checksum: int
    method: int
    flags: int


class _ZipMember(Member, kw_only=True, gc=False):
    where: _Where


class ZipReader:
    """The members of one zip."""

    def __init__(self, source: RawFile, *, max_dictionary_bytes: int) -> None:
        self.warnings: list[str] = []
        self.damage: str | None = None
        self.is_zip = True
        self._source = source
        self._max_dictionary_bytes = max_dictionary_bytes
        # Of all members, for the one check that needs them together: two numbers each, not a value of six.
        self._offsets, self._packed = array("Q"), array("Q")
        self._kinds: dict[tuple[int, int], tuple[Stored, int | None]] = {}
        self._window = b""
        self._window_at = 0

    def members(self) -> Iterator[Member]:
        """Yield the members in the directory's order, or by local headers where there is no directory."""
        directory = self.find_directory()
        if directory is None:
            yield from self._local_members()
            return
        start, size, count = directory
        yield from self._central_members(start, size, count)

    def confirmed(self) -> int:
        """Every member has its own checksum."""
        return len(self._offsets)

    def checksum_of(self, member: Member) -> int | None:
        """Return the directory's checksum."""
        return _where_of(member).checksum

    def close(self) -> None:
        """Nothing is held."""

    # --- the directory -----------------------------------------------------------------------------------------

    def find_directory(self) -> tuple[int, int, int] | None:
        """Return (offset, size, count) of the directory that 7-Zip uses, or None when it goes by local headers."""
        source = self._source
        starts_here = source.at(0, 4) in (LOCAL, END, DESCRIPTOR, b"PK00")
        if starts_here and self._first_name_is_broken():
            return self._no_zip()
        length = source.size_bytes
        tail_start = max(0, length - 65536 - _END_STRUCT.size - 20)
        tail = source.at(tail_start, length - tail_start)
        at = len(tail)
        while (at := tail.rfind(END, 0, at)) >= 0:
            if at + _END_STRUCT.size > len(tail):
                continue
            _, disk, _, _, count, size, offset, comment = _END_STRUCT.unpack_from(tail, at)
            end_at = tail_start + at
            if 0xFFFFFFFF in (size, offset) or 0xFFFF in (count, disk):
                found64 = self._end64(end_at)
                if found64 is not None:
                    offset, size, count, end_at = found64
            elif disk:
                self.warnings.append(
                    "It is the last volume of a split zip; the other volumes must lie beside it."
                )
            # A gap means that a second archive is joined behind a first, that something stands before it, or a lie.
            if (offset + size != end_at and starts_here) or not self._directory_at(offset, count):
                continue
            after = tail_start + at + _END_STRUCT.size + comment
            if after < length:
                self.warnings.append(
                    "A second zip is joined behind this one; 7z reads only the first. Pack them as one."
                    if source.at(after, 4) == LOCAL
                    else "Data follows the end of the zip; 7z warns and reads the zip."
                )
            if not starts_here:
                self.warnings.append("Data stands before the zip; 7z warns and reads the zip.")
            return offset, size, count
        return None if starts_here else self._no_zip()

    def _no_zip(self) -> tuple[int, int, int]:
        self.is_zip = False
        self.damage = "it is no archive that 7z opens"
        return 0, 0, 0

    def _first_name_is_broken(self) -> bool:
        """Tell whether the first name goes on behind a NUL: 7-Zip then takes the file for no zip at all."""
        head = self._source.at(0, 30)
        if head[:4] != LOCAL or len(head) < 30:
            return False
        name = self._source.at(30, int.from_bytes(head[26:28], "little"))
        return bool(name.partition(b"\0")[2].strip(b"\0"))

    def _end64(self, end_at: int) -> tuple[int, int, int, int] | None:
        locator = self._source.at(end_at - 20, 20)
        if locator[:4] != LOCATOR64 or len(locator) < 20:
            return None
        record_at = int.from_bytes(locator[8:16], "little")
        record = self._source.at(record_at, _END64_STRUCT.size)
        if len(record) < _END64_STRUCT.size or record[:4] != END64:
            return None
        fields = _END64_STRUCT.unpack(record)
        return fields[9], fields[8], fields[7], record_at

    def _directory_at(self, offset: int, count: int) -> bool:
        return count == 0 or self._source.at(offset, 4) == CENTRAL

    def _central_members(self, start: int, size: int, count: int) -> Iterator[Member]:
        source = self._source
        # Read in windows: a directory of a million entries is 100 MB that nobody needs at once.
        window, window_start, at = b"", start, 0
        end = min(start + size, source.size_bytes)
        seen = 0
        spans_start, spans_end, ordered, without_zone = -1, -1, True, 0
        while window_start + at < end:
            if at + _CENTRAL_STRUCT.size + 3 * 65535 > len(window) and window_start + len(window) < end:
                window_start += at
                window = source.at(window_start, min(4 * 1024 * 1024, end - window_start))
                at = 0
            if at + _CENTRAL_STRUCT.size > len(window) or window[at : at + 4] != CENTRAL:
                self.damage = self.damage or "its directory is cut"
                break
            (_, _, host, _, _, flags, method, dos_time, dos_date, checksum, packed, claimed, name_len, extra_len,
             comment_len, _, _, attributes, offset) = _CENTRAL_STRUCT.unpack_from(window, at)  # fmt: skip
            name_at = at + 46
            name = window[name_at : name_at + name_len]
            extra = window[name_at + name_len : name_at + name_len + extra_len] if extra_len else b""
            at = name_at + name_len + extra_len + comment_len
            if at > len(window):
                self.damage = self.damage or "its directory is cut"
                break
            seen += 1
            mtime_ns: int | None = None
            if extra_len == 24 and extra[:5] == INFO_ZIP_START and extra[9:11] == b"ux":
                mtime_ns = int.from_bytes(extra[5:9], "little", signed=True) * 1_000_000_000
            elif extra:
                fields = extra_fields(extra)
                packed, claimed, offset = zip64_sizes(fields, packed, claimed, offset)
                name = unicode_name(fields, name)
                mtime_ns = exact_time(fields)
            if mtime_ns is None:
                mtime_ns = dos_time_ns(dos_date, dos_time)
                without_zone += 1
            if offset < spans_end:
                if offset >= spans_start:
                    raise TooLarge(_OVERLAP)
                ordered = False
            spans_start, spans_end = offset, offset + 30 + packed
            where = _Where(offset, packed, claimed, checksum, method, flags)
            yield self._member(where, name, host, attributes, mtime_ns)
        if self.damage is None and seen & 0xFFFF != count & 0xFFFF:
            self.damage = f"its directory claims {count} members and holds {seen}"
        self.warnings.extend(zone_warning(without_zone, seen))
        if not ordered:
            self._check_overlaps()

    def _check_overlaps(self) -> None:
        """Refuse members that share bytes: a quoted bomb makes petabytes out of one kernel.

        Raises:
            TooLarge: two members overlap.
        """
        offsets, packed = self._offsets, self._packed
        end = -1
        for key in sorted(range(len(offsets)), key=offsets.__getitem__):
            if offsets[key] < end:
                raise TooLarge(_OVERLAP)
            end = offsets[key] + 30 + packed[key]

    def _member(self, where: _Where, name: bytes, host: int, attributes: int, mtime_ns: int | None) -> Member:
        if b"\0" in name:
            name = name.partition(b"\0")[0]
        self._offsets.append(where.offset)
        self._packed.append(where.packed)
        looks = (host, attributes)
        known = self._kinds.get(looks)
        if known is None:
            if len(self._kinds) >= _KINDS_AT_MOST:
                self._kinds.clear()
            known = self._kinds[looks] = kind_and_mode(host, attributes)
        kind, mode = known
        if name.endswith(b"/"):
            kind = Stored.DIRECTORY
        member = _ZipMember(
            name=name,
            kind=kind,
            size_bytes=where.claimed if kind is Stored.FILE else 0,
            mode=mode,
            mtime_ns=mtime_ns,
            where=where,
        )
        if kind is not Stored.DIRECTORY:
            if where.flags & ENCRYPTED:
                member.flaw, member.why = Flaw.ENCRYPTED, "it is encrypted; pack it without a password"
            elif where.method in _NATIVE_METHODS:
                name_of = _NATIVE_METHODS[where.method]
                member.flaw, member.why = Flaw.NATIVE, f"only the real 7zz decodes {name_of}"
            elif where.method not in METHODS:
                member.flaw, member.why = (
                    Flaw.UNSUPPORTED,
                    f"its compression method {where.method} is read by nothing here",
                )
            elif where.offset + 30 + where.packed > self._source.size_bytes:
                member.flaw, member.why = Flaw.DAMAGED, "the archive ends before its content does"
        elif where.claimed:
            self.warnings.append(
                f"{_shown(name)} is a folder by its name and holds {where.claimed} bytes of data, which 7z drops."
            )
        return member

    # --- without a directory ------------------------------------------------------------------------------------

    def _local_members(self) -> Iterator[Member]:
        """Walk the local headers from the start, as 7-Zip does when the directory is missing, cut or not the first's."""
        source = self._source
        at = 0
        first_directory: int | None = None
        found: list[tuple[_Where, bytes, int | None]] = []
        while True:
            head = source.at(at, _LOCAL_STRUCT.size)
            if head[:4] == CENTRAL or head[:4] == END:
                first_directory = at
                break
            if len(head) < _LOCAL_STRUCT.size or head[:4] != LOCAL:
                break
            _, _, flags, method, dos_time, dos_date, checksum, packed, claimed, name_len, extra_len = (
                _LOCAL_STRUCT.unpack(head)
            )
            rest = source.at(at + 30, name_len + extra_len)
            if len(rest) < name_len + extra_len:
                break  # cut inside a name: nobody knows what it was
            name, fields = rest[:name_len], extra_fields(rest[name_len:])
            packed, claimed, _ = zip64_sizes(fields, packed, claimed, 0)
            data_at = at + 30 + name_len + extra_len
            after = data_at + packed
            if flags & 8:
                located = self._descriptor(data_at, zip64=1 in fields)
                if located is None:
                    # Nobody knows where it ends: as much as the whole file is claimed, which marks it as cut.
                    found.append((_Where(at, source.size_bytes, 0, 0, method, flags), name, None))
                    break
                checksum, packed, claimed, after = located
            mtime_ns = exact_time(fields)
            found.append(
                (
                    _Where(at, packed, claimed, checksum, method, flags),
                    unicode_name(fields, name),
                    mtime_ns if mtime_ns is not None else dos_time_ns(dos_date, dos_time),
                )
            )
            at = after
        if first_directory is not None:
            end = self._end_after(first_directory)
            if end is not None:
                size, count, is_whole = end
                if is_whole:
                    self.warnings.append(
                        "A second archive or other data is joined behind this zip; 7z reads only the first one."
                    )
                else:
                    self.damage = "its end record is cut"
                yield from self._central_members(first_directory, size, count)
                return
        if not found:
            self.is_zip = False
            self.damage = "it is cut before its first member"
        else:
            self.damage = "its directory is missing or cut; the members come from their own headers"
        for where, name, mtime_ns in found:
            yield self._member(where, name, 0, 0, mtime_ns)

    def _end_after(self, directory: int) -> tuple[int, int, bool] | None:
        """Walk a directory that stands in the middle to its end record; return (size, count, whether that is whole)."""
        source, at, count = self._source, directory, 0
        while True:
            head = source.at(at, 46)
            if head[:4] == CENTRAL and len(head) == 46:
                at += 46 + sum(struct.unpack_from("<HHH", head, 28))
                count += 1
            elif head[:4] in (END, END64):
                return at - directory, count, len(head) >= _END_STRUCT.size
            else:
                return None

    def _descriptor(self, data_at: int, *, zip64: bool) -> tuple[int, int, int, int] | None:
        """Find the data descriptor behind content of unknown length: the one whose size is the distance to it."""
        source = self._source
        step, base = 1024 * 1024, data_at
        while base < source.size_bytes:
            window = source.at(base, step + 24)
            at = -1
            while (at := window.find(DESCRIPTOR, at + 1, step + 4)) >= 0:
                packed = base + at - data_at
                for wide in (zip64, not zip64):
                    form = "<LQQ" if wide else "<LLL"
                    if at + 4 + struct.calcsize(form) > len(window):
                        continue
                    checksum, claimed_packed, claimed = struct.unpack_from(form, window, at + 4)
                    if claimed_packed == packed:
                        return checksum, packed, claimed, base + at + 4 + struct.calcsize(form)
            base += step
        return None

    # --- content ------------------------------------------------------------------------------------------------

    def whole(self, member: Member) -> bytes | None:
        """Return a small member's content at once, for the two methods that nearly all members have."""
        where = _where_of(member)
        packed, claimed, method = where.packed, where.claimed, where.method
        if packed > WHOLE_BYTES or claimed > WHOLE_BYTES or (method != 8 and method != 0):
            return None
        source = self._source
        offset = where.offset
        head = self._ahead(offset, 94 + len(member.name) + packed)
        if head[:4] != LOCAL or len(head) < 30:
            raise Damaged("its local header is missing")
        skip = 30 + (head[26] | head[27] << 8) + (head[28] | head[29] << 8)
        data = head[skip : skip + packed]
        if len(data) < packed:
            return None
        source.report(offset + packed)
        if method:
            try:
                data = raw_inflate().decompress(data, claimed + 1)
            except INFLATE_ERRORS as exc:
                raise Damaged(f"its packed data makes no sense ({exc})") from exc
        if len(data) != claimed:
            return None  # the long way says what is wrong with it
        if crc32(data) != where.checksum:
            raise WrongChecksum("its checksum does not fit the content")
        return data

    def _ahead(self, offset: int, size: int) -> bytes:
        """Return bytes at `offset`, out of a window that is read ahead while members lie one behind the other."""
        at = offset - self._window_at
        if at >= 0 and at + size <= len(self._window):
            return self._window[at : at + size]
        follows = self._window_at <= offset <= self._window_at + len(self._window)
        if not follows:
            self._window, self._window_at = self._source.at(offset, size), offset
            return self._window
        self._window, self._window_at = self._source.at(offset, max(size, _WINDOW_BYTES)), offset
        return self._window[:size]

    def content(self, member: Member) -> Iterator[Piece]:
        """Yield a member's content, checked against its size and checksum."""
        where = _where_of(member)
        source = self._source
        # One read takes the local header and, of a small member, its data: the extra field may be a little longer there.
        guess = 30 + len(member.name) + 64 + (where.packed if where.packed <= _SMALL_BYTES else 0)
        head = source.at(where.offset, guess)
        if head[:4] != LOCAL or len(head) < 30:
            raise Damaged("its local header is missing")
        name_len, extra_len = struct.unpack_from("<HH", head, 26)
        skip = 30 + name_len + extra_len
        source.report(where.offset + where.packed)
        if skip + where.packed <= len(head):
            data = head[skip : skip + where.packed]
            pieces: Iterator[bytes] = iter((data,) if data else ())
        else:
            pieces = self._packed_pieces(where.offset + skip, where.packed)
        if where.method == 0:
            yield from _checked(pieces, where)
            return
        try:
            decoder = zip_decoder(
                where.method, where.claimed, where.flags, max_dictionary_bytes=self._max_dictionary_bytes
            )
        except UnknownMethod as exc:
            raise EngineMissing(str(exc)) from exc
        yield from _checked(_decoded(decoder, pieces, where.claimed), where)

    def _packed_pieces(self, start: int, size: int) -> Iterator[bytes]:
        at, end = start, start + size
        while at < end:
            data = self._source.at(at, min(CHUNK_BYTES, end - at))
            if not data:
                raise CutShort("the archive ends before its content does")
            at += len(data)
            self._source.report(at)
            yield data


def _where_of(member: Member) -> _Where:
    if not isinstance(member, _ZipMember):
        raise TypeError("a member of another reader")
    return member.where


def kind_and_mode(host: int, attributes: int) -> tuple[Stored, int | None]:
    """Return what the external attributes make of a member, its name aside, and its permission bits."""
    mode: int | None = None
    kind = Stored.FILE
    if host == _UNIX:
        unix = attributes >> 16
        if unix:
            mode = unix & 0o7777
        form = unix & _S_IFMT
        if form == _S_IFDIR:
            kind = Stored.DIRECTORY
        elif form == _S_IFLNK:
            kind = Stored.SYMLINK
        elif form not in (0, _S_IFREG):
            mode = None  # a pipe or device becomes an ordinary file with an ordinary mode
    elif host in _DOS_FOLDER_HOSTS and attributes & 0x10:
        kind = Stored.DIRECTORY
    if mode is None and attributes & 1:
        mode = 0o444
    return kind, mode


def zone_warning(without_zone: int, seen: int) -> tuple[str, ...]:
    """Say that times are not exact, where some are not."""
    if not without_zone:
        return ()
    return (
        f"The times of {without_zone} of {seen} members have no time zone; they count as UTC here, and as the server's own"
        " zone there. Pack with zip or 7z on Linux to keep exact times.",
    )


def _decoded(decoder: ChunkDecoder, pieces: Iterator[bytes], claimed: int) -> Iterator[bytes]:
    left = claimed
    for piece in pieces:
        for out in decoder.feed(piece):
            yield out
            left -= len(out)
            if left < 0:
                return
        if decoder.eof:
            break
    for out in decoder.finish():
        yield out
        left -= len(out)
        if left < 0:
            return


def _checked(pieces: Iterator[bytes], where: _Where) -> Iterator[bytes]:
    checksum = length = 0
    for piece in pieces:
        length += len(piece)
        if length > where.claimed:
            raise Damaged("it holds more than its size says")
        checksum = crc32(piece, checksum)
        yield piece
    if length != where.claimed:
        raise CutShort(f"it is cut: {length} of {where.claimed} bytes came out")
    if checksum != where.checksum:
        raise WrongChecksum("its checksum does not fit the content")


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")
