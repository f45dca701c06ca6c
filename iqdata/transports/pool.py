"""Connections to one space, lent one thread at a time; a broken one is thrown away, another is opened when needed.

Refuses to retry: whoever leases decides what a failure means.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from iqdata.errors import CutOff
from iqdata.transports.base import Connector, Transport


class Pool:
    """At most `limit` connections at once; they are opened only when a thread has to wait otherwise."""

    def __init__(self, connect: Connector, *, limit: int) -> None:
        self._connect = connect
        self._idle: list[Transport] = []
        self._slots = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._closed = False
        self.limit = limit

    @contextmanager
    def lease(self) -> Iterator[Transport]:
        """Lend a connection for the block. After `CutOff`, or any exception that is no item's fault, it is discarded.

        Raises:
            TransportError: no connection could be opened.
        """
        with self._slots:
            with self._lock:
                transport = self._idle.pop() if self._idle else None
            if transport is None:
                transport = self._connect()
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
                with self._lock:
                    keep = healthy and not self._closed
                    if keep:
                        self._idle.append(transport)
                if not keep:
                    transport.close()

    def close(self) -> None:
        """Close the idle connections; those on loan are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for transport in idle:
            transport.close()
