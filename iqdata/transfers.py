"""Uploads and downloads of a plan, several at once: each worker has a connection and takes what is next in the queue.

Refuses to replace what is not as the plan saw it: a second look comes just before the rename, on either side.
"""

import abc
import contextlib
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from iqdata import bigfiles
from iqdata.actions import Agreed, Download, Upload
from iqdata.compare import same_member, same_remote
from iqdata.errors import IqDataError, TransportError, WorldMoved
from iqdata.ledger import Ledger
from iqdata.localfolder import random_token
from iqdata.lookout import Lookout
from iqdata.means import Means, message_of
from iqdata.paths import RelPath
from iqdata.rules import temporary_name
from iqdata.sweep import discard
from iqdata.transports.base import Fetched, FetchJob, Published, PublishJob, Transport
from iqdata.transports.retry import may_pass
from iqdata.tree import Entry

_BATCH_FILES = 64
_BATCH_BYTES = 8 * 1024 * 1024
"""So many small files, or one file so large, are brought to the disk by one flush before they get their names."""


class Sending(msgspec.Struct, gc=False):
    """One upload on its way.

    Attributes:
        temporary: the name its last try uses in the space until it is complete.
        settled: an earlier try arrived, only its reply was lost.
    """

    action: Upload
    tries: int = 0
    temporary: RelPath | None = None
    settled: bool = False


class Fetching(msgspec.Struct):
    """One download on its way, and where its bytes go until it is complete."""

    action: Download
    temporary: Path
    tries: int = 0


Item = TypeVar("Item", Sending, Fetching)
Job = TypeVar("Job", PublishJob, FetchJob)
Result = TypeVar("Result", Published, Fetched)


class Lane(abc.ABC, Generic[Item, Job, Result]):
    """A queue of transfers of one direction, emptied by as many workers as there are connections.

    A worker hands the transport an endless supply of jobs, so that an adapter may overlap them; after a break it goes on
    over a new connection, and what was under way is tried again a bounded number of times.
    """

    def __init__(self, means: Means, ledger: Ledger) -> None:
        self.m = means
        self.ledger = ledger

    @abc.abstractmethod
    def job(self, item: Item) -> Job:
        """Return what the transport is to do."""

    @abc.abstractmethod
    def travel(self, transport: Transport, jobs: Iterator[Job]) -> Iterator[Result]:
        """Hand the jobs to the transport."""

    @abc.abstractmethod
    def arrived(self, item: Item, result: Result) -> bool:
        """Take in a result; False when it is a failure after all."""

    def rest(self) -> None:  # optional
        """Finish what a worker holds back; called when its connection ends."""

    def broke(self, item: Item) -> None:  # optional
        """Note that the connection broke while this item was under way."""

    @abc.abstractmethod
    def give_up(self, item: Item, error: Exception) -> None:
        """Report an item that failed for good."""

    def empty(self, ready: deque[Item]) -> None:
        """Transfer everything in the queue.

        An interrupt breaks transfers off at their next block and is raised again once all workers have stopped.
        """
        if not ready:
            return
        workers = min(self.m.pool.limit, len(ready))
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="transfer") as pool:
            try:
                for future in [pool.submit(self._work, ready) for _ in range(workers)]:
                    future.result()
            except BaseException:
                self.ledger.stop.set()
                # A worker may wait for a silent server: only breaking its connection ends it at once.
                self.m.pool.abort()
                raise

    def counter(self, action: Upload | Download, *, sent: bool) -> Callable[[int], None]:
        """Return what a transport tells of every piece of one file."""

        def count(size_bytes: int) -> None:
            self.m.throttle(size_bytes)
            self.ledger.count_bytes(action.path, size_bytes, of_bytes=action.entry.size_bytes, sent=sent)

        return count

    def _work(self, ready: deque[Item]) -> None:
        while ready and not self.ledger.stop.is_set():
            flying: deque[Item] = deque()
            try:
                with self.m.pool.lease() as transport:
                    for result in self.travel(transport, self._feed(ready, flying)):
                        item = flying.popleft()
                        if not self.arrived(item, result):
                            self._failed(item, result.error or TransportError("no result"), ready)
            except TransportError as exc:
                if not flying:
                    # No connection at all: one item pays for it, so that the tries are bounded.
                    with contextlib.suppress(IndexError):
                        flying.append(ready.popleft())
                for item in flying:
                    self.broke(item)
                    self._failed(item, exc, ready)
            finally:
                self.rest()

    def _feed(self, ready: deque[Item], flying: deque[Item]) -> Iterator[Job]:
        while not self.ledger.stop.is_set():
            try:
                item = ready.popleft()
            except IndexError:
                return
            flying.append(item)
            yield self.job(item)

    def _failed(self, item: Item, error: Exception, ready: deque[Item]) -> None:
        if may_pass(error) and item.tries < self.m.retries and not self.ledger.stop.is_set():
            item.tries += 1
            self.m.pool.pause(item.tries)
            ready.append(item)
        elif not self.ledger.stop.is_set():
            # What an interrupt broke off has not failed: the next run goes on with it.
            self.give_up(item, error)


