"""What stands at a path of the space right now, for the second look just before something is replaced or deleted.

Refuses to answer from memory older than `fresh_s`: one listing serves all files of a folder that are due within it.
"""

import threading
from collections.abc import Callable

from iqdata.errors import Missing
from iqdata.paths import RelPath
from iqdata.transports.pool import Pool
from iqdata.tree import Entry


class Lookout:
    """Fresh listings of single folders, shared by the threads of a run.

    A file's own look-up costs a round trip each; a folder's listing costs one for all its files. So the first few
    questions about a folder are answered one by one, and a listing is made once there are more.
    """

    _SINGLE_LOOKS = 3

    def __init__(self, pool: Pool, *, clock: Callable[[], float], fresh_s: float = 1.0) -> None:
        self._pool = pool
        self._clock = clock
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._folder_locks: dict[RelPath, threading.Lock] = {}
        self._asked: dict[RelPath, int] = {}
        self._listed: dict[RelPath, tuple[float, dict[str, Entry]]] = {}

    def current(self, path: RelPath) -> Entry | None:
        """Return what stands at `path`, at most `fresh_s` ago.

        Raises:
            TransportError: the space could not be asked.
        """
        folder = path.parent
        with self._lock:
            asked = self._asked[folder] = self._asked.get(folder, 0) + 1
            folder_lock = self._folder_locks.setdefault(folder, threading.Lock())
        if asked <= self._SINGLE_LOOKS:
            with self._pool.lease() as transport:
                return transport.stat(path)
        seen = self._listed.get(folder)
        age_s = self._clock() - seen[0] if seen is not None else self._fresh_s
        if seen is not None and age_s < self._fresh_s / 2:
            return seen[1].get(path.name)
        # One thread lists again before the answers are too old; the others go on with what is known as long as they may.
        if not folder_lock.acquire(blocking=seen is None or age_s >= self._fresh_s):
            return seen[1].get(path.name) if seen is not None else None
        try:
            seen = self._listed.get(folder)
            if seen is None or self._clock() - seen[0] > self._fresh_s / 2:
                asked_at = self._clock()
                try:
                    with self._pool.lease() as transport:
                        entries = dict(transport.list_folder(folder))
                except Missing:
                    entries = {}
                seen = self._listed[folder] = (asked_at, entries)
        finally:
            folder_lock.release()
        return seen[1].get(path.name)

    def changed(self, path: RelPath, entry: Entry | None) -> None:
        """Note what this run itself has put at a path (or removed from it), so that the cached listing stays true."""
        seen = self._listed.get(path.parent)
        if seen is None:
            return
        if entry is None:
            seen[1].pop(path.name, None)
        else:
            seen[1][path.name] = entry
