"""Wait until the space has extracted an archive, and see what it left.

The space's own log tells the outcome where there is one; elsewhere the listing is watched until every predicted member
stands there and nothing changes any more. Refuses to touch the archive: the space may have removed it.
"""

import io
import threading
from collections.abc import Callable, Mapping

import msgspec

from iqdata.errors import Missing
from iqdata.paths import RelPath
from iqdata.scan import list_folders
from iqdata.transports.pool import Pool
from iqdata.tree import Entry, Kind

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
NANOSECONDS = 1_000_000_000


class LogLine(msgspec.Struct, frozen=True):
    """One line of `/.iqdata/extractions.jsonl`. Source: the space's contract; unknown fields are ignored."""

    archive: str
    status: str
    tool: str | None = None
    files: int = 0
    bytes: int = 0
    error: str | None = None
    archive_bytes: int = 0
    archive_mtime_ns: int = 0

    def is_of(self, entry: Entry, *, dated: bool) -> bool:
        """Tell whether it speaks of this version of the archive; its date counts where the space keeps dates."""
        if self.archive_bytes and self.archive_bytes != entry.size_bytes:
            return False
        if not (dated and self.archive_mtime_ns and entry.mtime_ns is not None):
            return True
        return self.archive_mtime_ns // NANOSECONDS == entry.mtime_ns // NANOSECONDS


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How an extraction in the space ended.

    Attributes:
        status: a word of preview's JSON, or None when it was not seen to end in time.
        standing: what is there now at the predicted paths.
        differences: sentences about predicted members that are missing or other than predicted.
    """

    status: str | None
    error: str | None = None
    standing: Mapping[RelPath, Entry] = msgspec.field(default_factory=dict)
    differences: tuple[str, ...] = ()


class Arrivals:
    """Watches one space for the end of extractions; shared by the threads of a run."""

    def __init__(
        self,
        pool: Pool,
        *,
        log: RelPath | None,
        removes: bool,
        timeout_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._pool = pool
        self._log = log
        self._removes = removes
        self._timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._offset = 0
        self._rest = b""
        self._seen: dict[str, list[LogLine]] = {}
        self._dated = False

    def mark(self, published: Mapping[RelPath, Entry]) -> None:
        """Remember where the log ends now: what follows is about archives published from here on.

        Args:
            published: archives that an earlier run published; what the log says of these versions already counts too.
        """
        if self._log is None:
            return
        with self._pool.lease() as transport:
            self._dated = transport.capabilities.sets_mtime
            entry = transport.stat(self._log)
        end = entry.size_bytes if entry is not None else 0
        if not published:
            self._offset = end
            return
        self._read_on()
        for archive in [archive for archive in self._seen if archive not in published]:
            del self._seen[archive]

    def wait_for(self, archive: RelPath, entry: Entry, members: Mapping[RelPath, Entry]) -> Arrival:
        """Return once the extraction of this version of `archive` has ended, or when the time is up.

        Raises:
            TransportError: the space could not be asked.
        """
        deadline = self._clock() + self._timeout_s
        pause = _FIRST_PAUSE_S
        last: Mapping[RelPath, Entry] | None = None
        while True:
            if self._log is not None:
                line = self._log_line(archive, entry)
                if line is not None:
                    standing = self._standing(members)
                    return Arrival(
                        status=line.status,
                        error=line.error,
                        standing=standing,
                        differences=tuple(_differences(members, standing)) if line.status == "ok" else (),
                    )
            else:
                standing = self._standing(members)
                # The same in two looks in a row, and complete or said to be by the archive's end: a member that still
                # grows is neither.
                differences = tuple(_differences(members, standing))
                if standing == last and (not differences or self._is_removed(archive)):
                    return Arrival(status="ok", standing=standing, differences=differences)
                last = standing
            if self._clock() >= deadline:
                standing = self._standing(members)
                return Arrival(
                    status="ok" if self._is_removed(archive) else None,
                    standing=standing,
                    differences=tuple(_differences(members, standing)),
                )
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    def _log_line(self, archive: RelPath, entry: Entry) -> LogLine | None:
        """Return what the log says of this version of `archive`, read on as far as it goes; None while it says nothing."""
        with self._lock:
            if archive not in self._seen:
                self._read_on()
            # The latest counts: an archive that was sent twice is extracted twice.
            lines = self._seen.pop(archive, [])
            return next((line for line in reversed(lines) if line.is_of(entry, dated=self._dated)), None)

    def _read_on(self) -> None:
        """Take in what the log has gained."""
        if self._log is None:
            return
        gained = io.BytesIO()
        try:
            with self._pool.lease() as transport:
                entry = transport.stat(self._log)
                if entry is not None and entry.size_bytes < self._offset:
                    self._offset, self._rest = (
                        0,
                        b"",
                    )  # turned over: the new file begins with the latest lines
                if entry is not None and entry.size_bytes > self._offset:
                    transport.read_into(self._log, gained, offset=self._offset, on_bytes=_ignore)
        except Missing:
            return
        data = gained.getvalue()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            try:
                line = msgspec.json.decode(raw, type=LogLine)
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue  # not one of ours: the log is for people too
            self._seen.setdefault(line.archive.strip("/"), []).append(line)

    def _is_removed(self, archive: RelPath) -> bool:
        """Tell whether the space has removed the archive, as it does with what it has extracted."""
        if not self._removes:
            return False
        with self._pool.lease() as transport:
            return transport.stat(archive) is None

    def _standing(self, members: Mapping[RelPath, Entry]) -> dict[RelPath, Entry]:
        """Return what stands at the members' paths now."""
        folders = {path.parent for path in members}
        listed = dict(list_folders(self._pool, folders))
        return {path: found for path in members if (found := listed[path.parent].get(path.name)) is not None}


def _differences(members: Mapping[RelPath, Entry], standing: Mapping[RelPath, Entry]) -> list[str]:
    """Say which predicted members are missing or other than predicted; a time alone is no difference."""
    found = []
    for path, member in members.items():
        there = standing.get(path)
        if there is None:
            found.append(f"{path} is missing in the space")
        elif there.kind is not member.kind:
            found.append(f"{path} is a {there.kind.value} in the space, predicted was a {member.kind.value}")
        elif member.kind is Kind.FILE and there.size_bytes != member.size_bytes:
            found.append(
                f"{path} has {there.size_bytes} bytes in the space, predicted were {member.size_bytes}"
            )
    return found


def _ignore(_size_bytes: int) -> None:
    """Bytes of the log are no progress."""