class Uploads(Lane[Sending, PublishJob, Published]):
    """Local files on their way to the space."""

    def __init__(self, means: Means, ledger: Ledger, lookout: Lookout) -> None:
        super().__init__(means, ledger)
        self.lookout = lookout
        self.broken: list[RelPath] = []

    def send(self, actions: Iterable[Upload]) -> None:
        """Send files; what becomes of each is in the ledger."""
        try:
            self.empty(deque(Sending(action) for action in actions))
        finally:
            broken, self.broken = self.broken, []
            if not self.ledger.stop.is_set():
                discard(self.m.side_pool, broken)

    def broke(self, item: Sending) -> None:
        """Note a temporary name whose connection broke: what stands there is nobody's, unless it can be gone on with."""
        if item.temporary is not None and item.action.entry.size_bytes < bigfiles.BIG_BYTES:
            self.broken.append(item.temporary)

    def job(self, item: Sending) -> PublishJob:
        """Return the upload with its second look just before the rename."""
        action = item.action
        path, entry = action.path, action.entry
        token = random_token()
        if entry.size_bytes >= bigfiles.BIG_BYTES:
            token = bigfiles.token_of(self.m.state.space, path, entry)
        item.temporary = path.parent.joined(temporary_name(token))
        return PublishJob(
            path=path,
            temporary=item.temporary,
            open_source=lambda: io.FileIO(f"{self.m.local.workspace}/{path}"),
            size_bytes=entry.size_bytes,
            mtime_ns=entry.mtime_ns,
            on_bytes=self.counter(action, sent=True),
            before_rename=lambda: self._look_again(item),
        )

    def _look_again(self, item: Sending) -> None:
        """Check both sides.

        Raises:
            WorldMoved: one is not as the plan saw it.
        """
        action = item.action
        path, entry, expected = action.path, action.entry, action.expect
        now = self.m.local.current(path)
        if now is None or (now.size_bytes, now.mtime_ns) != (entry.size_bytes, entry.mtime_ns):
            raise WorldMoved(f"{path} changed here while it was sent; the next run sends the new version")
        there = self.lookout.current(path)
        if (
            item.tries
            and there is not None
            and same_member(there, entry)
            # An archive that is sent again, unchanged, looks as if it had arrived before it has.
            and not (expected is not None and same_member(expected, entry))
        ):
            item.settled = True
            raise WorldMoved("already there")
        if action.after is not None and (there is None or expected is None or same_member(there, expected)):
            return
        if not same_remote(there, expected, step_ns=self.m.step_ns):
            raise moved_there(path, there, expected)

    def travel(self, transport: Transport, jobs: Iterator[PublishJob]) -> Iterator[Published]:
        """Publish small files as the adapter likes best, and each big one so that it can be gone on with."""
        for is_big, group in itertools.groupby(jobs, key=lambda job: job.size_bytes >= bigfiles.BIG_BYTES):
            if is_big:
                for job in group:
                    yield bigfiles.publish(transport, job)
            else:
                yield from transport.publish(group)

    def arrived(self, item: Sending, result: Published) -> bool:
        """Note a file that stands in the space."""
        if result.error is not None and not item.settled:
            return False
        action = item.action
        self.lookout.changed(action.path, action.entry)
        self.ledger.sent[action.path] = action.entry
        if not result.dated:
            self.ledger.undated.add(action.path)
        self.ledger.done(action)
        return True

    def give_up(self, item: Sending, error: Exception) -> None:
        """Report an upload that failed."""
        if isinstance(error, WorldMoved):
            self.ledger.world_moved(item.action, error)
        else:
            self.ledger.failed(item.action, message_of(error))


