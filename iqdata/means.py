"""What an execution works with: connections, the local folder, the state and clocks.

Refuses to know what is being done with them.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from iqdata.arrival import Arrivals
from iqdata.events import Listener
from iqdata.localfolder import LocalFolder
from iqdata.paths import RelPath
from iqdata.state import State
from iqdata.transports.pool import Pool

ExtractHere = Callable[[RelPath, Path], Callable[[], None]]
"""Extracts a local archive into an empty folder; raises `ArchiveError` when nothing useful came of it.

What it returns notes in the manifest what came out, to be called once the members have their places.
"""


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """The things of one run.

    Attributes:
        side_pool: connections for second looks, apart from those that are busy with transfers.
        wait: whether extractions in the space are awaited.
        retries: how often one item is tried again after a failure that may pass.
        keeps_times: whether members get the times that their archive says, as far as is known.
        throttle: told of every piece that travels; it may sleep.
    """

    pool: Pool
    side_pool: Pool
    local: LocalFolder
    state: State
    arrivals: Arrivals
    listener: Listener
    extract_here: ExtractHere
    retries: int = 3
    wait: bool = True
    step_ns: int | None = 1_000_000_000
    keeps_times: bool = True
    throttle: Callable[[int], None] = lambda _size_bytes: None
    clock: Callable[[], float] = time.monotonic


class RateLimit:
    """Lets so many bytes a second pass, over all connections of a run together."""

    def __init__(
        self,
        bytes_per_s: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s = max(1, bytes_per_s)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def __call__(self, size_bytes: int) -> None:
        """Take `size_bytes` out of the allowance, and sleep until they were due."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + size_bytes / self._bytes_per_s
            pause = self._free_at - now
        if pause > 0:
            self._sleep(pause)


def message_of(exc: Exception) -> str:
    """Return an error for people: what the system said, on what."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.strerror}: {exc.filename}" if exc.filename else exc.strerror
    return str(exc) or type(exc).__name__
