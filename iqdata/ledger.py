"""What one run has done so far: shared by its threads, told to its listener, recorded in the base at its end.

Refuses to act: `execute` and `transfers` act and write down here what came of it.
"""

import threading

from iqdata.actions import Action, Agreed, Delete, Download, Upload
from iqdata.errors import CutOff, WorldMoved
from iqdata.events import ActionKind, Event, Listener, Moved, Outcome, Status
from iqdata.outcomes import outcome_of
from iqdata.paths import RelPath
from iqdata.tree import Entry


class Ledger:
    """One run's results.

    Attributes:
        outcomes: each finished action, in the order in which it finished.
        blocked: paths with which something went wrong, and what: later actions on them are not taken.
        sent: the local entry of each file that stands in the space because of this run.
        undated: those of them that have not got the date of the local file there.
        agreed: what both sides were seen to hold because of this run.
        removed: paths that are gone because of this run.
        stop: set when the run is to end: transfers break off at their next block.
    """

    def __init__(self, listener: Listener) -> None:
        self.outcomes: list[Outcome] = []
        self.blocked: dict[RelPath, str] = {}
        self.sent: dict[RelPath, Entry] = {}
        self.undated: set[RelPath] = set()
        self.agreed: dict[RelPath, Agreed] = {}
        self.removed: list[RelPath] = []
        self.bytes_sent = 0
        self.bytes_received = 0
        self.stop = threading.Event()
        self._listener = listener
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Pass an event on to whoever watches the run."""
        self._listener(event)

    def done(self, action: Action, *, status: Status = Status.DONE, error: str | None = None) -> None:
        """Write down how an action ended."""
        self._write(outcome_of(action, status, error=error))

    def failed(self, action: Action, error: str) -> None:
        """Write down that an action failed; nothing else touches its path in this run."""
        self.blocked[action.path] = error
        self.done(action, status=Status.FAILED, error=error)

    def world_moved(self, action: Upload | Download | Delete, moved: WorldMoved) -> None:
        """Write down a path that is no longer as the plan saw it; it was left alone."""
        size = action.expect.size_bytes if isinstance(action, Delete) else action.entry.size_bytes
        self.blocked[action.path] = str(moved)
        self._write(
            Outcome(
                action=ActionKind.CONFLICT,
                path=action.path,
                status=Status.SKIPPED,
                size_bytes=size,
                reason=str(moved),
            )
        )

    def _write(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
        self._listener(outcome)

    def agree(self, path: RelPath, agreed: Agreed) -> None:
        """Write down what both sides were seen to hold."""
        with self._lock:
            self.agreed[path] = agreed

    def count_bytes(self, path: RelPath, size_bytes: int, *, of_bytes: int, sent: bool) -> None:
        """Count bytes that have travelled, of `of_bytes` that the file has.

        Raises:
            CutOff: the run is to end.
        """
        with self._lock:
            if sent:
                self.bytes_sent += size_bytes
            else:
                self.bytes_received += size_bytes
        if self.stop.is_set():
            raise CutOff("interrupted", op="transfer", path=path)
        self._listener(Moved(path=path, size_bytes=size_bytes, of_bytes=of_bytes))
