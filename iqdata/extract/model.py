"""The values that pass between reading, planning and writing; the plan is what `preview` prints and `extract` runs.

Refuses to touch files.
"""

import enum
from collections.abc import Sequence

import msgspec

from iqdata.paths import RelPath
from iqdata.rules import Tool


class ArchiveStatus(enum.Enum):
    """The words of `"status"` in preview's JSON and in the extraction log."""

    OK = "ok"
    NO_RULE = "no-rule"
    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    UNSAFE = "unsafe"
    UNSUPPORTED = "unsupported"
    TOO_LARGE = "too-large"


class MemberKind(enum.Enum):
    """The words of `"type"` in preview's JSON."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


class Engine(enum.Enum):
    """The words of `--engine`: who decodes."""

    AUTO = "auto"  # portable, and native where that can do more or is faster
    PORTABLE = "portable"  # our readers and the libraries' decoders
    NATIVE = "native"  # the real tar and 7zz, in a folder of their own


class PlannedEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One path that extraction will produce, or will refuse to.

    A `msgspec.Struct` and not a dataclass: an archive may hold a million, and this one is built five times as fast.

    Attributes:
        path: where it lands, relative to the folder that the archive lies in.
        size_bytes: of the content once decoded; None where only decoding tells (gzip's field counts modulo 4 GiB).
        mode: permission bits that the tool leaves (umask 022 applied), or None for the default.
        mtime_ns: the time that the tool leaves; None leaves the time of extraction.
        target: of a link, as it will stand on disk.
        refused: why this entry is not made; None when it is.
    """

    path: RelPath
    kind: MemberKind
    size_bytes: int | None = 0
    mode: int | None = None
    mtime_ns: int | None = None
    target: str | None = None
    refused: str | None = None


class SkippedMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member for which the tool has no path at all (`../x` for tar): never joined to a folder, only shown."""

    name: str
    reason: str


class ExtractionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a server's tool makes of one archive. Entries are unique by path, in the order in which they are made.

    Attributes:
        tool: None when no rule applies to the name.
        rule: the rule in words, None when none applies.
        total_bytes: of all entries that will be made.
        warnings: whole sentences, each with what to do.
        assumed: the tool and version that the plan models ("GNU tar 1.34").
        skipped: members that the tool cannot place anywhere.
        content: what the file really holds ("gzip", "tar in xz"), None where that is unknown.
    """

    tool: Tool | None
    rule: str | None
    status: ArchiveStatus
    entries: Sequence[PlannedEntry] = ()
    total_bytes: int = 0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    assumed: str | None = None
    skipped: tuple[SkippedMember, ...] = ()
    content: str | None = None


class EntryOutcome(enum.Enum):
    """What became of one planned entry."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"  # not overwritten because the caller asked for that
    REFUSED = "refused"
    FAILED = "failed"


class ExtractedEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry after execution; `size_bytes` is what was really written."""

    path: RelPath
    kind: MemberKind
    outcome: EntryOutcome
    size_bytes: int = 0
    mtime_ns: int | None = None
    error: str | None = None


class ExtractionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What extraction did: the status says how whole it is, the entries what stands on disk now.

    Attributes:
        replaced_bytes: of files that are gone because members took their names.
    """

    tool: Tool | None
    status: ArchiveStatus
    entries: tuple[ExtractedEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None
    engine: str = "portable"
    skipped: tuple[SkippedMember, ...] = ()
    replaced_bytes: int = 0

    @property
    def files(self) -> int:
        """How many files stand on disk because of it."""
        return sum(
            1
            for entry in self.entries
            if entry.outcome is EntryOutcome.WRITTEN and entry.kind is MemberKind.FILE
        )

    @property
    def size_bytes(self) -> int:
        """How many bytes they hold."""
        return sum(entry.size_bytes for entry in self.entries if entry.outcome is EntryOutcome.WRITTEN)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive may cost, counted while decoding. Defaults pass a 100 GB dataset and stop a bomb.

    Attributes:
        max_ratio: decoded bytes per archive byte, applied once `ratio_floor_bytes` have been decoded.
    """

    max_bytes: int = 512 * 1024**3
    max_ratio: int = 500
    ratio_floor_bytes: int = 256 * 1024**2
    max_members: int = 5_000_000
    max_depth: int = 100
    max_dictionary_bytes: int = 1536 * 1024**2
