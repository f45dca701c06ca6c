"""Extraction beside any other FTP or SFTP server: watch its tree, do what the space does on an upload and a rename.

Events are hints, the journal is the truth: a lost or doubled event costs a look at the tree, never a second extraction.
What came while the agent was down is found by the same look. Refuses to know which server wrote a file.
"""

import contextlib
import dataclasses
import enum
import heapq
import logging
import os
import queue
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

from iqdata.errors import ConfigError
from iqdata.extract import engine
from iqdata.extract.model import Limits
from iqdata.folderevents import writing_links
from iqdata.rules import tool_for
from iqdata.server.autoextract import AutoExtract, ExtractionSettings, Finished
from iqdata.server.executors import Executors, default_slots
from iqdata.server.happenings import Happening, Listener, What
from iqdata.server.jobs import AfterExtraction, Trigger, to_json
from iqdata.server.journal import Journal
from iqdata.server.layout import PRIVATE_FOLDER, SpaceProfile, declare
from iqdata.server.lines import LineFile
from iqdata.server.permissions import LOG_FOLDER
from iqdata.server.recovery import is_dealt_with, recover_home, take_as_known
from iqdata.server.worker import archive_at, utc

_QUIET_S = 1.0
_LOOK_AFTER_S = 0.3
_APPEARED_AFTER_S = 0.25
_LOOKS_A_SECOND = 200
_POLL_S = 2.0
_CLOCK_STEP_S = 0.02  # files are dated by a clock that may lag behind by this
_SCARCE_WATCHES = 0.9


