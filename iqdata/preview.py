"""Plans + what stands in the folder → what extraction will change there, archive by archive and over all of them.

Refuses to read archives or folders itself: it gets plans, and a function that says what stands at a path.
"""

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import msgspec

from iqdata.extract.model import ArchiveStatus, ExtractionPlan, MemberKind, PlannedEntry
from iqdata.extract.table import EntryTable
from iqdata.paths import RelPath
from iqdata.rules import Tool
from iqdata.tree import Entry, Kind


class Effect(enum.Enum):
    """The words of `"effect"` in JSON."""

    CREATE = "create"
    OVERWRITE = "overwrite"
    UNCHANGED = "unchanged"
    REFUSE = "refuse"


class EntryPreview(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One path and what becomes of it; `path` is plain text, safe to show, not to open."""

    path: str
    type: MemberKind
    size_bytes: int | None
    effect: Effect
    reason: str | None


class AllNew(Sequence[EntryPreview]):
    """The entries of an ordinary archive of which nothing stands there yet; each is built when somebody looks at it.

    Attributes:
        prefix: where the paths of the table start, with its `/`.
    """

    __slots__ = ("prefix", "table")

    def __init__(self, prefix: str, table: EntryTable) -> None:
        self.prefix = prefix
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    def _entry(self, path: str, is_folder: int, size: int) -> EntryPreview:
        return EntryPreview(
            path=self.prefix + path,
            type=MemberKind.DIRECTORY if is_folder else MemberKind.FILE,
            size_bytes=size,
            effect=Effect.CREATE,
            reason=None,
        )

    def __iter__(self) -> Iterator[EntryPreview]:
        table = self.table
        return map(self._entry, table.paths, table.is_folder, table.sizes)

    @overload
    def __getitem__(self, index: int) -> EntryPreview: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[EntryPreview, ...]: ...
    def __getitem__(self, index: int | slice) -> EntryPreview | tuple[EntryPreview, ...]:
        table = self.table
        if isinstance(index, slice):
            return tuple(map(self._entry, table.paths[index], table.is_folder[index], table.sizes[index]))
        return self._entry(table.paths[index], table.is_folder[index], table.sizes[index])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePreview:
    """What extraction of one archive will do.

    Attributes:
        archive: as the user knows it: relative to the workspace or the current folder.
        folder: where its members land, in the same terms; None stands for the root of them.
    """

    archive: str
    plan: ExtractionPlan
    entries: Sequence[EntryPreview]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the object of the command-line contract."""
        plan = self.plan
        return {
            "archive": self.archive,
            "tool": plan.tool.value if plan.tool else None,
            "rule": plan.rule,
            "status": plan.status.value,
            "total_bytes": plan.total_bytes,
            "entries": list(self.entries),
            "warnings": self.warnings,
            "error": plan.error,
            "assumes": plan.assumed,
        }


LookUp = Callable[[str], Entry | None]
"""Says what stands at a path (in the same terms as the archive's), or None when nothing does."""


def preview(
    archive: str,
    plan: ExtractionPlan,
    *,
    look_up: LookUp,
    quota_left_bytes: int | None = None,
    older: Iterable[str] = (),
) -> ArchivePreview:
    """Return what extracting `archive` by `plan` will change.

    Args:
        archive: its path, relative to what `look_up` knows.
        plan: what `inspect` said of it.
        look_up: what stands where.
        quota_left_bytes: room in the space, when known.
        older: what an earlier version of the archive left, in the same terms.
    """
    folder = archive.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    entries, overwritten = _judged(plan, look_up, prefix)
    warnings = list(plan.warnings)
    if overwritten:
        more = f" (and {len(overwritten) - 1} more)" if len(overwritten) > 1 else ""
        warnings.append(
            f"{overwritten[0]}{more} stands there and will be overwritten. Keep a copy if you need it."
        )
    if quota_left_bytes is not None and plan.total_bytes > quota_left_bytes:
        warnings.append(
            f"The members need {plan.total_bytes} bytes, the space has {quota_left_bytes} left. Make room before uploading."
        )
    earlier = list(older)
    made = {entry.path for entry in entries} if earlier else set()
    stale = [path for path in earlier if path not in made and look_up(path) is not None]
    if stale:
        more = f" (and {len(stale) - 1} more)" if len(stale) > 1 else ""
        warnings.append(
            f"{stale[0]}{more} came from an older version of the archive and stays: extraction never deletes. Remove it by hand."
        )
    return ArchivePreview(archive=archive, plan=plan, entries=entries, warnings=tuple(warnings))


def _judged(plan: ExtractionPlan, look_up: LookUp, prefix: str) -> tuple[Sequence[EntryPreview], list[str]]:
    """Return the entries with their effects, and the paths that are overwritten."""
    table = plan.entries
    if isinstance(table, EntryTable) and not plan.skipped:
        # Where nothing stands at the top, nothing stands below.
        top = (path for path in table.paths if "/" not in path)
        if all(look_up(prefix + path) is None for path in top):
            return AllNew(prefix, table), []
    judge = _Judge(look_up, prefix)
    entries = [judge.entry(entry) for entry in plan.entries]
    entries.extend(
        EntryPreview(
            path=prefix + skipped.name,
            type=MemberKind.FILE,
            size_bytes=None,
            effect=Effect.REFUSE,
            reason=skipped.reason,
        )
        for skipped in plan.skipped
    )
    return tuple(entries), judge.overwritten


class _Judge:
    """Compares planned entries with what stands there; folders that do not exist spare the look-ups below them."""

    def __init__(self, look_up: LookUp, prefix: str) -> None:
        self._look_up = look_up
        self._prefix = prefix
        self._absent: set[str] = set()
        self._blocked: dict[str, str] = {}
        self.overwritten: list[str] = []

    def entry(self, entry: PlannedEntry) -> EntryPreview:
        """Return one entry with its effect."""
        path = self._prefix + entry.path
        effect, reason = (
            (Effect.REFUSE, entry.refused) if entry.refused is not None else self._effect(entry, path)
        )
        return EntryPreview(
            path=path, type=entry.kind, size_bytes=entry.size_bytes, effect=effect, reason=reason
        )

    def _effect(self, entry: PlannedEntry, path: str) -> tuple[Effect, str | None]:
        parent = entry.path.rpartition("/")[0]
        if parent in self._absent:
            if entry.kind is MemberKind.DIRECTORY:
                self._absent.add(entry.path)
            return Effect.CREATE, None
        if self._blocked and parent in self._blocked:
            reason = self._blocked[parent]
            if entry.kind is MemberKind.DIRECTORY:
                self._blocked[entry.path] = reason
            return Effect.REFUSE, reason
        there = self._look_up(path)
        if entry.kind is MemberKind.DIRECTORY:
            return self._folder(entry.path, there)
        if there is None:
            return Effect.CREATE, None
        if there.kind is Kind.FOLDER:
            return Effect.REFUSE, "a folder of this name stands there"
        if _same(entry, there):
            return Effect.UNCHANGED, None
        self.overwritten.append(path)
        return Effect.OVERWRITE, None

    def _folder(self, path: RelPath, there: Entry | None) -> tuple[Effect, str | None]:
        if there is None:
            self._absent.add(path)
            return Effect.CREATE, None
        if there.kind is Kind.FOLDER:
            return Effect.UNCHANGED, None
        what = "file" if there.kind is Kind.FILE else "link"
        self._blocked[path] = f"a {what} stands at {self._prefix}{path}, where a folder is needed"
        return Effect.REFUSE, self._blocked[path]


def _same(entry: PlannedEntry, there: Entry) -> bool:
    """Tell whether a file is there already: same size, same time as far as the archive stores it."""
    if (
        entry.kind is not MemberKind.FILE
        or there.kind is not Kind.FILE
        or entry.size_bytes != there.size_bytes
    ):
        return False
    if entry.mtime_ns is None or there.mtime_ns is None:
        return False
    return entry.mtime_ns == there.mtime_ns or entry.mtime_ns // 10**9 == there.mtime_ns // 10**9


def union(previews: Iterable[ArchivePreview]) -> dict[str, EntryPreview]:
    """Return every path that some archive will make, with the entry of the archive that is extracted last."""
    found: dict[str, EntryPreview] = {}
    for one in previews:
        for entry in one.entries:
            if entry.effect is not Effect.REFUSE:
                found[entry.path] = entry
    return found


def clashes(previews: Sequence[ArchivePreview]) -> list[str]:
    """Say which archives write the same files, or fall on each other's names: the one extracted last wins."""
    owners: dict[str, list[str]] = {}
    if len(previews) < 2:
        return []
    for one in previews:
        for entry in one.entries:
            if entry.effect is not Effect.REFUSE and entry.type is not MemberKind.DIRECTORY:
                owners.setdefault(entry.path, []).append(one.archive)
    pairs: dict[tuple[str, ...], list[str]] = {}
    for path, archives in owners.items():
        if len(archives) > 1:
            pairs.setdefault(tuple(archives), []).append(path)
    found = []
    for sharing, paths in pairs.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        found.append(
            f"{' and '.join(sharing)} both write {paths[0]}{more}: the one extracted last wins. Keep the file in one of them."
        )
    names = {one.archive for one in previews if one.plan.tool is not None}
    found.extend(
        f"{path} is itself an archive here and is also written by {', '.join(archives)}. Rename one of them."
        for path, archives in owners.items()
        if path in names and path not in archives
    )
    return found


def is_good(plan: ExtractionPlan) -> bool:
    """Tell whether a plan means that everything in the archive will be there (or that nothing was to be extracted)."""
    return plan.status in (ArchiveStatus.OK, ArchiveStatus.NO_RULE)


def command_of(tool: Tool) -> str:
    """Return the server's command in words."""
    return "tar -xf" if tool is Tool.TAR else "7z x"
