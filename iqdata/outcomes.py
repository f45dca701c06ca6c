"""An action of a plan → the line of output that speaks of it.

Refuses to print: `cli.render` decides how a line looks.
"""

from collections.abc import Mapping
from typing import assert_never

from iqdata.actions import (
    Action,
    Conflict,
    Delete,
    Download,
    ExtractLocal,
    ExtractRemote,
    MakeFolder,
    RenameRemote,
    Side,
    Skip,
    Upload,
)
from iqdata.events import ActionKind, Outcome, Status, Via
from iqdata.paths import RelPath
from iqdata.tree import Entry, Kind


def outcome_of(action: Action, status: Status, *, error: str | None = None) -> Outcome:
    """Return the line of output that speaks of an action."""

    def line(kind: ActionKind, size_bytes: int, reason: str, via: Via | None = None) -> Outcome:
        return Outcome(
            action=kind,
            path=action.path,
            status=status,
            size_bytes=size_bytes,
            via=via,
            reason=reason,
            error=error,
        )

    match action:
        case Upload(entry=entry, reason=reason):
            return line(ActionKind.UPLOAD, entry.size_bytes, reason, Via.FILE)
        case Download(entry=entry, reason=reason):
            return line(ActionKind.DOWNLOAD, entry.size_bytes, reason, Via.FILE)
        case RenameRemote(entry=entry, source=source):
            return line(ActionKind.UPLOAD, entry.size_bytes, f"renamed from {source}, nothing sent")
        case MakeFolder(side=side):
            return line(ActionKind.MKDIR, 0, f"in {_where(side)}")
        case Delete(side=Side.REMOTE, expect=expect, reason=reason):
            return line(ActionKind.DELETE_REMOTE, expect.size_bytes, reason)
        case Delete(expect=expect, reason=reason):
            return line(ActionKind.DELETE_LOCAL, expect.size_bytes, reason)
        case ExtractRemote(inert=True):
            return line(
                ActionKind.EXTRACT_REMOTE, 0, "only its name is an archive's: the file stays as it is"
            )
        case ExtractRemote(members=members):
            return line(ActionKind.EXTRACT_REMOTE, _size(members), _count(members))
        case ExtractLocal(members=members):
            return line(ActionKind.EXTRACT_LOCAL, _size(members), _count(members))
        case Conflict(expect=expect, reason=reason):
            return line(ActionKind.CONFLICT, expect.size_bytes, reason)
        case Skip(reason=reason, failed=failed):
            if failed and status is not Status.PLANNED:
                return Outcome(action=ActionKind.SKIP, path=action.path, status=Status.FAILED, error=reason)
            how = Status.PLANNED if status is Status.PLANNED else Status.SKIPPED
            return Outcome(action=ActionKind.SKIP, path=action.path, status=how, reason=reason)
        case _:
            assert_never(action)


def _size(members: Mapping[RelPath, Entry]) -> int:
    return sum(member.size_bytes for member in members.values())


def _where(side: Side) -> str:
    return "the space" if side is Side.REMOTE else "the workspace"


def _count(members: Mapping[RelPath, Entry]) -> str:
    files = sum(1 for member in members.values() if member.kind is Kind.FILE)
    return f"{files} file{'' if files == 1 else 's'}"
