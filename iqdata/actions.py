"""The values of a sync: what a plan is made from, what it may say, and what each action expects to find.

Refuses to decide and to act: `plan` decides, `execute` acts.
"""

import enum
from collections.abc import Iterator, Mapping

import msgspec

from iqdata.paths import RelPath
from iqdata.tree import Entry, Tree


class Direction(enum.Enum):
    """Which side follows which."""

    PUSH = "push"
    PULL = "pull"
    BOTH = "sync"


class Side(enum.Enum):
    """One of the two trees."""

    LOCAL = "local"
    REMOTE = "remote"


class ConflictPolicy(enum.Enum):
    """Who wins when both sides changed a path; the words of `--conflict`."""

    KEEP_BOTH = "keep-both"
    NEWER = "newer"
    LOCAL = "local"
    REMOTE = "remote"


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What the space does with an archive, as far as a plan depends on it."""

    extracts: bool = True
    keeps_archive: bool = True
    overwrites: bool = True


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        extract_local: whether derived files are made here, by extracting the local archive.
        checksum: whether files of equal size are compared by content even where base and dates say they are equal.
        label: who and when, for the names of conflict copies.
    """

    direction: Direction
    delete: bool = False
    conflict: ConflictPolicy = ConflictPolicy.KEEP_BOTH
    extract_local: bool = True
    checksum: bool = False
    label: str = ""

    @property
    def sends(self) -> bool:
        """Whether the space may be changed."""
        return self.direction is not Direction.PULL

    @property
    def receives(self) -> bool:
        """Whether the workspace may be changed."""
        return self.direction is not Direction.PUSH


class Agreed(msgspec.Struct, frozen=True, gc=False):
    """One row of the base: how a path looked on each side when both were last known to be equal."""

    local: Entry | None
    remote: Entry | None


class ArchiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one local archive.

    Attributes:
        members: what extraction makes of the content it has now; paths from the workspace, folders included.
        produced: what its last extraction left here, of whatever generation.
        published: what its last confirmed extraction left in the space, of whatever generation.
        current_there: whether this very content was published and its extraction has been waited for.
        awaited: whether this very content was published, or was about to be, and its extraction was not seen to end.
        sent: whether it is known to have been published.
        resend: whether it was to be published once more, unchanged, and may not have been.
        unreadable: why it must not be sent (cut, damaged), or None.
        inert: whether it only has an archive's name: the space's tool will find nothing in it.
    """

    members: Mapping[RelPath, Entry] = msgspec.field(default_factory=dict)
    produced: Mapping[RelPath, Entry] = msgspec.field(default_factory=dict)
    published: Mapping[RelPath, Entry] = msgspec.field(default_factory=dict)
    current_there: bool = False
    awaited: bool = False
    sent: bool = False
    resend: bool = False
    unreadable: str | None = None
    inert: bool = False


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan is made from.

    Attributes:
        archives: facts about every local file to which a rule applies.
        departed: archives that are gone here, with what their last confirmed extraction left in the space.
        same_content: for paths whose equality only content could tell: whether they are equal.
        step_ns: precision of the remote side's times; None where its times mean nothing.
    """

    local: Tree
    remote: Tree
    base: Mapping[RelPath, Agreed] = msgspec.field(default_factory=dict)
    archives: Mapping[RelPath, ArchiveFacts] = msgspec.field(default_factory=dict)
    departed: Mapping[RelPath, Mapping[RelPath, Entry]] = msgspec.field(default_factory=dict)
    same_content: Mapping[RelPath, bool] = msgspec.field(default_factory=dict)
    step_ns: int | None = 1_000_000_000
    habits: Habits = Habits()


# --- Actions ------------------------------------------------------------------------------------------------------


class MakeFolder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Create a folder on one side; its parent comes earlier in the plan or exists."""

    path: RelPath
    side: Side


class Upload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Send a local file. `expect` is the remote entry that it replaces, None for a free path.

    `after` is the archive whose extraction in the space must have ended before this file may follow.
    """

    path: RelPath
    entry: Entry
    expect: Entry | None
    reason: str
    after: RelPath | None = None


class Download(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Fetch a remote file. `expect` is the local entry that it replaces, None for a free path."""

    path: RelPath
    entry: Entry
    expect: Entry | None
    reason: str


class RenameRemote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Give a remote file the name that its local twin got. `entry` is the local one, `expect` what stands at `source`."""

    source: RelPath
    path: RelPath
    entry: Entry
    expect: Entry


class Delete(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Remove a file or an empty folder on one side, if it still is `expect`."""

    path: RelPath
    side: Side
    expect: Entry
    reason: str


class ExtractRemote(msgspec.Struct, frozen=True, kw_only=True):
    """Wait until the space has extracted an archive, and check what it left against `members`."""

    path: RelPath
    entry: Entry
    members: Mapping[RelPath, Entry]
    inert: bool = False


class ExtractLocal(msgspec.Struct, frozen=True, kw_only=True):
    """Extract a local archive and place the `members` named; `expect` has the local entries that they replace."""

    path: RelPath
    entry: Entry
    members: Mapping[RelPath, Entry]
    expect: Mapping[RelPath, Entry]


class Keep(enum.Enum):
    """How the loser of a conflict is kept."""

    BESIDE = "beside"  # under a conflict name on its own side
    TRASH = "trash"  # in the workspace's trash
    AS_IS = "as-is"  # nothing is replaced


class Conflict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Both sides changed. The loser is kept before anything else touches the path; `copy` is its new name."""

    path: RelPath
    loser: Side
    keep: Keep
    expect: Entry
    reason: str
    copy: RelPath | None = None


class Skip(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Nothing is done and somebody should know why. `failed` makes it a failure rather than a remark."""

    path: RelPath
    reason: str
    failed: bool = False


Action = (
    MakeFolder | Upload | Download | RenameRemote | Delete | ExtractRemote | ExtractLocal | Conflict | Skip
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will do, in the order in which it may be done, and what it learnt without doing anything.

    Attributes:
        adopted: paths found equal that the base does not have so: to be recorded, nothing to be moved.
        forgotten: paths that are gone on both sides.
        unchanged: files that need nothing.
        notes: sentences for people.
    """

    actions: tuple[Action, ...] = ()
    adopted: Mapping[RelPath, Agreed] = msgspec.field(default_factory=dict)
    forgotten: tuple[RelPath, ...] = ()
    unchanged: int = 0
    notes: tuple[str, ...] = ()

    def of(self, *kinds: type) -> Iterator[Action]:
        """Yield the actions of these kinds, in order."""
        return (action for action in self.actions if isinstance(action, kinds))
