"""From an upload to its line in the log: a queue that survives crashes, slots that work it off, one writer of logs.

Order: what lies in one folder, or above and below it, is extracted one after the other and in the order of arrival, so
that a newer upload always wins; elsewhere side by side. Each job is in the journal before it runs; its outcome is in
the journal before it is in the log; it leaves the journal when its line is in the log. So every upload gets exactly
one line, whatever dies in between. Refuses to run anything on the caller's thread.
"""

import contextlib
import dataclasses
import os
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from iqdata.extract.model import ArchiveStatus, Limits
from iqdata.rules import tool_for
from iqdata.server.executors import DaskWorker, Executors, LocalWorker, WorkerDied
from iqdata.server.jobs import SUPERSEDED, AfterExtraction, Done, Job, LogLine, Trigger, to_json
from iqdata.server.journal import Journal
from iqdata.server.lines import LineFile
from iqdata.server.worker import archive_at, utc

_LOOK_AHEAD = 500
_MOST_STARTS = 10
_MOST_DEATHS = 2
_REMEMBERED = 10_000
LOG_LIMIT_BYTES = 8 * 1024**2
LOG_CARRY_LINES = 2000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One job with its line, as it went into the log."""

    home: Path
    job: Job
    line: LogLine
    delay_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionSettings:
    """How uploads are extracted.

    Attributes:
        stage: where members wait until they are complete; one folder, never reachable by a session.
        as_owner: see `Job`.
        log_of: where the log of a home is.
    """

    executors: Executors
    limits: Limits = dataclasses.field(default_factory=Limits)
    after: AfterExtraction = AfterExtraction.KEEP
    stage: Path | None = None
    as_owner: bool = False
    log_of: Callable[[Path], Path] = lambda home: home / ".iqdata" / "extractions.jsonl"


class Budget(Protocol):
    """What homes may hold; see `QuotaKeeper`."""

    def is_limited(self, home: Path) -> bool:
        """Tell whether a home has a limit."""
        ...

    def take(self, home: Path, size_bytes: int) -> bool:
        """Draw bytes; False, and nothing drawn, when they would pass the limit."""
        ...

    def give_back(self, home: Path, size_bytes: int) -> None:
        """Return bytes that were not needed, or are free again."""
        ...

    def doubt(self, home: Path) -> None:
        """Say that nobody knows what was written."""
        ...


class AutoExtract:
    """The queue with its slots."""

    def __init__(
        self,
        settings: ExtractionSettings,
        journal: Journal,
        *,
        on_finished: Callable[[Finished], None] = lambda _finished: None,
        budget: Budget | None = None,
    ) -> None:
        """Make it; nothing runs before `start`.

        Args:
            settings: how to extract.
            journal: where jobs are kept.
            on_finished: told of every job once its line is written, on a slot's thread.
            budget: what extraction may write; None for as much as it likes.
        """
        self._settings = settings
        self._journal = journal
        self._on_finished = on_finished
        self._budget = budget
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._newest: dict[tuple[str, str], str] = {}
        self._last: OrderedDict[tuple[str, str], LogLine] = OrderedDict()
        self._logs: dict[Path, LineFile] = {}
        self._slots: list[tuple[threading.Thread, LocalWorker | DaskWorker]] = []
        self._stopping = False

    # --- life

    def start(self, *, ready: bool = True) -> frozenset[str]:
        """Finish what a former run left, then start the slots.

        Args:
            ready: wait until the worker processes can take jobs.

        Returns:
            The ids of the jobs that a former run left; until they are done, a tree may hold what they placed.
        """
        left = set()
        for job, line in self._journal.open_jobs():
            if line is None:
                self._newest[job.home, job.archive] = job.id
                self._push(job)
                left.add(job.id)
            else:
                self._write_line(job, line, perhaps_there=True)
        started = []
        for number in range(self._settings.executors.slots):
            worker = self._settings.executors.make()
            is_ready = threading.Event()
            thread = threading.Thread(
                target=self._work, args=(worker, is_ready), name=f"extract-{number}", daemon=True
            )
            self._slots.append((thread, worker))
            thread.start()
            started.append(is_ready)
        if ready:
            for is_ready in started:
                is_ready.wait(30)
        return frozenset(left)

    def wait_for(self, ids: frozenset[str]) -> bool:
        """Wait until these jobs are done; False when the space stops first."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping
                    or (
                        not ids.intersection(self._running)
                        and not any(job.id in ids for job in self._waiting)
                    )
                )
            )
            return not self._stopping

    def stop(self, *, grace_s: float = 5.0) -> None:
        """Take no more jobs, let the running ones finish for a while, then kill them; the journal keeps the rest."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + grace_s
        for thread, _worker in self._slots:
            thread.join(max(0.0, deadline - time.monotonic()))
        for _thread, worker in self._slots:
            worker.close()
        for thread, _worker in self._slots:
            thread.join(5)

    # --- asking

    def submit(
        self, home: Path, archive: str, *, trigger: Trigger, source: str | None = None, found: bool = False
    ) -> str | None:
        """Queue an archive for extraction and return the id of its line, or None when no rule applies to its name.

        The arguments are described at `Job`. What was only found is not queued either where a job for that archive
        waits or runs: it is the upload that this job is for.
        """
        if tool_for(archive) is None:
            return None
        stage = self._settings.stage
        job = Job(
            id=uuid.uuid4().hex,
            home=str(home),
            archive=str(archive),
            trigger=trigger,
            source=str(source) if source is not None else None,
            found=found,
            queued_ns=time.time_ns(),
            stage=str(stage) if stage else None,
            after=self._settings.after,
            as_owner=self._settings.as_owner,
            limits=self._settings.limits,
        )
        with self._changed:
            if found and self._newest.get((job.home, job.archive)):
                return None
            self._newest[job.home, job.archive] = job.id
        self._journal.add(job)
        self._push(job)
        return job.id

    def announce(self, home: Path, archive: str) -> None:
        """Say that a new upload of an archive has begun: jobs for older ones that still wait have nothing to read."""
        with self._changed:
            if (str(home), archive) in self._newest:
                self._newest[str(home), archive] = ""

    def refuse(self, home: Path, archive: str, reason: str) -> None:
        """Log an upload that was not kept, so that whoever waits for it learns why."""
        job = Job(id=uuid.uuid4().hex, home=str(home), archive=str(archive))
        line = _line(job, ArchiveStatus.TOO_LARGE.value, reason)
        self._write_line(job, line)
        self._on_finished(Finished(home=home, job=job, line=line))

    def redated(self, home: Path, archive: str, mtime_ns: int) -> None:
        """Take over that somebody dated an archive: that is no new upload."""
        self._journal.redate(str(home), archive, mtime_ns)

    def status_of(self, home: Path, archive: str) -> tuple[str, LogLine | None]:
        """Return "waiting", "running", "done" or "unknown", and the last line known of this archive."""
        key = (str(home), archive)
        with self._changed:
            line = self._last.get(key)
            if any((job.home, job.archive) == key for job in self._running.values()):
                return "running", line
            if any((job.home, job.archive) == key for job in self._waiting):
                return "waiting", line
        return ("done" if line else "unknown"), line

    def is_pending(self, home: Path, archive: str) -> bool:
        """Tell whether a job for this archive waits or runs."""
        with self._changed:
            return bool(self._newest.get((str(home), archive)))

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing waits or runs; False when time ran out first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._running, timeout_s)

    def is_working_in(self, home: Path, *, but_for: str = "") -> bool:
        """Tell whether a job runs in a home, but for the one with this id."""
        with self._changed:
            return any(job.home == str(home) and job.id != but_for for job in self._running.values())

    @property
    def backlog(self) -> int:
        """How many jobs wait or run."""
        with self._changed:
            return len(self._waiting) + len(self._running)

    # --- the queue

    def _push(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def _take(self) -> Job | None:
        """Return the oldest job that no older one stands in the way of, or None when the slot has to end."""
        with self._changed:
            while not self._stopping:
                chosen = self._choose()
                if chosen is not None:
                    self._running[chosen.id] = chosen
                    return chosen
                self._changed.wait()
        return None

    def _choose(self) -> Job | None:
        busy = {(job.home, job.folder) for job in self._running.values()}
        for index, job in enumerate(self._waiting):
            if index >= _LOOK_AHEAD:
                break
            place = (job.home, job.folder)
            if place in busy:
                continue
            if not any(home == job.home and _overlap(folder, job.folder) for home, folder in busy):
                del self._waiting[index]
                return job
            busy.add(place)
        return None

    # --- the slots

    def _work(self, worker: LocalWorker | DaskWorker, ready: threading.Event) -> None:
        if isinstance(worker, LocalWorker):
            # A worker that cannot be started is tried again with the next job, and reported then.
            with contextlib.suppress(WorkerDied, OSError):
                worker.start()
        ready.set()
        for job in self._jobs():
            done = self._run(worker, job)
            if done is not None:
                self._conclude(job, done)
        worker.discard()

    def _jobs(self) -> Iterator[Job]:
        while (job := self._take()) is not None:
            yield job
            with self._changed:
                self._running.pop(job.id, None)
                if self._newest.get((job.home, job.archive)) == job.id:
                    del self._newest[job.home, job.archive]
                self._changed.notify_all()

    def _run(self, worker: LocalWorker | DaskWorker, job: Job) -> Done | None:
        with self._changed:
            replaced = self._newest.get((job.home, job.archive)) != job.id
        # What a look at the tree found while the event of the same upload was still on its way has that event's job.
        if self._is_settled(job) or (replaced and job.found):
            self._journal.forget(job)
            return None
        if replaced:
            return Done(line=_line(job, SUPERSEDED, "a newer upload replaced it before its turn"))
        deaths = 0
        reason = "the space was stopped while it ran"
        while self._journal.start(job) <= _MOST_STARTS and deaths < _MOST_DEATHS:
            try:
                return self._run_within_budget(worker, job)
            except WorkerDied as exc:
                if self._stopping:
                    return None  # the journal has it
                deaths += 1
                reason = str(exc)
        return Done(
            line=_line(
                job, ArchiveStatus.DAMAGED.value, f"given up after {deaths or _MOST_STARTS} tries: {reason}"
            ),
            identity=archive_at(Path(job.home), job.archive),
        )

    def _is_settled(self, job: Job) -> bool:
        """Tell whether exactly what stands there was extracted already, or came out of an archive.

        An event and a look at the tree may both have found one upload, and what an extraction places is seen as
        moved in. Every write, date and rename changes the ctime, so that nothing real is taken for that.
        """
        known = self._journal.known(job.home, job.archive)
        if known is None or not known.ctime_ns:
            return False
        try:
            seen = os.lstat(Path(job.home) / job.archive)
        except OSError:
            return False
        return (known.inode, known.size_bytes, known.mtime_ns, known.ctime_ns) == (
            seen.st_ino,
            seen.st_size,
            seen.st_mtime_ns,
            seen.st_ctime_ns,
        )

    def _run_within_budget(self, worker: LocalWorker | DaskWorker, job: Job) -> Done:
        """Run a job that asks before it writes, where its home has a limit; afterwards only what it kept is drawn."""
        budget, home = self._budget, Path(job.home)
        if budget is None or not budget.is_limited(home):
            return worker.run(job, lambda _size_bytes: True)
        granted = 0

        def ask(size_bytes: int) -> bool:
            nonlocal granted
            answer = budget.take(home, size_bytes)
            granted += size_bytes if answer else 0
            return answer

        kept = 0
        try:
            done = worker.run(msgspec.structs.replace(job, asks=True), ask)
            kept = done.grown_bytes
        except WorkerDied:
            budget.doubt(home)
            raise
        finally:
            budget.give_back(home, granted - kept)
        return done

    def _conclude(self, job: Job, done: Done) -> None:
        with self._changed:
            replaced = self._newest.get((job.home, job.archive)) != job.id
            if replaced and done.line.status == ArchiveStatus.DAMAGED.value:
                # It read what the next upload had begun to write; that one has a job of its own.
                line = msgspec.structs.replace(
                    done.line, status=SUPERSEDED, error="a newer upload replaced it while it was read"
                )
                done = msgspec.structs.replace(done, line=line)
        self._journal.finish(job, done.line, done.identity, done.placed)
        self._write_line(job, done.line)
        self._on_finished(
            Finished(
                home=Path(job.home),
                job=job,
                line=done.line,
                delay_s=done.delay_s,
            )
        )

    def _write_line(self, job: Job, line: LogLine, *, perhaps_there: bool = False) -> None:
        home = Path(job.home)
        with self._changed:
            log = self._logs.get(home)
            if log is None:
                path = self._settings.log_of(home)
                log = self._logs[home] = LineFile(path, limit_bytes=LOG_LIMIT_BYTES, carry=LOG_CARRY_LINES)
            self._last[job.home, job.archive] = line
            self._last.move_to_end((job.home, job.archive))
            if len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
        wanted = f'"id":"{line.id}"'.encode()
        if not perhaps_there or not any(wanted in known for known in log.tail(LOG_CARRY_LINES)):
            try:
                log.append(to_json(line))
            except FileNotFoundError:
                pass  # the home has gone: there is nobody to read it
            except OSError:
                return  # a full disk: the journal keeps the line until the next start
        self._journal.forget(job)


def _overlap(one: str, other: str) -> bool:
    """Tell whether one folder is the other or lies in it."""
    return one == other or not one or not other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _line(job: Job, status: str, error: str) -> LogLine:
    tool = tool_for(job.archive)
    return LogLine(
        time=utc(time.time_ns()),
        archive=job.archive,
        tool=tool.value if tool else None,
        status=status,
        error=error,
        id=job.id,
        trigger=job.trigger.value,
        from_=job.source,
    )