class Downloads(Lane[Fetching, FetchJob, Fetched]):
    """Remote files on their way to the workspace."""

    def __init__(self, means: Means, ledger: Ledger) -> None:
        super().__init__(means, ledger)
        self._complete: deque[Fetching] = deque()
        self._parts: dict[RelPath, Path] = {}

    def fetch(self, actions: Iterable[Download]) -> None:
        """Fetch files; what becomes of each is in the ledger."""
        items = deque(Fetching(action, self._temporary(action)) for action in actions)
        self._parts = {item.action.path: item.temporary for item in items}
        self.empty(items)

    def _temporary(self, action: Download) -> Path:
        if action.entry.size_bytes < bigfiles.BIG_BYTES:
            return self.m.local.new_temporary()
        return self.m.local.resumable_temporary(
            bigfiles.token_of(self.m.state.space, action.path, action.entry)
        )

    def job(self, item: Fetching) -> FetchJob:
        """Return the download into its temporary file."""
        action = item.action
        return FetchJob(
            path=action.path,
            open_sink=lambda: io.FileIO(item.temporary, "wb"),
            size_bytes=action.entry.size_bytes,
            on_bytes=self.counter(action, sent=False),
        )

    def travel(self, transport: Transport, jobs: Iterator[FetchJob]) -> Iterator[Fetched]:
        """Fetch small files as the adapter likes best, and each big one so that it can be gone on with."""
        for is_big, group in itertools.groupby(jobs, key=_is_big):
            if is_big:
                for job in group:
                    yield bigfiles.fetch(transport, job, self._parts[job.path], pool=self.m.pool)
            else:
                yield from transport.fetch(group)

    def arrived(self, item: Fetching, result: Fetched) -> bool:
        """Hold a complete file back until a batch of them is brought to the disk."""
        if result.error is not None:
            return False
        self._complete.append(item)
        if len(self._complete) >= _BATCH_FILES or item.action.entry.size_bytes >= _BATCH_BYTES:
            self.rest()
        return True

    def rest(self) -> None:
        """Give complete files their dates and, once they are on the disk, their names."""
        batch: list[Fetching] = []
        with contextlib.suppress(IndexError):
            while True:
                batch.append(self._complete.popleft())
        if not batch:
            return
        for item in batch:
            mtime_ns = item.action.entry.mtime_ns
            if mtime_ns is not None:
                os.utime(item.temporary, ns=(mtime_ns, mtime_ns))
        self.m.local.flush()
        for item in batch:
            self._place(item)

    def _place(self, item: Fetching) -> None:
        action = item.action
        try:
            here = self.m.local.place(item.temporary, action.path, expected=action.expect)
        except (IqDataError, OSError) as exc:
            self.give_up(item, exc)
        else:
            self.ledger.agree(action.path, Agreed(here, action.entry))
            self.ledger.done(action)

    def give_up(self, item: Fetching, error: Exception) -> None:
        """Report a download that failed, and remove what came of it unless the next run can go on with it."""
        if not (may_pass(error) and item.action.entry.size_bytes >= bigfiles.BIG_BYTES):
            item.temporary.unlink(missing_ok=True)
        if isinstance(error, WorldMoved):
            self.ledger.world_moved(item.action, error)
        else:
            self.ledger.failed(item.action, message_of(error))


def _is_big(job: FetchJob) -> bool:
    return (job.size_bytes or 0) >= bigfiles.BIG_BYTES


def moved_there(path: RelPath, there: Entry | None, expected: Entry | None) -> WorldMoved:
    """Return the error for a path of the space that is not as the plan saw it."""
    what = "vanished from" if there is None else "appeared in" if expected is None else "changed in"
    return WorldMoved(
        f"{path} {what} the space while the run was under way; left alone, the next run looks again"
    )
