"""What the readers hand over: one member as its archive describes it, before any tool has mapped its name.

Refuses to decide anything: names are raw bytes, modes and links are as stored.
"""

import enum
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec


class Stored(enum.Enum):
    """What the archive says a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    DEVICE = "device"
    FIFO = "fifo"
    ANTI = "anti"  # 7z: "delete what has this name"


class Flaw(enum.Enum):
    """Why a member's content cannot be had."""

    DAMAGED = "damaged"
    ENCRYPTED = "encrypted"
    UNSUPPORTED = "unsupported"
    NATIVE = "native"  # only the real tool decodes it
    UNSAFE = "unsafe"


class Member(msgspec.Struct, kw_only=True, gc=False):
    """One member of an archive, in the archive's order.

    Attributes:
        name: raw bytes, cut where the tool cuts them.
        size_bytes: of the content; None where only decoding tells.
        mode: permission bits as stored, or None.
        link: target of a symbolic or hard link, raw, where the headers hold it (in zip and 7z it is the content).
        flaw: why the content cannot be had, with `why` in words.
        key: the reader's own handle.
        data_segments: of a sparse file, (offset, length) pairs in the order in which the content holds them.
    """

    name: bytes
    kind: Stored
    size_bytes: int | None = 0
    mode: int | None = None
    mtime_ns: int | None = None
    link: bytes | None = None
    flaw: Flaw | None = None
    why: str | None = None
    key: int = 0
    data_segments: tuple[tuple[int, int], ...] | None = None


Piece = bytes | bytearray | memoryview

WHOLE_BYTES = 64 * 1024
"""Up to this size a member is handed over in one piece: for small files, passing pieces on costs more than decoding."""


class Reader(Protocol):
    """One opened archive. Members come in order; a member's content is read before the next member is asked for.

    Attributes:
        warnings: whole sentences, complete once `members` has ended.
        damage: what is wrong with the archive as a whole, None when nothing is; complete once `members` has ended.
    """

    warnings: list[str]
    damage: str | None

    def members(self) -> Iterable[Member]:
        """Yield the members in the archive's order. Never raises for damage: it ends and sets `damage`."""
        ...

    def content(self, member: Member) -> Iterator[Piece]:
        """Yield the decoded content.

        Raises:
            Damaged: the content ends early, or its checksum is wrong.
            EngineMissing: nothing here decodes it.
            TooLarge: a limit was passed.
        """
        ...

    def whole(self, member: Member) -> bytes | None:
        """Return the content of a small member at once, checked; None where `content` must be used.

        Raises:
            Damaged, EngineMissing, TooLarge: as `content`.
        """
        ...

    def confirmed(self) -> int:
        """Return how many members (from the first) are known to be right, once `members` has ended."""
        ...

    def checksum_of(self, member: Member) -> int | None:
        """Return the CRC-32 that the headers give for a member's content, or None."""
        ...

    def close(self) -> None:
        """Release what is open."""
        ...
