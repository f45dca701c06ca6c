"""One archive, walked member by member: what `inspect` and `extract` have in common.

Each member goes from the reader to the planner and, where something is to be written, to the stage. Refuses to move
anything into place: that is the caller's, when the walk has ended.
"""

import contextlib
import errno

from iqdata.errors import Damaged, EngineMissing, TooLarge
from iqdata.extract.detect import HEAD_BYTES, other_format
from iqdata.extract.members import Flaw, Member, Stored
from iqdata.extract.model import ArchiveStatus, Engine, Limits, MemberKind, PlannedEntry
from iqdata.extract.native import INSTALL, NativeRun, find_tool
from iqdata.extract.opening import Meter, Opened, open_reader
from iqdata.extract.planner import Planner, Spare
from iqdata.extract.source import RawFile
from iqdata.extract.stream import StreamReader, xz_blocks
from iqdata.extract.tar import TarReader
from iqdata.extract.warnings import advice
from iqdata.extract.writer import Stage
from iqdata.extract.zip import ZipReader
from iqdata.paths import RelPath
from iqdata.rules import Tool

_NATIVE_FROM_BYTES = 8 * 1024 * 1024
"""Smaller archives are not worth starting a program for."""

_NATIVE_MEMBER_BYTES = 64 * 1024

_MAX_LINK_BYTES = 4096


class Walk:
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
        self._meter = Meter(limits, source.size_bytes)
        self._engine = engine
        self._native: NativeRun | None = None
        self._all_native = False
        self._deferred: dict[RelPath, Member] = {}  # what the real tool makes, moved when all is planned

    def run(self) -> None:
        """Walk all members.

        Raises:
            TooLarge: a limit was passed; nothing of the archive counts.
            Unreadable: the tool does not open it.
        """
        opened = open_reader(
            self._source,
            self._tool,
            self._name,
            self._limits,
            self._meter,
            threaded=self._stage is not None and not self._leaves_to_native(),
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

    def _choose_engine(self, opened: Opened) -> None:
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

    def _leaves_to_native(self) -> bool:
        """Tell beforehand whether the real tool will decode, so that no thread of ours starts to do the same."""
        if self._engine is not Engine.AUTO:
            return self._engine is Engine.NATIVE
        return self._is_blocky_xz() and find_tool(self._tool) is not None

    def _is_blocky_xz(self) -> bool:
        big = self._tool is Tool.SEVENZIP and self._source.size_bytes >= _NATIVE_FROM_BYTES
        return big and self._source.at(0, 6) == b"\xfd7zXZ\0" and xz_blocks(self._source) > 1

    def _is_faster_native(self, opened: Opened) -> bool:
        reader = opened.sevenzip
        if reader is not None:
            # Each file that the tool makes is looked at and moved once more, which small files do not repay.
            large = reader.unpacked_bytes >= _NATIVE_MEMBER_BYTES * max(1, reader.contents)
            return large and reader.is_lzma and reader.packed_bytes >= _NATIVE_FROM_BYTES
        return self._is_blocky_xz()

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

    def _adopt(self, opened: Opened) -> None:
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

    def _one(self, opened: Opened, member: Member) -> None:
        is_plain = member.kind is Stored.FILE and member.flaw is None and member.data_segments is None
        if self._stage is None and is_plain and member.size_bytes is not None:
            # The commonest case of a preview: nothing to read and nothing to write.
            placed = self.planner.place(member)
            self.order.append(None if placed is None else placed.path)
            return
        if is_plain and not (self._all_native or self.failed or self._deferred):
            # The commonest case of an extraction: nothing went wrong before, and all of it is decoded here.
            entry = self.planner.place(member)
            self.order.append(None if entry is None else entry.path)
            if entry is not None and entry.refused is None:
                self._make(opened, member, entry)
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
        self._make(opened, member, entry)

    def _make(self, opened: Opened, member: Member, entry: PlannedEntry) -> None:
        """Make what was planned; what cannot be made is noted as failed."""
        path = entry.path
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

    def _read_link(self, opened: Opened, member: Member) -> None:
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

    def _file(self, opened: Opened, member: Member, entry: PlannedEntry) -> None:
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

    def _finish(self, opened: Opened) -> None:
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