class TreeLayout(enum.Enum):
    """What lies below the root; the words of `--layout`."""

    SINGLE = "single"  # train_data/ and group_data/ themselves
    HOMES = "homes"  # homes/<team>/ with both


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """All that an agent needs to know.

    Attributes:
        polling: look at the tree every few seconds instead of asking the kernel: for network file systems.
        rescan_s: how often to look at everything although no event asked for it.
        extract_existing: on the first start, extract the archives that are there already.
    """

    root: Path
    layout: TreeLayout = TreeLayout.SINGLE
    executors: Executors = dataclasses.field(default_factory=lambda: Executors(slots=default_slots()))
    limits: Limits = dataclasses.field(default_factory=Limits)
    after: AfterExtraction = AfterExtraction.KEEP
    polling: bool = False
    rescan_s: float = 3600.0
    extract_existing: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Rename:
    source: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Appeared:
    """A name that was not there before; whether it is whole is to be seen."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    """A name that is no longer there: what comes under it next is new, whatever its content."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """Look at a folder (the root: at everything) for what no event told of."""

    path: str
    why: str = ""


_Hint = _Upload | _Rename | _Appeared | _Gone | _Look | None


class _Events(FileSystemEventHandler):
    """watchdog's events as hints, in the order in which they came."""

    def __init__(self, hints: "queue.SimpleQueue[_Hint]") -> None:
        self._hints = hints

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Take what can be an upload or a rename."""
        match event:
            case FileClosedEvent():
                self._hints.put(_Upload(path=os.fsdecode(event.src_path)))
            case FileMovedEvent() if event.dest_path and not event.is_synthetic:
                # What a renamed folder holds has moved too, and is not extracted for that.
                self._hints.put(
                    _Rename(source=os.fsdecode(event.src_path), path=os.fsdecode(event.dest_path))
                )
            case FileCreatedEvent() if tool_for(os.fsdecode(event.src_path)) is not None:
                # The start of an upload, or a rename made of a link and a removal, as OpenSSH does it.
                self._hints.put(_Appeared(path=os.fsdecode(event.src_path)))
            case FileDeletedEvent() | FileMovedEvent() if not event.dest_path:
                self._hints.put(_Gone(path=os.fsdecode(event.src_path)))
            case DirCreatedEvent():
                # Files may have come before the folder was watched.
                self._hints.put(_Look(path=os.fsdecode(event.src_path)))
            case DirMovedEvent() if event.dest_path and not event.src_path and not event.is_synthetic:
                self._hints.put(_Look(path=os.fsdecode(event.dest_path)))
            case _:
                pass


class _Overflow(logging.Handler):
    """watchdog tells of events that the kernel dropped by a line in its log."""

    def __init__(self, hints: "queue.SimpleQueue[_Hint]", root: str) -> None:
        super().__init__(level=logging.WARNING)
        self._hints = hints
        self._root = root

    def emit(self, record: logging.LogRecord) -> None:
        """Whatever it complains about, only a look at everything makes sure."""
        self._hints.put(_Look(path=self._root, why=record.getMessage()))


class Agent:
    """One agent for one tree."""

    def __init__(self, settings: AgentSettings, *, on_event: Listener = lambda _event: None) -> None:
        """Prepare it; nothing is watched before `run`.

        Raises:
            ConfigError: the root cannot be used.
        """
        self.settings = settings
        self.root = settings.root.absolute()
        self._on_event = on_event
        self.private = self.root / PRIVATE_FOLDER
        self._prepare()
        self._audit = LineFile(self.private / "agent.jsonl", limit_bytes=32 * 1024**2, keep=4)
        self.journal = Journal(self.private / "journal.sqlite")
        self.extractor = AutoExtract(
            ExtractionSettings(
                executors=settings.executors,
                limits=settings.limits,
                after=settings.after,
                stage=self.private / "stage",
                as_owner=os.geteuid() == 0,
            ),
            self.journal,
            on_finished=self._extracted,
        )
        self._hints: queue.SimpleQueue[_Hint] = queue.SimpleQueue()
        self._looks: list[tuple[float, str]] = []
        self._to_look_at: set[str] = set()
        self._written: frozenset[tuple[int, int]] = frozenset()
        self._written_at = 0.0
        self._stop = threading.Event()
        self.watching = threading.Event()

    def _prepare(self) -> None:
        homes = self.root / "homes"
        if not self.root.is_dir():
            raise ConfigError(f"{self.root} is no folder; give the tree that the server serves as --root")
        if self.settings.layout is TreeLayout.HOMES and not homes.is_dir():
            raise ConfigError(
                f"{homes} is missing; make it, or use --layout single for one tree with train_data/ and group_data/"
            )
        try:
            # Others may pass through to the stage of their own, and see nothing on the way.
            for folder in (self.private, self.private / "stage"):
                folder.mkdir(exist_ok=True, mode=0o711)
                folder.chmod(0o711)
            stage = self.private / "stage"
            for folder in (stage, *(owner for owner in stage.iterdir() if owner.name.isdigit())):
                engine.sweep(folder, older_than_s=0, now=time.time())
        except OSError as exc:
            raise ConfigError(
                f"cannot write {exc.filename}: {exc.strerror}; run the agent as a user who may"
            ) from exc

    # --- homes

    def homes(self) -> list[Path]:
        """Return the homes that are there now."""
        if self.settings.layout is TreeLayout.SINGLE:
            return [self.root]
        return [
            home
            for home in sorted((self.root / "homes").iterdir())
            if home.is_dir() and not home.is_symlink()
        ]

    def _split(self, path: str) -> tuple[Path, str] | None:
        """Return the home that a path lies in, and its path there; None for what is nobody's or the space's own."""
        relative = os.path.relpath(path, self.root)
        parts = relative.split("/")
        if self.settings.layout is TreeLayout.HOMES:
            if parts[0] != "homes" or len(parts) < 2:
                return None
            home, inside = self.root / "homes" / parts[1], parts[2:]
        else:
            home, inside = self.root, [] if relative == "." else parts
        if inside and inside[0] in (LOG_FOLDER, PRIVATE_FOLDER):
            return None
        return home, "/".join(inside)

    def _welcome(self, home: Path) -> None:
        """Make the log's folder of a home and say what happens there."""
        folder = home / LOG_FOLDER
        try:
            folder.mkdir(exist_ok=True, mode=0o755)
            seen = folder.lstat()
            if seen.st_uid == os.geteuid() and not folder.is_symlink():
                declare(
                    home,
                    SpaceProfile(
                        keeps_archive=self.settings.after is AfterExtraction.KEEP,
                        hashes=(),
                        server="iqdata agent",
                    ),
                )
            else:
                self.note(
                    What.ERROR,
                    path=str(folder),
                    outcome="failed",
                    detail="belongs to somebody else; no log is written",
                )
        except OSError as exc:
            self.note(
                What.ERROR, path=str(folder), outcome="failed", detail=f"{exc.strerror}; no log is written"
            )

    # --- life

    def run(self) -> None:
        """Watch until `stop`, then let running extractions finish for a moment."""
        first = self.journal.first_time("baseline")
        for home in self.homes():
            self._welcome(home)
        observer = None
        overflow = _Overflow(self._hints, str(self.root))
        logger = logging.getLogger("watchdog")
        try:
            if not self.settings.polling:
                # Watched before the look, so that nothing falls between them.
                observer = self._watch()
                logger.addHandler(overflow)
            left = self.extractor.start()
            if first and not self.settings.extract_existing:
                count = sum(take_as_known(home, self.journal) for home in self.homes())
                if count:
                    self.note(
                        What.RECOVERED,
                        files=count,
                        detail=f"{count} archives were here before and are left as they are",
                    )
            elif self.extractor.wait_for(left):
                found = self._look_at_all()
                if found or left:
                    count = found + len(left)
                    self.note(
                        What.RECOVERED, files=count, detail=f"{count} archives came while the agent was down"
                    )
            self.note(What.STARTED, path=str(self.root))
            self.watching.set()
            self._follow()
        finally:
            if observer is not None:
                observer.stop()
                observer.join(10)
            logger.removeHandler(overflow)
            self.extractor.stop()
            self.note(What.STOPPED)
            self.journal.close()

    def stop(self) -> None:
        """End `run`, from any thread or a signal handler."""
        self._stop.set()
        self._hints.put(None)

    def _watch(self) -> Any:
        # It warns of a folder that it has met twice, which a tree that grows while it looks brings about.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.")
        observer = InotifyObserver(generate_full_events=True)
        wanted = [
            FileClosedEvent,
            FileCreatedEvent,
            FileDeletedEvent,
            FileMovedEvent,
            DirCreatedEvent,
            DirMovedEvent,
        ]
        try:
            # One watch for each place: moves are paired within one only. What the space keeps for itself needs none.
            for folder in self._watched():
                observer.schedule(_Events(self._hints), str(folder), recursive=True, event_filter=wanted)
            observer.start()
        except OSError as exc:
            raise ConfigError(
                f"{self.root} cannot be watched: {exc.strerror}; raise fs.inotify.max_user_watches (sysctl), or use --polling"
            ) from exc
        self._warn_of_scarce_watches()
        return observer

    def _watched(self) -> list[Path]:
        if self.settings.layout is TreeLayout.HOMES:
            return [self.root / "homes"]
        return [self.root]

    def _warn_of_scarce_watches(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
            folders = sum(1 for home in self._watched() for _ in os.walk(home))
            if folders > limit * _SCARCE_WATCHES:
                self.note(
                    What.ERROR,
                    outcome="failed",
                    detail=f"{folders} folders, and the kernel watches {limit}: raise fs.inotify.max_user_watches, or use --polling",
                )

    # --- hints

    def _follow(self) -> None:
        rescan_at = time.monotonic() + self._rescan_s
        while not self._stop.is_set():
            due = min(rescan_at, self._looks[0][0] if self._looks else rescan_at)
            hint: _Hint = None
            with contextlib.suppress(queue.Empty):
                hint = self._hints.get(timeout=max(0.0, due - time.monotonic()))
            try:
                self._act(hint)
                now = time.monotonic()
                while self._looks and self._looks[0][0] <= now:
                    _when, path = heapq.heappop(self._looks)
                    self._to_look_at.discard(path)
                    self._look(path)
                if now >= rescan_at:
                    self._look_at_all()
                    rescan_at = time.monotonic() + self._rescan_s
            except Exception:  # noqa: BLE001  one folder's trouble must not end the agent
                self.note(What.ERROR, outcome="failed", detail=traceback.format_exc(limit=8))

    @property
    def _rescan_s(self) -> float:
        return _POLL_S if self.settings.polling else self.settings.rescan_s

    def _act(self, hint: _Hint) -> None:
        match hint:
            case _Upload(path=path):
                if tool_for(path) is not None and (where := self._split(path)) is not None:
                    self.extractor.submit(*where, trigger=Trigger.UPLOAD)
            case _Rename(source=source, path=path):
                if source:
                    self._forget(source)
                if (
                    tool_for(path) is not None
                    and (where := self._split(path)) is not None
                    and Path(path).is_file()
                ):
                    before = self._split(source) if source else None
                    known = before[1] if before is not None and before[0] == where[0] else None
                    self.extractor.submit(*where, trigger=Trigger.RENAME, source=known)
            case _Appeared(path=path):
                self._look_later(path, _APPEARED_AFTER_S)
            case _Gone(path=path):
                self._forget(path)
            case _Look(path=path, why=why):
                if why:
                    self.note(What.RECOVERED, detail=f"events were lost ({why}); looking at everything")
                self._look_later(path)
            case None:
                pass

    def _forget(self, path: str) -> None:
        """Drop what is known of a path that was removed or renamed."""
        if tool_for(path) is not None and (where := self._split(path)) is not None:
            self.journal.drop(str(where[0]), where[1])

    def _look_later(self, path: str, after_s: float = _LOOK_AFTER_S) -> None:
        if path not in self._to_look_at:
            self._to_look_at.add(path)
            heapq.heappush(self._looks, (time.monotonic() + after_s, path))

    def _look(self, path: str) -> None:
        """Look at one folder for uploads that no event told of."""
        if path == str(self.root):
            self._look_at_all()
            return
        where = self._split(path)
        if where is None:
            return
        home, inside = where
        if not Path(path).is_dir():
            self._look_at_file(home, inside)
            return
        if not inside:
            self._welcome(home)
        recover_home(home, self.journal, self.extractor, below=inside, busy=self._is_busy)

    def _look_at_file(self, home: Path, path: str) -> None:
        """Extract a file that appeared without being written, unless it is being written or was seen to by then."""
        identity = archive_at(home, path)
        if identity is None:
            return
        if not is_dealt_with(home, path, identity, self.journal) and not self._is_busy(
            home, path, _APPEARED_AFTER_S
        ):
            self.extractor.submit(home, path, trigger=Trigger.RENAME, found=True)

    def _look_at_all(self) -> int:
        return sum(
            recover_home(home, self.journal, self.extractor, busy=self._is_busy) for home in self.homes()
        )

    def _is_busy(self, home: Path, path: str, quiet_s: float = _QUIET_S) -> bool:
        """Tell whether a file may still be written, or is being extracted; then it is looked at again soon."""
        file = home / path
        if self.extractor.is_pending(home, path):
            # What stands there may have come after what is extracted now; with many in the queue that takes a while.
            self._look_later(str(file), _LOOK_AFTER_S + self.extractor.backlog / _LOOKS_A_SECOND)
            return True
        try:
            seen = file.lstat()
        except OSError:
            return False
        # A date in the future or long ago was set by somebody who had finished.
        quiet = not 0 <= time.time() - seen.st_mtime < quiet_s
        if quiet and not self._is_open(seen):
            return False
        self._look_later(str(file), quiet_s)
        return True

    def _is_open(self, seen: os.stat_result) -> bool:
        """Tell whether a file is open for writing, as far as this user may see.

        Who has what open is asked anew after a moment, and for a file that has changed since: whoever made it may have
        opened it after the question.
        """
        now = time.time()
        changed = seen.st_ctime + _CLOCK_STEP_S
        if not (now - _QUIET_S / 2 < self._written_at <= now and changed < self._written_at):
            self._written_at = now
            self._written = frozenset(inodes_being_written())
        return (seen.st_dev, seen.st_ino) in self._written

    # --- what happened

    def note(self, what: What, **fields: Any) -> None:
        """Write a line of the agent's own log and tell whoever listens."""
        outcome = fields.pop("outcome", "ok")
        happening = Happening(time=utc(time.time_ns()), event=what, outcome=outcome, **fields)
        with contextlib.suppress(OSError):
            self._audit.append(to_json(happening))
        self._on_event(happening)

    def _extracted(self, finished: Finished) -> None:
        line = finished.line
        self.note(
            What.EXTRACTED,
            team=finished.home.name if self.settings.layout is TreeLayout.HOMES else None,
            path=line.archive,
            files=line.files,
            size_bytes=line.bytes,
            elapsed_s=line.elapsed_s,
            outcome=line.status,
            detail=line.error,
        )


def inodes_being_written() -> Iterator[tuple[int, int]]:
    """Yield device and inode of every file that a process has open for writing, as far as this user may see."""
    for link in writing_links():
        with contextlib.suppress(OSError):
            found = link.stat()
            yield found.st_dev, found.st_ino
