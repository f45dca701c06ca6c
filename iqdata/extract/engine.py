"""Archive → plan (`inspect`) or files (`extract`): one walk over the members, with or without writing.

Both ask the same reader and the same planner in the same order, so what is previewed is what is written. Nothing is
raised for a bad archive: its status says what is wrong. Refuses to guess the tool: the name alone decides it.
"""

import contextlib
import dataclasses
import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from iqdata.errors import ArchiveError, Damaged, Encrypted, EngineMissing, IqDataError, TooLarge
from iqdata.extract.decode import Ahead, Codec, CompressedStream
from iqdata.extract.detect import HEAD_BYTES, SEVENZIP_MAGIC, codec_of, is_lzma_alone, is_tar, other_format
from iqdata.extract.members import Flaw, Member, Piece, Reader, Stored
from iqdata.extract.model import (
    ArchiveStatus,
    Engine,
    EntryOutcome,
    ExtractedEntry,
    ExtractionPlan,
    ExtractionResult,
    Limits,
    MemberKind,
    PlannedEntry,
)
from iqdata.extract.native import INSTALL, NativeRun, find_tool
from iqdata.extract.planner import Planner, Spare
from iqdata.extract.source import RawFile
from iqdata.extract.stream import StreamReader, xz_blocks
from iqdata.extract.tar import TarReader
from iqdata.extract.warnings import advice, advice_without_rule
from iqdata.extract.writer import Placed, Stage, reason_of, sweep
from iqdata.extract.zip import ZipReader
from iqdata.paths import RelPath
from iqdata.rules import Tool, rule_for, tool_for

if TYPE_CHECKING:
    from iqdata.extract.sevenzip import SevenZipReader

__all__ = ["extract", "inspect", "sweep"]

ASSUMED = {Tool.TAR: "GNU tar 1.34", Tool.SEVENZIP: "7-Zip 26.02"}

_THREAD_FROM_BYTES = 1024 * 1024
"""Archives smaller than this are decoded in the thread that writes: starting another one costs more than it saves."""

_NATIVE_FROM_BYTES = 8 * 1024 * 1024
"""Smaller archives are not worth starting a program for."""

_MAX_LINK_BYTES = 4096


class _Meter:
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
class _Opened:
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


