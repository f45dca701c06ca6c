"""What a run says while it works, and what it leaves: the values behind `--json` and the progress bars.

Refuses to print: a `Listener` gets the values and decides.
"""

import enum
from collections.abc import Callable

import msgspec

from iqdata.paths import RelPath


class ActionKind(enum.Enum):
    """The words of `"action"` in JSON Lines. Source: the command-line contract."""

    UPLOAD = "upload"
    DOWNLOAD = "download"
    DELETE_REMOTE = "delete-remote"
    DELETE_LOCAL = "delete-local"
    EXTRACT_REMOTE = "extract-remote"
    EXTRACT_LOCAL = "extract-local"
    MKDIR = "mkdir"
    SET_MTIME = "set-mtime"
    CONFLICT = "conflict"
    SKIP = "skip"


class Status(enum.Enum):
    """How an action stands."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Via(enum.Enum):
    """How bytes travelled: one by one, or many small files as one archive that the space extracts."""

    FILE = "file"
    BUNDLE = "bundle"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One finished (or planned) action; one line of JSON output."""

    action: ActionKind
    path: RelPath
    status: Status
    size_bytes: int = 0
    via: Via | None = None
    reason: str | None = None
    error: str | None = None


class Totals(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a run is about to move, so that a bar knows its length."""

    files: int
    size_bytes: int


class Moved(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Bytes of one transfer that have just travelled: `size_bytes` since the last such event, of `of_bytes` in all."""

    path: RelPath
    size_bytes: int
    of_bytes: int = 0


class Note(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sentence for people: what the run is doing or has noticed."""

    text: str


Event = Outcome | Totals | Moved | Note
Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A listener that listens to nothing."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run did, in the order in which it finished."""

    outcomes: tuple[Outcome, ...] = ()
    unchanged: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    elapsed_s: float = 0.0
    refused: bool = False

    def count(self, *kinds: ActionKind, status: Status = Status.DONE) -> int:
        """Return how many actions of these kinds ended with `status`."""
        return sum(1 for outcome in self.outcomes if outcome.action in kinds and outcome.status is status)

    @property
    def failed(self) -> int:
        """How many actions failed, of any kind."""
        return sum(1 for outcome in self.outcomes if outcome.status is Status.FAILED)

    @property
    def conflicts(self) -> int:
        """How many paths both sides changed."""
        return sum(1 for outcome in self.outcomes if outcome.action is ActionKind.CONFLICT)

    @property
    def exit_code(self) -> int:
        """0, or 1 when something failed or conflicts, or 4 when the run was refused."""
        if self.refused:
            return 4
        return 1 if self.failed or self.conflicts else 0
