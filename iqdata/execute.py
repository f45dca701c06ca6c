"""Carry out a plan: look again just before anything is replaced or deleted, report each action, record what was seen.

Refuses to decide: where the world is not as the plan expects, the path is left alone and reported as a conflict.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar, assert_never

from iqdata.actions import (
    Action,
    Agreed,
    Conflict,
    Delete,
    Download,
    ExtractLocal,
    ExtractRemote,
    Keep,
    MakeFolder,
    Plan,
    RenameRemote,
    Side,
    Skip,
    Upload,
)
from iqdata.arrival import Arrivals
from iqdata.compare import same_member, same_remote
from iqdata.errors import CutOff, IqDataError, TransportError, WorldMoved
from iqdata.events import ActionKind, Listener, Moved, Note, Outcome, Report, Status, Totals, Via
from iqdata.localfolder import LocalFolder, random_token
from iqdata.lookout import Lookout
from iqdata.paths import RelPath
from iqdata.rules import temporary_name
from iqdata.scan import list_folders
from iqdata.state import AWAITED, State
from iqdata.transports.base import FetchJob, PublishJob, Transport
from iqdata.transports.pool import Pool
from iqdata.tree import FOLDER, Entry, Kind

T = TypeVar("T")

ExtractHere = Callable[[RelPath, Path], None]
"""Extracts a local archive into an empty folder; raises `ArchiveError` when nothing useful came of it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an execution works with.

    Attributes:
        wait: whether extractions in the space are awaited.
        retries: how often one item is tried again after a failure that may pass.
        extract_here: see `ExtractHere`.
        side_pool: connections for second looks, apart from those that are busy with transfers.
    """

    pool: Pool
    side_pool: Pool
    local: LocalFolder
    state: State
    arrivals: Arrivals
    listener: Listener
    extract_here: ExtractHere
    jobs: int = 8
    retries: int = 3
    wait: bool = True
    step_ns: int | None = 1_000_000_000
    throttle: Callable[[int], None] = lambda _size_bytes: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def outcome_of(action: Action, status: Status, *, error: str | None = None) -> Outcome:
    """Return the line of output that speaks of an action."""

    def line(kind: ActionKind, size_bytes: int, reason: str, via: Via | None = None) -> Outcome:
        return Outcome(
            action=kind,
            path=action.path,
            status=status,
            size_bytes=size_bytes,
            via=via,
            reason=reason,
            error=error,
        )

    match action:
        case Upload(entry=entry, reason=reason):
            return line(ActionKind.UPLOAD, entry.size_bytes, reason, Via.FILE)
        case Download(entry=entry, reason=reason):
            return line(ActionKind.DOWNLOAD, entry.size_bytes, reason, Via.FILE)
        case RenameRemote(entry=entry, source=source):
            return line(ActionKind.UPLOAD, entry.size_bytes, f"renamed from {source}, nothing sent")
        case MakeFolder(side=side):
            return line(ActionKind.MKDIR, 0, f"in {_where(side)}")
        case Delete(side=Side.REMOTE, expect=expect, reason=reason):
            return line(ActionKind.DELETE_REMOTE, expect.size_bytes, reason)
        case Delete(expect=expect, reason=reason):
            return line(ActionKind.DELETE_LOCAL, expect.size_bytes, reason)
        case ExtractRemote(members=members):
            return line(ActionKind.EXTRACT_REMOTE, _size(members), _count(members))
        case ExtractLocal(members=members):
            return line(ActionKind.EXTRACT_LOCAL, _size(members), _count(members))
        case Conflict(expect=expect, reason=reason):
            return line(ActionKind.CONFLICT, expect.size_bytes, reason)
        case Skip(reason=reason, failed=failed):
            if failed and status is not Status.PLANNED:
                return Outcome(action=ActionKind.SKIP, path=action.path, status=Status.FAILED, error=reason)
            how = Status.PLANNED if status is Status.PLANNED else Status.SKIPPED
            return Outcome(action=ActionKind.SKIP, path=action.path, status=how, reason=reason)
        case _:
            assert_never(action)


def _size(members: Mapping[RelPath, Entry]) -> int:
    return sum(member.size_bytes for member in members.values())


def _where(side: Side) -> str:
    return "the space" if side is Side.REMOTE else "the workspace"


def _count(members: Mapping[RelPath, Entry]) -> str:
    files = sum(1 for member in members.values() if member.kind is Kind.FILE)
    return f"{files} file{'' if files == 1 else 's'}"


def execute(plan: Plan, means: Means) -> Report:
    """Run a plan to its end and return what became of each action.

    A failed item is an outcome; the run goes on. `KeyboardInterrupt` ends it early, after what is finished has been recorded.

    Raises:
        TransportError: the space cannot be reached any more at all.
    """
    return _Execution(plan, means).run()


@dataclasses.dataclass(slots=True)
class _Sending:
    """One upload on its way through the workers."""

    action: Upload
    tries: int = 0
    settled: bool = False


@dataclasses.dataclass(slots=True)
class _Fetching:
    """One download on its way through the workers, and where its bytes go until it is complete."""

    action: Download
    temporary: Path
    tries: int = 0


class _Execution:
    """One plan being carried out; the methods are its phases."""

    def __init__(self, plan: Plan, means: Means) -> None:
        self.plan = plan
        self.m = means
        self.lookout = Lookout(means.side_pool, clock=means.clock)
        self.outcomes: list[Outcome] = []
        self.blocked: dict[RelPath, str] = {}
        self.unsettled_archives: dict[RelPath, str] = {}
        self.sent: dict[
            RelPath, Entry
        ] = {}  # what stands in the space because of this run: the local entry sent
        self.fetched: dict[RelPath, Agreed] = {}
        self.removed: list[RelPath] = []
        self.bytes_sent = 0
        self.bytes_received = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self) -> Report:
        started = self.m.clock()
        moving = [action for action in self.plan.actions if isinstance(action, Upload | Download)]
        self.m.listener(
            Totals(files=len(moving), size_bytes=sum(action.entry.size_bytes for action in moving))
        )
        for note in self.plan.notes:
            self.m.listener(Note(text=note))
        with self.m.state.transaction():
            self.m.state.agree(self.plan.adopted)
            self.m.state.forget(self.plan.forgotten)
        try:
            self._phases()
        finally:
            self._stop.set()
            self._record()
        return Report(
            outcomes=tuple(self.outcomes),
            unchanged=self.plan.unchanged,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            elapsed_s=self.m.clock() - started,
        )

    def _phases(self) -> None:
        for action in self.plan.of(Skip):
            self._done(action)
        for conflict in self._of(Conflict):
            self._each(conflict, self._keep_loser)
        folders = self._of(MakeFolder)
        for folder in folders:
            self._each(folder, self._make_folder)
        self._archives()
        for extraction in self._of(ExtractLocal):
            self._each(extraction, self._extract_here)
        archives = {action.path for action in self._of(ExtractRemote)}
        self._upload([action for action in self._of(Upload) if action.path not in archives])
        for rename in self._of(RenameRemote):
            if rename.path not in archives:
                self._each(rename, self._rename)
        self._download(self._of(Download))
        for delete in self._of(Delete):
            self._each(delete, self._delete)

    def _of(self, kind: type[T]) -> list[T]:
        return [action for action in self.plan.actions if isinstance(action, kind)]

    # --- reporting
    def _done(self, action: Action, *, status: Status = Status.DONE, error: str | None = None) -> None:
        outcome = outcome_of(action, status, error=error)
        with self._lock:
            self.outcomes.append(outcome)
        self.m.listener(outcome)
        if outcome.status is Status.FAILED:
            self.blocked[action.path] = error or ""

    def _each(self, action: T, act: Callable[[T], None]) -> None:
        """Do one action; what goes wrong with it is its outcome."""
        try:
            act(action)
        except (IqDataError, OSError) as exc:
            self._done(action, status=Status.FAILED, error=_message(exc))  # type: ignore[arg-type]  # T is always an Action

    # --- conflicts and folders
    def _keep_loser(self, action: Conflict) -> None:
        match action.keep, action.loser:
            case Keep.BESIDE, Side.REMOTE:
                copy = _named(action)
                self._expect_there(action.path, action.expect)
                self._expect_there(copy, None)
                self._with_retries(lambda transport: transport.rename(action.path, copy))
                self.lookout.changed(action.path, None)
                self.lookout.changed(copy, action.expect)
            case Keep.BESIDE, Side.LOCAL:
                self.m.local.rename_aside(action.path, _named(action), expected=action.expect)
            case Keep.TRASH, Side.REMOTE:
                self._expect_there(action.path, action.expect)
                with self.m.local.trash_path(action.path).open("wb") as kept:
                    self._with_retries(lambda transport: _read_again(transport, action.path, kept))
            case _:
                pass  # a local loser goes to the trash when it is replaced; "as is" replaces nothing
        self._done(action)

    def _make_folder(self, action: MakeFolder) -> None:
        if action.side is Side.LOCAL:
            self.m.local.make_folder(action.path)
        else:
            self._with_retries(lambda transport: transport.make_folder(action.path))
        with self._lock:
            self.fetched[action.path] = Agreed(FOLDER, FOLDER)
        self._done(action)

    # --- archives: sent and extracted before anything loose
    def _archives(self) -> None:
        extractions = {action.path: action for action in self._of(ExtractRemote)}
        if not extractions:
            return
        uploads = {action.path: action for action in self._of(Upload) if action.path in extractions}
        renames = {action.path: action for action in self._of(RenameRemote) if action.path in extractions}
        if self.m.wait:
            self.m.arrivals.mark()
        for group in _groups(extractions):
            # Within a group nothing clashes: sent side by side, awaited together; the next group only after that.
            self._upload([uploads[path] for path in group if path in uploads])
            for path in group:
                if path in renames:
                    self._each(renames[path], self._rename)
            for path in group:
                if path not in self.blocked:
                    with self.m.state.transaction():
                        self.m.state.publish(path, extractions[path].entry, status=AWAITED)
                    self._each(extractions[path], self._await)

    def _await(self, action: ExtractRemote) -> None:
        if not self.m.wait:
            self.unsettled_archives[action.path] = "its extraction in the space was not waited for"
            self._done(action, status=Status.SKIPPED, error=None)
            return
        arrival = self.m.arrivals.wait_for(action.path, action.members)
        if arrival.status is None:
            self.unsettled_archives[action.path] = "its extraction in the space has not been seen to end"
            missing = "; ".join(arrival.differences[:3])
            raise TransportError(
                f"the space has not extracted {action.path} in time ({missing or 'no line in its log'});"
                " the next run looks again, --wait-timeout S waits longer",
                op="extract",
                path=action.path,
            )
        with self.m.state.transaction():
            self.m.state.publish(action.path, action.entry, status=arrival.status, error=arrival.error)
            self.m.state.leave(action.path, arrival.standing)
        for path, entry in arrival.standing.items():
            self.lookout.changed(path, entry)
            member = action.members[path]
            here = self.m.local.current(path)
            if here is not None and same_member(here, member) and same_member(entry, member):
                with self._lock:
                    self.fetched[path] = Agreed(here, entry)
        if arrival.status != "ok":
            self._done(
                action,
                status=Status.FAILED,
                error=f"the space says {arrival.status}: {arrival.error or 'no reason given'}",
            )
        elif arrival.differences:
            shown = "; ".join(arrival.differences[:3])
            self._done(action, status=Status.FAILED, error=f"extraction differs from the preview: {shown}")
        else:
            self._done(action)

    # --- uploads
    def _upload(self, actions: Iterable[Upload]) -> None:
        ready: deque[_Sending] = deque()
        for action in actions:
            if action.path in self.blocked:
                self._done(
                    action, status=Status.FAILED, error="not sent: what stands there could not be kept first"
                )
            elif action.after is not None and action.after in self.unsettled_archives:
                reason = self.unsettled_archives[action.after]
                self._done(
                    action,
                    status=Status.FAILED,
                    error=f"not sent: {action.after} makes this file too, and {reason}",
                )
            else:
                ready.append(_Sending(action))
        self._parallel(ready, self._upload_worker)

    def _upload_worker(self, ready: deque[_Sending]) -> None:
        """Send what is ready over one connection; after a break, go on over another."""
        while ready and not self._stop.is_set():
            flying: deque[_Sending] = deque()

            def feed(flying: deque[_Sending] = flying) -> Iterator[PublishJob]:
                while not self._stop.is_set():
                    try:
                        sending = ready.popleft()
                    except IndexError:
                        return
                    flying.append(sending)
                    yield self._job(sending)

            try:
                with self.m.pool.lease() as transport:
                    for published in transport.publish(feed()):
                        sending = flying.popleft()
                        if sending.settled or published.error is None:
                            self._sent(sending)
                        else:
                            self._failed(sending, published.error, ready)
            except TransportError as exc:
                for sending in flying:
                    self._failed(sending, exc, ready)
                if not flying and ready:
                    # No connection at all: one item pays for it, so that the retries are bounded.
                    with contextlib.suppress(IndexError):
                        self._failed(ready.popleft(), exc, ready)

    def _job(self, sending: _Sending) -> PublishJob:
        action = sending.action
        path, entry = action.path, action.entry

        def before_rename() -> None:
            now = self.m.local.current(path)
            if now is None or (now.size_bytes, now.mtime_ns) != (entry.size_bytes, entry.mtime_ns):
                raise WorldMoved(f"{path} changed here while it was sent; the next run sends the new version")
            there = self.lookout.current(path)
            if sending.tries and there is not None and same_member(there, entry):
                sending.settled = True  # an earlier try arrived, only its reply was lost
                raise WorldMoved("already there")
            if action.after is not None and (
                there is None or action.expect is None or same_member(there, action.expect)
            ):
                return
            if not same_remote(there, action.expect, step_ns=self.m.step_ns):
                raise WorldMoved(_moved_there(path, there, action.expect))

        return PublishJob(
            path=path,
            temporary=path.parent.joined(temporary_name(random_token())),
            open_source=lambda: _open(self.m.local.workspace / path),
            size_bytes=entry.size_bytes,
            mtime_ns=entry.mtime_ns,
            on_bytes=lambda size: self._moved(path, size, sent=True),
            before_rename=before_rename,
        )

    def _sent(self, sending: _Sending) -> None:
        action = sending.action
        self.lookout.changed(action.path, action.entry)
        with self._lock:
            self.sent[action.path] = action.entry
        self._done(action)

    def _failed(self, sending: _Sending, error: Exception, ready: deque[_Sending]) -> None:
        if _may_pass(error) and sending.tries < self.m.retries and not self._stop.is_set():
            sending.tries += 1
            self._pause(sending.tries)
            ready.append(sending)
            return
        if isinstance(error, WorldMoved):
            self._world_moved(sending.action, error)
        else:
            self._done(sending.action, status=Status.FAILED, error=_message(error))

    def _world_moved(self, action: Upload | Download | Delete, moved: WorldMoved) -> None:
        """Report a path that is no longer as the plan saw it; it was left alone."""
        size = action.expect.size_bytes if isinstance(action, Delete) else action.entry.size_bytes
        line = Outcome(
            action=ActionKind.CONFLICT,
            path=action.path,
            status=Status.SKIPPED,
            size_bytes=size,
            reason=str(moved),
        )
        with self._lock:
            self.outcomes.append(line)
            self.blocked[action.path] = str(moved)
        self.m.listener(line)

    def _moved(self, path: RelPath, size_bytes: int, *, sent: bool) -> None:
        with self._lock:
            if sent:
                self.bytes_sent += size_bytes
            else:
                self.bytes_received += size_bytes
        if self._stop.is_set():
            raise CutOff("interrupted", op="transfer", path=path)
        self.m.throttle(size_bytes)
        self.m.listener(Moved(path=path, size_bytes=size_bytes))

    def _rename(self, action: RenameRemote) -> None:
        self._expect_there(action.source, action.expect)
        self._expect_there(action.path, None)
        self._with_retries(lambda transport: transport.rename(action.source, action.path))
        self.lookout.changed(action.source, None)
        self.lookout.changed(action.path, action.expect)
        with self._lock:
            self.removed.append(action.source)
            self.sent[action.path] = action.entry
        self._done(action)

    # --- downloads
    def _download(self, actions: Iterable[Download]) -> None:
        ready: deque[_Fetching] = deque()
        for action in actions:
            if action.path in self.blocked:
                self._done(
                    action,
                    status=Status.FAILED,
                    error="not fetched: what stands here could not be kept first",
                )
            else:
                ready.append(_Fetching(action, self.m.local.new_temporary()))
        self._parallel(ready, self._download_worker)

    def _download_worker(self, ready: deque[_Fetching]) -> None:
        """Fetch what is ready over one connection; complete files get their names in batches, after one flush."""
        while ready and not self._stop.is_set():
            flying: deque[_Fetching] = deque()
            arrived: list[_Fetching] = []

            def feed(flying: deque[_Fetching] = flying) -> Iterator[FetchJob]:
                while not self._stop.is_set():
                    try:
                        fetching = ready.popleft()
                    except IndexError:
                        return
                    flying.append(fetching)
                    yield self._fetch_job(fetching)

            try:
                with self.m.pool.lease() as transport:
                    for fetched in transport.fetch(feed()):
                        fetching = flying.popleft()
                        if fetched.error is not None:
                            self._fetch_failed(fetching, fetched.error, ready)
                            continue
                        arrived.append(fetching)
                        if len(arrived) >= _BATCH_FILES or fetching.action.entry.size_bytes >= _BATCH_BYTES:
                            self._place(arrived)
                            arrived = []
            except TransportError as exc:
                for fetching in flying:
                    self._fetch_failed(fetching, exc, ready)
                if not flying and ready:
                    # No connection at all: one item pays for it, so that the retries are bounded.
                    with contextlib.suppress(IndexError):
                        self._fetch_failed(ready.popleft(), exc, ready)
            finally:
                self._place(arrived)
                for fetching in flying:
                    fetching.temporary.unlink(missing_ok=True)

    def _fetch_job(self, fetching: _Fetching) -> FetchJob:
        action = fetching.action
        return FetchJob(
            path=action.path,
            open_sink=lambda: fetching.temporary.open("wb", buffering=0),
            size_bytes=action.entry.size_bytes,
            on_bytes=lambda size: self._moved(action.path, size, sent=False),
        )

    def _fetch_failed(self, fetching: _Fetching, error: Exception, ready: deque[_Fetching]) -> None:
        fetching.temporary.unlink(missing_ok=True)
        if _may_pass(error) and fetching.tries < self.m.retries and not self._stop.is_set():
            fetching.tries += 1
            self._pause(fetching.tries)
            ready.append(fetching)
        else:
            self._done(fetching.action, status=Status.FAILED, error=_message(error))

    def _place(self, arrived: list[_Fetching]) -> None:
        """Give complete files their dates and, once they are on the disk, their names."""
        if not arrived:
            return
        for fetching in arrived:
            if fetching.action.entry.mtime_ns is not None:
                os.utime(
                    fetching.temporary, ns=(fetching.action.entry.mtime_ns, fetching.action.entry.mtime_ns)
                )
        self.m.local.flush()
        for fetching in arrived:
            action = fetching.action
            try:
                here = self.m.local.place(fetching.temporary, action.path, expected=action.expect)
            except WorldMoved as exc:
                self._world_moved(action, exc)
            except (IqDataError, OSError) as exc:
                self._done(action, status=Status.FAILED, error=_message(exc))
            else:
                with self._lock:
                    self.fetched[action.path] = Agreed(here, action.entry)
                self._done(action)
            finally:
                fetching.temporary.unlink(missing_ok=True)

    # --- extraction here
    def _extract_here(self, action: ExtractLocal) -> None:
        stage = self.m.local.new_temporary()
        stage.mkdir()
        try:
            self.m.extract_here(action.path, stage)
            self.m.local.flush()
            self._place_members(action, stage)
        finally:
            _remove_tree(stage)

    def _place_members(self, action: ExtractLocal, stage: Path) -> None:
        """Move the wanted members from the stage to their places; each keeps its own outcome in the message."""
        problems = []
        folder = action.path.parent
        for path, member in sorted(action.members.items()):
            source = stage / path.removeprefix(f"{folder}/")
            try:
                if member.kind is Kind.FOLDER:
                    self.m.local.make_folder(path)
                elif not source.is_symlink() and source.is_file():
                    self.m.local.make_folder(path.parent)
                    self.m.local.place(source, path, expected=action.expect.get(path))
                else:
                    problems.append(f"{path} did not come out of {action.path}")
            except (IqDataError, OSError) as exc:
                problems.append(_message(exc))
        if problems:
            self._done(action, status=Status.FAILED, error="; ".join(problems[:3]))
        else:
            self._done(action)

    # --- deletions
    def _delete(self, action: Delete) -> None:
        try:
            if action.side is Side.LOCAL:
                self.m.local.delete(action.path, expected=action.expect)
            else:
                self._expect_there(action.path, action.expect)
                self._with_retries(lambda transport: transport.remove(action.path, action.expect.kind))
                self.lookout.changed(action.path, None)
        except WorldMoved as exc:
            self._world_moved(action, exc)
            return
        self.removed.append(action.path)
        self._done(action)

    # --- shared
    def _expect_there(self, path: RelPath, expected: Entry | None) -> None:
        """Look at the space again.

        Raises:
            WorldMoved: it is not as the plan saw it.
        """
        there = self.lookout.current(path)
        if not same_remote(there, expected, step_ns=self.m.step_ns):
            raise WorldMoved(_moved_there(path, there, expected))

    def _with_retries(self, act: Callable[[Transport], T]) -> T:
        """Do one thing over a leased connection, again after failures that may pass."""
        tries = 0
        while True:
            try:
                with self.m.pool.lease() as transport:
                    return act(transport)
            except TransportError as exc:
                tries += 1
                if (
                    not (exc.retryable or isinstance(exc, CutOff))
                    or tries > self.m.retries
                    or self._stop.is_set()
                ):
                    raise
                self._pause(tries)

    def _pause(self, tries: int) -> None:
        """Wait longer after each failure, with jitter, so that many clients do not come back together."""
        self.m.sleep(min(0.25 * 2**tries, 15) * (0.5 + random.random()))  # noqa: S311  # jitter, no secret

    def _parallel(self, queue: deque[T], work: Callable[[deque[T]], None]) -> None:
        """Let as many threads as there are connections empty a queue; an interrupt stops them at their next block."""
        if not queue:
            return
        workers = min(self.m.jobs, len(queue))
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="transfer") as pool:
            try:
                for future in [pool.submit(work, queue) for _ in range(workers)]:
                    future.result()
            except BaseException:
                self._stop.set()
                raise

    # --- the base
    def _record(self) -> None:
        """Look at every folder that was written to and record what both sides now agree on."""
        agreed = dict(self.fetched)
        if self.sent:
            try:
                listed = list_folders(self.m.pool, {path.parent for path in self.sent})
            except TransportError as exc:
                self.m.listener(
                    Note(text=f"what was sent could not be looked at again ({exc}); the next run does")
                )
                listed = {}
            for path, entry in self.sent.items():
                there = listed.get(path.parent, {}).get(path)
                if there is not None and there.size_bytes == entry.size_bytes:
                    agreed[path] = Agreed(entry, there)
        with self.m.state.transaction():
            self.m.state.agree(agreed)
            self.m.state.forget(self.removed)


_BATCH_FILES = 64
_BATCH_BYTES = 8 * 1024 * 1024
"""So many small files, or one file so large, are brought to the disk by one flush before they get their names."""


def _groups(extractions: Mapping[RelPath, ExtractRemote]) -> list[list[RelPath]]:
    """Part archives into groups to be sent one after the other: two that make the same file are never in one group."""
    groups: list[tuple[set[RelPath], list[RelPath]]] = []
    for path in sorted(extractions):
        files = {item for item, entry in extractions[path].members.items() if entry.kind is Kind.FILE}
        last_clash = max(
            (index for index, (taken, _) in enumerate(groups) if not taken.isdisjoint(files)), default=-1
        )
        if last_clash + 1 == len(groups):
            groups.append((set(), []))
        taken, members = groups[last_clash + 1]
        taken |= files
        members.append(path)
    return [members for _, members in groups]


def _moved_there(path: RelPath, there: Entry | None, expected: Entry | None) -> str:
    what = "vanished from" if there is None else "appeared in" if expected is None else "changed in"
    return f"{path} {what} the space while the run was under way; left alone, the next run looks again"


def _named(action: Conflict) -> RelPath:
    if action.copy is None:
        raise WorldMoved(f"{action.path}: the plan has no name for the losing version")
    return action.copy


def _read_again(transport: Transport, path: RelPath, sink: BinaryIO) -> None:
    sink.seek(0)
    sink.truncate()
    transport.read_into(path, sink, on_bytes=lambda _size: None)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[io.FileIO]:
    with path.open("rb", buffering=0) as source:
        yield source


def _message(exc: Exception) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.strerror}: {exc.filename}" if exc.filename else exc.strerror
    return str(exc) or type(exc).__name__


def _may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed later."""
    return isinstance(error, CutOff) or (isinstance(error, TransportError) and error.retryable)


def _remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def content_hash(path: Path) -> bytes:
    """Return the SHA-256 of a local file's content."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").digest()
