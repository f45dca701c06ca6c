"""What a scan returns: entries by path, the same for a folder, a space and the base.

Refuses to know where a tree came from; `Precision` says how exactly its times can be compared.
"""

import enum
from collections.abc import Mapping

import msgspec

from iqdata.paths import RelPath


class Kind(enum.Enum):
    """What stands at a path."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"  # a link, a device, a socket: reported, never followed


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One path of a tree. A `msgspec.Struct` and not a dataclass: a million are made, and this one is built ten times as fast.

    Attributes:
        kind: file, folder or something that is neither.
        size_bytes: of a file; 0 otherwise.
        mtime_ns: modification time, UTC, nanoseconds since 1970; None where the side does not tell.
        identity: the local inode, to recognise a renamed file; None elsewhere.
        coarse_ns: how coarse this one time is, where it is coarser than the rest of its listing (`ls -l` shows old files
            by day); 0 otherwise.
    """

    kind: Kind
    size_bytes: int = 0
    mtime_ns: int | None = None
    identity: int | None = None
    coarse_ns: int = 0


FOLDER = Entry(Kind.FOLDER)

Tree = Mapping[RelPath, Entry]
"""Every path below a root, folders included, the root itself excluded."""


def same_time(left_ns: int | None, right_ns: int | None, *, step_ns: int) -> bool:
    """Tell whether two times are equal as far as the coarser side can tell; an unknown time is never equal."""
    if left_ns is None or right_ns is None:
        return False
    return left_ns == right_ns or left_ns // step_ns == right_ns // step_ns
