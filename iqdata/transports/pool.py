"""Connections to one space, lent one thread at a time; a broken one is thrown away, another is opened when needed.

What is lent is never retried: whoever leases decides what a failure means. What is asked (`ask`) is, where it may pass. The
pool learns how many connections the server takes: one that is refused while others are open lowers the limit, and its
thread waits for one of those.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from iqdata.errors import ConnectFailed, CutOff, TooManyConnections, TransportError
from iqdata.transports.base import Connector, Transport
from iqdata.transports.retry import may_pass, pause_s

T = TypeVar("T")

_NAP_S = 0.2
"""A pause goes in naps, so that the end of the pool ends it too."""


class Pool:
    """At most `limit` connections at once; they are opened only when a thread has to wait otherwise."""

    def __init__(
        self,
        connect: Connector,
        *,
        limit: int,
        enough: int | None = None,
        on_limit: Callable[[int], None] = lambda _limit: None,
        retries: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare an empty pool.

        Args:
            connect: opens one more connection.
            limit: how many may be open at once.
            enough: from this many on, one more is welcome and not needed: whatever keeps it from opening is no failure.
            on_limit: told once how many the server takes, when that is fewer.
            retries: how often a thing that is asked is tried again.
            sleep: waits so many seconds.
        """
        self._connect = connect
        self._on_limit = on_limit
        self._enough = enough
        self._retries = retries
        self._sleep = sleep
        self._reached = False  # a connection stood once
        self._idle: list[Transport] = []
        self._lent: set[Transport] = set()
        self._open = 0
        self._changed = threading.Condition()
        self._closed = False
        self.limit = limit

    @contextmanager
    def lease(self) -> Iterator[Transport]:
        """Lend a connection for the block. After `CutOff`, or any exception that is no item's fault, it is discarded.

        Raises:
            TransportError: no connection could be opened.
        """
        transport = self._take()
        healthy = False
        try:
            yield transport
            healthy = True
        except CutOff:
            raise
        except Exception:
            healthy = True
            raise
        finally:
            self._give_back(transport, healthy=healthy)

    def ask(self, act: Callable[[Transport], T]) -> T:
        """Do one thing that may be done twice over a leased connection, again after failures that may pass.

        Raises:
            TransportError: it failed for good; at once where no connection has ever stood: then there is no server.
        """
        tries = 0
        while True:
            try:
                with self.lease() as transport:
                    return act(transport)
            except TransportError as exc:
                tries += 1
                hopeless = self._closed or (isinstance(exc, ConnectFailed) and not self._reached)
                if hopeless or not may_pass(exc) or tries > self._retries:
                    raise
            self.pause(tries)

    def pause(self, tries: int) -> None:
        """Wait longer after each failure, with jitter, so that many clients do not come back together."""
        left = pause_s(tries, random.random)
        while left > 0 and not self._closed:
            self._sleep(min(left, _NAP_S))
            left -= _NAP_S

    @contextmanager
    def spare(self) -> Iterator[Transport | None]:
        """Lend a connection that nobody else needs now, or None: whoever holds one already must not wait for another."""
        with self._changed:
            free = bool(self._idle) or self._open < self.limit
            transport = self._idle.pop() if self._idle else None
            if transport is not None:
                self._lent.add(transport)
            elif free:
                self._open += 1
        if transport is None and free:
            transport = self._open_one()
        if transport is None:
            yield None
            return
        healthy = False
        try:
            yield transport
            healthy = True
        finally:
            self._give_back(transport, healthy=healthy)

    def _open_one(self) -> Transport | None:
        """Open a connection for which a place has been taken; None, and the place given up, when the server has enough."""
        try:
            transport = self._connect()
        except BaseException as exc:
            with self._changed:
                self._open -= 1
                self._changed.notify()
                others = self._open
                learnt = others > 0 and (
                    isinstance(exc, TooManyConnections) or self._can_do_without(exc, others)
                )
                news = learnt and others < self.limit
                if news:
                    self.limit = others
            if not learnt:
                raise
            if news:
                self._on_limit(others)
            return None
        with self._changed:
            self._reached = True
            self._lent.add(transport)
        return transport

    def _can_do_without(self, exc: BaseException, others: int) -> bool:
        return (
            self._enough is not None
            and others >= self._enough
            and isinstance(exc, ConnectFailed)
            and exc.retryable
        )

    def _take(self) -> Transport:
        """Return an idle connection, a new one, or wait for one to come back."""
        while True:
            with self._changed:
                while not self._idle and self._open >= self.limit and not self._closed:
                    self._changed.wait()
                if self._closed:
                    raise CutOff("the run is to end", op="connect")
                if self._idle:
                    transport = self._idle.pop()
                    self._lent.add(transport)
                    return transport
                self._open += 1
            opened = self._open_one()
            if opened is not None:
                return opened

    def _give_back(self, transport: Transport, *, healthy: bool) -> None:
        with self._changed:
            self._lent.discard(transport)
            keep = healthy and not self._closed
            if keep:
                self._idle.append(transport)
        if not keep:
            transport.close()
        with self._changed:
            self._open -= not keep
            self._changed.notify()

    def abort(self) -> None:
        """Break all that is in flight, from any thread, and lend no more; the threads' calls end with `CutOff`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            lent = list(self._lent)
        for transport in lent:
            transport.abort()

    def close(self) -> None:
        """Close the idle connections; those on loan are closed when they come back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for transport in idle:
            transport.close()