class _Unreadable(Exception):
    """The tool does not open this content; the message says what it is."""

    def __init__(self, status: ArchiveStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def _open_reader(
    source: RawFile, tool: Tool, name: str, limits: Limits, meter: _Meter, *, threaded: bool
) -> _Opened:
    head = source.at(0, HEAD_BYTES)
    codec = codec_of(head)
    if tool is Tool.TAR:
        if codec is None and not is_tar(head) and name.endswith((".lzma", ".tlz")):
            codec = Codec.LZMA
        if codec is None or is_tar(head):
            return _open_plain_tar(source)
        stream, chunks, ahead = _stream(source, codec, limits, meter, threaded=threaded)
        return _Opened(
            reader=TarReader(chunks, stream=stream),
            content=f"tar in {codec.value}",
            metered=True,
            stream=stream,
            ahead=ahead,
        )
    if head.startswith(SEVENZIP_MAGIC):
        # Imported here because few archives need it, and its codecs take longer to import than most previews.
        from iqdata.extract.sevenzip import SevenZipReader

        reader = SevenZipReader(source, max_dictionary_bytes=limits.max_dictionary_bytes, meter=meter.add)
        return _Opened(reader=reader, content="7z", metered=True, sevenzip=reader)
    if is_tar(head):
        return _open_plain_tar(source)
    if codec is None and is_lzma_alone(head) and not head.startswith(b"PK"):
        codec = Codec.LZMA
    if codec is not None:
        stream, chunks, ahead = _stream(source, codec, limits, meter, threaded=threaded)
        single = StreamReader(stream, chunks, archive_name=name, archive_mtime_ns=source.mtime_ns)
        return _Opened(reader=single, content=codec.value, metered=True, stream=stream, ahead=ahead)
    foreign = other_format(head)
    if foreign in ("RAR", "a Windows cabinet", "a Unix library (ar)", "cpio", "RPM", "XAR", "lzip"):
        raise _Unreadable(
            ArchiveStatus.UNSUPPORTED,
            f"the file is {foreign}; whether the server's 7z opens it depends on its build; pack it as .zip or .7z",
        )
    zip_reader = ZipReader(source, max_dictionary_bytes=limits.max_dictionary_bytes)
    return _Opened(reader=zip_reader, content="zip", metered=False)


def _open_plain_tar(source: RawFile) -> _Opened:
    def skip(size: int) -> int:
        moved = max(0, min(size, source.size_bytes - source.position))
        source.position += moved
        source.report(source.position)
        return moved

    reader = TarReader(iter(source.read, b""), stream=None, skip_ahead=skip)
    return _Opened(reader=reader, content="tar", metered=False)


def _stream(
    source: RawFile, codec: Codec, limits: Limits, meter: _Meter, *, threaded: bool
) -> tuple[CompressedStream, Iterator[bytes], Ahead | None]:
    stream = CompressedStream(codec, source.read, max_dictionary_bytes=limits.max_dictionary_bytes)
    chunks: Iterator[bytes] = stream.chunks()
    ahead = None
    if threaded and source.size_bytes >= _THREAD_FROM_BYTES:
        ahead = Ahead(chunks)
        chunks = iter(ahead)
    return stream, meter.counted_chunks(chunks), ahead


class _Walk:
    """One archive being walked: what `inspect` and `extract` have in common.

    Attributes:
        failed: entries that were planned and whose content turned out bad, with the reason.
        sizes: real sizes, where the headers did not say.
    """

    def __init__(
        self,
        source: RawFile,
        tool: Tool,
        *,
        name: str,
        in_place: bool,
        limits: Limits,
        engine: Engine,
        stage: Stage | None,
        spare: Spare | None = None,
    ) -> None:
        more = {} if spare is None else {"spare": spare}
        self.planner = Planner(tool, archive_name=name, in_place=in_place, limits=limits, **more)
        self.failed: dict[RelPath, str] = {}
        self.sizes: dict[RelPath, int] = {}
        self.order: list[RelPath | None] = []
        self.content: str | None = None
        self.reader_warnings: tuple[str, ...] = ()
        self.damage: str | None = None
        self.names_encrypted = False
        self.trailing: str | None = None
        self._source = source
        self._tool = tool
        self._name = name
        self._limits = limits
        self._stage = stage
        self._meter = _Meter(limits, source.size_bytes)
        self._engine = engine
        self._native: NativeRun | None = None
        self._all_native = False
        self._deferred: dict[RelPath, Member] = {}  # what the real tool makes, moved when all is planned

    def run(self) -> None:
        """Walk all members.

        Raises:
            TooLarge: a limit was passed; nothing of the archive counts.
            _Unreadable: the tool does not open it.
        """
        opened = _open_reader(
            self._source, self._tool, self._name, self._limits, self._meter, threaded=self._stage is not None
        )
        self.content = opened.content
        try:
            members = iter(opened.reader.members())
            first = next(members, None)
            if first is not None:
                self._choose_engine(opened)
                self._one(opened, first)
            for member in members:
                self._one(opened, member)
            self._adopt(opened)
            self._finish(opened)
        finally:
            if self._native is not None:
                self._native.close()
            if opened.ahead is not None:
                opened.ahead.close()
            opened.reader.close()

    @property
    def engine_used(self) -> str:
        """The engine's name for the report."""
        return "portable" if self._native is None else "native"

    def _choose_engine(self, opened: _Opened) -> None:
        """Let the real tool do it all where that was asked for, or where it is the faster decoder."""
        if self._stage is None or self._engine is Engine.PORTABLE:
            return
        if self._engine is Engine.AUTO and not (self._is_faster_native(opened) and find_tool(self._tool)):
            return
        reader = opened.sevenzip
        if reader is not None and reader.unpacked_bytes > self._meter.most_bytes:
            return  # the portable engine counts while it decodes, and stops
        # A run that was not clean tells nothing of members that have no checksum: all are decoded here again.
        self._all_native = self._start_native().clean

    def _is_faster_native(self, opened: _Opened) -> bool:
        reader = opened.sevenzip
        if reader is not None:
            return reader.is_lzma and reader.packed_bytes >= _NATIVE_FROM_BYTES
        big_xz = opened.content == "xz" and self._source.size_bytes >= _NATIVE_FROM_BYTES
        return big_xz and xz_blocks(self._source) > 1

    def _start_native(self) -> NativeRun:
        stage = self._stage
        if stage is None:
            raise EngineMissing("the real tool runs only where something is written")
        if self._native is None:
            self._native = NativeRun(
                self._source,
                self._tool,
                parent_fd=stage.fd,
                largest_bytes=self._meter.most_bytes,
                timeout_s=600 + self._source.size_bytes / 1e6,
            )
            self._source.report(self._source.size_bytes)
        return self._native

    def _needs_native(self, member: Member) -> None:
        """Turn "only the real tool decodes it" into a refusal, unless that tool is here and may be used."""
        if self._engine is not Engine.PORTABLE and find_tool(self._tool) is not None:
            member.flaw = None
            return
        member.flaw = Flaw.UNSUPPORTED
        remedy = "use --engine auto" if self._engine is Engine.PORTABLE else INSTALL
        member.why = f"{member.why}; {remedy}"

    def _adopt(self, opened: _Opened) -> None:
        """Move what the real tool made, looked at file by file, into the staged tree."""
        if not self._deferred or self._stage is None:
            return
        native = self._start_native()
        single = native.only_file() if isinstance(opened.reader, StreamReader) else None
        for path, member in self._deferred.items():
            entry = self.planner.entries[path]
            try:
                folder, name, size = native.vetted(entry, single or path, opened.reader.checksum_of(member))
                self._stage.adopt(path, folder, name)
                self._meter.add(size)
                if entry.size_bytes is None:
                    self.sizes[path] = size
            except Damaged as exc:
                self.planner.flaws.add(Flaw.DAMAGED)
                self.failed[path] = str(exc)

    def _one(self, opened: _Opened, member: Member) -> None:
        is_plain = member.kind is Stored.FILE and member.flaw is None and member.data_segments is None
        if self._stage is None and is_plain and member.size_bytes is not None:
            # The commonest case of a preview: nothing to read and nothing to write.
            placed = self.planner.place(member)
            self.order.append(None if placed is None else placed.path)
            return
        # The tool names a nameless member after the archive, whose name it is not told.
        by_tool = (self._all_native and bool(member.name)) or member.flaw is Flaw.NATIVE
        if member.flaw is Flaw.NATIVE:
            self._needs_native(member)
        if member.kind is Stored.SYMLINK and member.link is None and member.flaw is None:
            self._read_link(opened, member)
        entry = self.planner.place(member)
        self.order.append(None if entry is None else entry.path)
        if entry is None or entry.refused is not None:
            return
        path = entry.path
        if self.failed:
            self.failed.pop(path, None)
        if self._deferred:
            self._deferred.pop(path, None)
        is_hardlink = entry.kind is MemberKind.HARDLINK
        if (by_tool and entry.kind is MemberKind.FILE) or (is_hardlink and entry.target in self._deferred):
            if self._stage is not None:
                self._deferred[path] = member
            return
        try:
            if entry.kind is MemberKind.FILE:
                self._file(opened, member, entry)
            elif entry.kind is MemberKind.HARDLINK and entry.target in self.failed:
                self.failed[path] = f"its target {entry.target} is damaged"
            elif self._stage is not None:
                if entry.kind is MemberKind.DIRECTORY:
                    self._stage.make_folder(path)
                elif entry.kind is MemberKind.HARDLINK:
                    self._stage.make_hardlink(path, RelPath(entry.target or ""))
        except EngineMissing as exc:
            self.planner.flaws.add(Flaw.UNSUPPORTED)
            self.failed[path] = str(exc)
        except Damaged as exc:
            self.planner.flaws.add(Flaw.DAMAGED)
            self.failed[path] = str(exc)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise TooLarge(f"there is no room for it: {exc.strerror}") from exc
            self.planner.flaws.add(Flaw.DAMAGED)
            self.failed[path] = f"it could not be written: {exc.strerror}"

    def _read_link(self, opened: _Opened, member: Member) -> None:
        data = b""
        try:
            for piece in opened.reader.content(member):
                data += bytes(piece)
                if len(data) > _MAX_LINK_BYTES:
                    member.flaw, member.why = Flaw.UNSAFE, "it is a link with a target too long for any path"
                    return
        except EngineMissing as exc:
            member.flaw, member.why = Flaw.UNSUPPORTED, str(exc)
        except Damaged as exc:
            member.flaw, member.why = Flaw.DAMAGED, str(exc)
        member.link = data.partition(b"\0")[0]

    def _file(self, opened: _Opened, member: Member, entry: PlannedEntry) -> None:
        segments = member.data_segments
        if segments is not None:
            # Holes cost no disk, yet whoever reads the file gets them in full.
            self._meter.add(max(0, (entry.size_bytes or 0) - sum(length for _, length in segments)))
        if self._stage is None:
            if entry.size_bytes is None:
                self.sizes[entry.path] = sum(len(piece) for piece in opened.reader.content(member))
            return
        data = opened.reader.whole(member) if segments is None else None
        if data is not None:
            if not opened.metered:
                self._meter.add(len(data))
            self._stage.write_whole(entry, data)
            return
        pieces = opened.reader.content(member)
        if not opened.metered:
            pieces = self._meter.counted(pieces)
        size = self._stage.write(entry, pieces, segments=segments)
        if entry.size_bytes is None:
            self.sizes[entry.path] = size

    def _finish(self, opened: _Opened) -> None:
        reader = opened.reader
        self.damage = reader.damage
        self.names_encrypted = opened.sevenzip is not None and opened.sevenzip.names_encrypted
        unread = (isinstance(reader, TarReader) and not reader.looks_like_tar) or (
            isinstance(reader, ZipReader) and not reader.is_zip
        )
        if unread and self.damage is not None:
            # The file stays as it is; what it really is helps more than what it is not.
            found = other_format(self._source.at(0, HEAD_BYTES)) if opened.stream is None else None
            self.content = found or (self.content if opened.stream is not None else None)
            what = f"the file is {found}: " if found else ""
            self.damage = f"{what}{self.damage}; it stays as it is"
        warnings = list(reader.warnings)
        if (
            opened.stream is not None
            and opened.stream.trailing == "other data"
            and isinstance(reader, TarReader)
        ):
            warnings.append(
                f"The {opened.stream.codec.value} stream is followed by other data; its files are whole, yet tar ends with an error."
            )
        self.reader_warnings = tuple(warnings)
        if self._source.has_changed():
            self.damage = "it was written to while it was read; extract it again when the upload is finished"
            self._drop_from(0)
        else:
            self._drop_from(reader.confirmed())
        if self._stage is not None:
            self._links(self._stage)
            self._stage.dress_folders(self._dressed())

    def _drop_from(self, confirmed: int) -> None:
        """Take back what lies behind the last confirmed member: nothing vouches for it."""
        if confirmed >= len(self.order):
            return
        reason = self.damage or "the archive is damaged here"
        self.planner.flaws.add(Flaw.DAMAGED)
        entries = self.planner.entries
        for path in self.order[confirmed:]:
            if path is None or path not in entries or entries[path].refused is not None:
                continue
            if entries[path].kind is not MemberKind.DIRECTORY:
                self.failed.setdefault(path, reason)
                if self._stage is not None and entries[path].kind is not MemberKind.SYMLINK:
                    with contextlib.suppress(OSError):
                        self._stage.drop(path)
        good = [path for path in self.order[:confirmed] if path is not None and path not in self.failed]
        needed = {folder for path in good for folder in path.ancestors()}
        needed.update(path for path in good if path in entries and entries[path].kind is MemberKind.DIRECTORY)
        lost = [
            path
            for path, entry in entries.items()
            if entry.kind is MemberKind.DIRECTORY and path not in needed
        ]
        for path in sorted(lost, key=lambda path: path.count("/"), reverse=True):
            if entries[path].refused is None:
                self.failed[path] = reason
                if self._stage is not None:
                    self._stage.drop_folder(path)

    def _links(self, stage: Stage) -> None:
        for path, entry in self.planner.entries.items():
            if entry.kind is MemberKind.SYMLINK and entry.refused is None and path not in self.failed:
                try:
                    stage.make_symlink(path, entry.target or "", entry.mtime_ns)
                except OSError as exc:
                    self.failed[path] = f"it could not be written: {exc.strerror}"

    def _dressed(self) -> list[PlannedEntry]:
        return [
            entry
            for entry in self.planner.entries.values()
            if entry.kind is MemberKind.DIRECTORY
            and entry.refused is None
            and entry.path not in self.failed
            and (entry.mtime_ns is not None or entry.mode != 0o755)
        ]

    def folders(self) -> dict[RelPath, PlannedEntry]:
        """Return the folders that have a mode or time of their own."""
        return {entry.path: entry for entry in self._dressed()}

    def status(self) -> ArchiveStatus:
        """Return the one word for it all: the gravest that applies."""
        flaws = self.planner.flaws
        if self.names_encrypted:
            return ArchiveStatus.ENCRYPTED
        if self.damage is not None or Flaw.DAMAGED in flaws:
            return ArchiveStatus.DAMAGED
        if Flaw.ENCRYPTED in flaws:
            return ArchiveStatus.ENCRYPTED
        if Flaw.UNSUPPORTED in flaws:
            return ArchiveStatus.UNSUPPORTED
        if self.planner.refusals or Flaw.UNSAFE in flaws:
            return ArchiveStatus.UNSAFE
        return ArchiveStatus.OK

    def error(self) -> str | None:
        """Return the one sentence for a status that is not ok."""
        if self.damage is not None:
            return self.damage
        refused = [entry.refused for entry in self.planner.entries.values() if entry.refused is not None]
        reasons = [*self.failed.values(), *refused, *(skipped.reason for skipped in self.planner.skipped)]
        if not reasons:
            return None
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        first = next(iter(self.failed), None) or next(
            (entry.path for entry in self.planner.entries.values() if entry.refused is not None), None
        )
        shown = first if first is not None else self.planner.skipped[0].name
        return f"{shown}: {reasons[0]}{more}"

    def warnings(self) -> tuple[str, ...]:
        """Return everything that surprises people."""
        return advice(
            self.planner, self._tool, self._name, content=self.content, reader_warnings=self.reader_warnings
        )


def _planned(walk: _Walk) -> tuple[PlannedEntry, ...]:
    entries = walk.planner.entries.values()
    if not walk.failed and not walk.sizes:
        return tuple(entries)
    return tuple(
        PlannedEntry(
            path=entry.path,
            kind=entry.kind,
            size_bytes=walk.sizes.get(entry.path, entry.size_bytes),
            mode=entry.mode,
            mtime_ns=entry.mtime_ns,
            target=entry.target,
            refused=entry.refused or walk.failed.get(entry.path),
        )
        for entry in entries
    )


def inspect(
    archive: Path,
    *,
    name: str | None = None,
    limits: Limits | None = None,
    engine: Engine = Engine.AUTO,
    on_bytes: Callable[[int], None] | None = None,
) -> ExtractionPlan:
    """Return what the server's tool does with this file; never raises for a bad archive, the status says it.

    Args:
        archive: the file to read.
        name: its base name in the space, where that is another.
        limits: what it may cost.
        engine: who decodes.
        on_bytes: hears of archive bytes as they are read, for progress.
    """
    name = name if name is not None else archive.name
    tool, rule = tool_for(name), rule_for(name)
    if tool is None:
        return ExtractionPlan(
            tool=None, rule=None, status=ArchiveStatus.NO_RULE, warnings=advice_without_rule(name)
        )
    limits = limits or Limits()
    assumed = ASSUMED[tool]
    walk: _Walk | None = None
    try:
        with RawFile(archive, on_bytes) as source:
            walk = _Walk(source, tool, name=name, in_place=True, limits=limits, engine=engine, stage=None)
            walk.run()
    except (IqDataError, _Unreadable, OSError) as exc:
        content = walk.content if walk is not None else None
        return ExtractionPlan(
            tool=tool,
            rule=rule,
            status=_status_of(exc),
            error=reason_of(exc),
            assumed=assumed,
            content=content,
        )
    entries = _planned(walk)
    return ExtractionPlan(
        tool=tool,
        rule=rule,
        status=walk.status(),
        entries=entries,
        total_bytes=sum(entry.size_bytes or 0 for entry in entries if entry.refused is None),
        warnings=walk.warnings(),
        error=walk.error(),
        assumed=assumed,
        skipped=tuple(walk.planner.skipped),
        content=walk.content,
    )


def extract(
    archive: Path,
    into: Path | None = None,
    *,
    plan: ExtractionPlan | None = None,
    overwrite: bool = True,
    name: str | None = None,
    limits: Limits | None = None,
    engine: Engine = Engine.AUTO,
    on_bytes: Callable[[int], None] | None = None,
    stage_in: Path | None = None,
    quota: Callable[[int], None] | None = None,
    spare: Spare | None = None,
) -> ExtractionResult:
    """Extract a file as the server's tool would; good members are placed, bad ones are reported.

    Args:
        archive: the file to read; it is never changed.
        into: where the members go; default: the archive's own folder.
        plan: an earlier `inspect` of the same file; one that already refuses everything saves the reading.
        overwrite: whether files that stand there are replaced, as the tools do.
        name: the archive's base name in the space, where that is another.
        limits: what it may cost, counted while decoding; over one, nothing is placed.
        engine: who decodes.
        on_bytes: hears of archive bytes as they are read, for progress.
        stage_in: folder for staging, on the same file system as `into`; default: `into` itself.
        quota: called with every number of bytes about to be written; raises TooLarge to stop.
        spare: says of a path and kind why it must not be made here; what it refuses is reported as unsafe.
    """
    name = name if name is not None else archive.name
    tool = tool_for(name)
    if tool is None:
        return ExtractionResult(tool=None, status=ArchiveStatus.NO_RULE, warnings=advice_without_rule(name))
    if plan is not None and plan.status in (ArchiveStatus.TOO_LARGE, ArchiveStatus.NO_RULE):
        return ExtractionResult(tool=tool, status=plan.status, error=plan.error, warnings=plan.warnings)
    folder = into if into is not None else archive.parent
    try:
        with RawFile(archive, on_bytes) as source:
            in_place = _same_folder(folder, archive.parent)
            with contextlib.closing(Stage(_stage_parent(stage_in, folder), quota=quota)) as stage:
                walk = _Walk(
                    source,
                    tool,
                    name=name,
                    in_place=in_place,
                    limits=limits or Limits(),
                    engine=engine,
                    stage=stage,
                    spare=spare,
                )
                walk.run()
                placed = stage.place(
                    folder, overwrite=overwrite, folders=walk.folders(), protected=source.identity
                )
    except (IqDataError, _Unreadable, OSError) as exc:
        return ExtractionResult(tool=tool, status=_status_of(exc), error=reason_of(exc))
    entries = _extracted(walk, placed)
    status, error = walk.status(), walk.error()
    if placed.failures and status is ArchiveStatus.OK:
        path, reason = next(iter(placed.failures.items()))
        status, error = ArchiveStatus.UNSAFE, f"{path}: {reason}"
    return ExtractionResult(
        tool=tool,
        status=status,
        entries=entries,
        warnings=walk.warnings(),
        error=error,
        engine=walk.engine_used,
        skipped=tuple(walk.planner.skipped),
    )


def _extracted(walk: _Walk, placed: Placed) -> tuple[ExtractedEntry, ...]:
    found = []
    for path, entry in walk.planner.entries.items():
        error = entry.refused
        outcome = EntryOutcome.WRITTEN
        if error is not None:
            outcome = EntryOutcome.REFUSED
        elif (error := walk.failed.get(path) or placed.failure_of(path)) is not None:
            outcome = EntryOutcome.FAILED
        elif path in placed.kept:
            outcome = EntryOutcome.UNCHANGED
        size = walk.sizes.get(path, entry.size_bytes) if outcome is EntryOutcome.WRITTEN else 0
        found.append(
            ExtractedEntry(
                path=path,
                kind=entry.kind,
                outcome=outcome,
                size_bytes=size or 0,
                mtime_ns=entry.mtime_ns,
                error=error,
            )
        )
    return tuple(found)


def _stage_parent(stage_in: Path | None, folder: Path) -> Path:
    """Return where to stage: where it was asked for, unless that is another file system, from which nothing is renamed."""
    if stage_in is None or stage_in.stat().st_dev != folder.stat().st_dev:
        return folder
    return stage_in


def _same_folder(left: Path, right: Path) -> bool:
    try:
        return left.samefile(right)
    except OSError:
        return False


def _status_of(exc: Exception) -> ArchiveStatus:
    match exc:
        case _Unreadable():
            return exc.status
        case TooLarge():
            return ArchiveStatus.TOO_LARGE
        case Encrypted():
            return ArchiveStatus.ENCRYPTED
        case EngineMissing():
            return ArchiveStatus.UNSUPPORTED
        case ArchiveError() | OSError():
            return ArchiveStatus.DAMAGED
        case _:
            raise exc
