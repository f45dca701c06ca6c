"""A transport that tries again: a new connection after a break, the same request after a failure that may pass.

Refuses to repeat blindly what may already have been done: after a break it looks first. Only errors that say
`retryable` are tried again, never by their text; the pauses grow and carry jitter, so that many clients do not come
back together.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from iqdata.errors import CutOff, TransportError
from iqdata.paths import RelPath
from iqdata.transports.base import (
    Capabilities,
    Connector,
    Fetched,
    FetchJob,
    Published,
    PublishJob,
    Sink,
    Source,
    Transport,
)
from iqdata.tree import Entry, Kind

T = TypeVar("T")

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 15.0


def pause_s(tries: int, draw: Callable[[], float]) -> float:
    """Return how long to wait after the `tries`-th failure; `draw` gives a number from 0 to 1."""
    return float(min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)) * (0.5 + draw())


def may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed later."""
    return isinstance(error, TransportError) and error.retryable


def connect_patiently(
    connect: Connector,
    *,
    retries: int,
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
) -> Transport:
    """Connect, again after failures that may pass."""
    tries = 0
    while True:
        try:
            return connect()
        except TransportError as exc:
            tries += 1
            if not exc.retryable or tries > retries:
                raise
            sleep(pause_s(tries, draw))


class RetryingTransport:
    """A transport over one connection at a time, replaced when it breaks; see `base.Transport` for the methods.

    Reading into a sink and writing from a source are not repeated: what has gone in or out cannot be taken back here.
    """

    def __init__(
        self,
        connect: Connector,
        *,
        retries: int,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Connect.

        Args:
            connect: opens connections.
            retries: how often one request is tried again.
            sleep: waits so many seconds.
            draw: gives numbers from 0 to 1 for the jitter.

        Raises:
            TransportError: no connection after all tries.
        """
        self._connect = connect
        self._retries = retries
        self._sleep = sleep
        self._draw = draw
        self._inner: Transport | None = connect_patiently(connect, retries=retries, sleep=sleep, draw=draw)
        self._last = self._inner
        self._closed = False

    def _now(self) -> Transport:
        """Return the connection, a new one if the last one broke."""
        if self._closed:
            raise CutOff("the connection is closed", op="connect")
        if self._inner is None:
            self._inner = self._last = self._connect()
        return self._inner

    def _drop(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def _try(
        self,
        act: Callable[[Transport], T],
        *,
        done: Callable[[Transport], T | None] = lambda _transport: None,
    ) -> T:
        """Do one thing, again after failures that may pass; `done` looks after a break whether it was done already."""
        tries = 0
        broken = False
        while True:
            try:
                transport = self._now()
                if broken:
                    already = done(transport)
                    if already is not None:
                        return already
                return act(transport)
            except TransportError as exc:
                broken = broken or isinstance(exc, CutOff)
                if isinstance(exc, CutOff):
                    self._drop()
                tries += 1
                if not exc.retryable or tries > self._retries or self._closed:
                    raise
                self._sleep(pause_s(tries, self._draw))

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers, as the last connection knew it."""
        return self._last.capabilities

    @property
    def encryption(self) -> str | None:
        """How the last connection was protected."""
        return self._last.encryption

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return the entries of one folder by base name."""
        return self._try(lambda transport: transport.list_folder(path))

    def stat(self, path: RelPath) -> Entry | None:
        """Return one entry, or None when nothing is there."""
        return self._try(lambda transport: transport.stat(path))

    def read_into(
        self, path: RelPath, sink: Sink, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy the file from `offset` to its end into `sink`, once."""
        return self._once(lambda transport: transport.read_into(path, sink, offset=offset, on_bytes=on_bytes))

    def write_from(
        self, path: RelPath, source: Source, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Write `source` to `path` from `offset` on, once."""
        return self._once(
            lambda transport: transport.write_from(path, source, offset=offset, on_bytes=on_bytes)
        )

    def _once(self, act: Callable[[Transport], T]) -> T:
        transport = self._try(lambda inner: inner)
        try:
            return act(transport)
        except CutOff:
            self._drop()
            raise

    def publish(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Upload files in the safe order; what a break leaves unknown is looked at before it is tried again."""
        feed = iter(jobs)
        due: deque[PublishJob] = deque()
        waiting: deque[PublishJob] = deque()
        agreed: set[RelPath] = set()
        arrived: set[RelPath] = set()

        def supply() -> Iterator[PublishJob]:
            for job in _chained(due, feed):
                waiting.append(job)
                if job.temporary not in arrived:
                    yield _watched(job, agreed)

        def in_order() -> Iterator[Published]:
            while waiting and waiting[0].temporary in arrived:
                yield Published(job=waiting.popleft())

        tries = 0
        while True:
            try:
                for result in self._try(lambda transport: transport).publish(supply()):
                    yield from in_order()
                    tries = 0
                    yield msgspec.structs.replace(result, job=waiting.popleft())
                yield from in_order()
                return
            except CutOff as exc:
                tries = self._after_break(exc, tries)
                due.extendleft(reversed(waiting))
                waiting.clear()
                # The rename is sent only after `before_rename`, and nobody but us removes a temporary file. So one that
                # was agreed to and is gone has got its real name, even if the space has taken the file away since.
                arrived |= {
                    job.temporary
                    for job in due
                    if job.temporary in agreed and self.stat(job.temporary) is None
                }

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
        """Download whole files; one that a break cut is fetched again, into a sink opened again."""
        feed = iter(jobs)
        due: deque[FetchJob] = deque()
        waiting: deque[FetchJob] = deque()

        def supply() -> Iterator[FetchJob]:
            for job in _chained(due, feed):
                waiting.append(job)
                yield job

        tries = 0
        while True:
            try:
                for result in self._try(lambda transport: transport).fetch(supply()):
                    waiting.popleft()
                    tries = 0
                    yield result
                return
            except CutOff as exc:
                tries = self._after_break(exc, tries)
                due.extendleft(reversed(waiting))
                waiting.clear()

    def _after_break(self, exc: CutOff, tries: int) -> int:
        """Drop the connection and wait, or raise `exc` when there have been enough tries; return how many there were."""
        self._drop()
        if not exc.retryable or tries >= self._retries or self._closed:
            raise exc
        self._sleep(pause_s(tries + 1, self._draw))
        return tries + 1

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`; after a break, a source that is gone has got it."""

        def move(transport: Transport) -> bool:
            transport.rename(source, target)
            return True

        self._try(move, done=lambda transport: transport.stat(source) is None or None)

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete one file, or one empty folder; after a break, one that is gone was deleted."""

        def delete(transport: Transport) -> bool:
            transport.remove(path, kind)
            return True

        self._try(delete, done=lambda transport: transport.stat(path) is None or None)

    def make_folder(self, path: RelPath) -> None:
        """Create one folder."""
        self._try(lambda transport: transport.make_folder(path))

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date a file."""
        return self._try(lambda transport: transport.set_mtime(path, mtime_ns))

    def checksum(self, path: RelPath, algorithm: str) -> bytes | None:
        """Return the server's own hash of a file's content."""
        return self._try(lambda transport: transport.checksum(path, algorithm))

    def abort(self) -> None:
        """Break whatever is in flight, and try nothing again."""
        self._closed = True
        inner = self._inner
        if inner is not None:
            inner.abort()

    def close(self) -> None:
        """End the connection."""
        self._closed = True
        self._drop()


Job = TypeVar("Job", PublishJob, FetchJob)


def _chained(due: deque[Job], feed: Iterator[Job]) -> Iterator[Job]:
    """Yield what is due again, then what is new; `due` may grow between."""
    while due:
        yield due.popleft()
    yield from feed


def _watched(job: PublishJob, agreed: set[RelPath]) -> PublishJob:
    """Return the job with a note taken when its rename is agreed to."""

    def before() -> None:
        job.before_rename()
        agreed.add(job.temporary)

    return msgspec.structs.replace(job, before_rename=before)


def retrying(
    connect: Connector,
    *,
    retries: int,
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
) -> Connector:
    """Return a connector whose transports try again by themselves."""
    return lambda: RetryingTransport(connect, retries=retries, sleep=sleep, draw=draw)
