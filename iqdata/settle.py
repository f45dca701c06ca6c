"""Changes and a clock value → the paths that have come to rest.

Refuses to look at files: events come in as values, and whoever asks says what time it is.
"""

import dataclasses
import enum
from collections.abc import Callable, Container

from iqdata.paths import RelPath


class Hint(enum.Enum):
    """What an event says of a path; a hint only, the scan that follows is the truth."""

    WRITTEN = "written"  # created or its content changed, and the writer may have it open still
    CLOSED = "closed"  # a writer has closed it
    PLACED = "placed"  # renamed, deleted, dated: there is no writer to wait for


@dataclasses.dataclass(slots=True)
class _Unsettled:
    since: float
    writing: bool


class Settling:
    """Paths with events, until nothing has happened to them for `settle_s` and no writer is known to be at work."""

    def __init__(self, *, settle_s: float) -> None:
        self._settle_s = settle_s
        self._waiting: dict[RelPath, _Unsettled] = {}

    def note(self, path: RelPath, hint: Hint, *, now: float) -> None:
        """Take in one event."""
        known = self._waiting.get(path)
        if known is None:
            self._waiting[path] = _Unsettled(now, hint is Hint.WRITTEN)
            return
        known.since = now
        known.writing = hint is Hint.WRITTEN

    def due(self, now: float, *, open_paths: Callable[[], Container[RelPath]]) -> set[RelPath]:
        """Return the paths at rest and forget them.

        Args:
            now: the clock of the events.
            open_paths: which files somebody has open for writing; asked only when a file is due that was written to
                and not closed since. One that is open waits for its next event or the next question.
        """
        quiet = [
            (path, known) for path, known in self._waiting.items() if now - known.since >= self._settle_s
        ]
        is_open = open_paths() if any(known.writing for _, known in quiet) else ()
        ready = set()
        for path, known in quiet:
            if known.writing and path in is_open:
                known.since = now
                continue
            ready.add(path)
            del self._waiting[path]
        return ready

    def next_due(self, now: float) -> float | None:
        """Return in how many seconds `due` may have something, or None when nothing waits."""
        if not self._waiting:
            return None
        return max(0.0, min(known.since for known in self._waiting.values()) + self._settle_s - now)
