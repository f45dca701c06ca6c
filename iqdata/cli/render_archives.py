"""How plans and extractions look to people: a line of facts, a tree, warnings.

Refuses to print: returns lines.
"""

from collections.abc import Iterable, Iterator

from iqdata.cli.render import plural
from iqdata.cli.sizes import text_of as size
from iqdata.extract.mapping import shown
from iqdata.extract.model import ArchiveStatus, ExtractionPlan, MemberKind
from iqdata.preview import ArchivePreview, Effect, EntryPreview

SCREENFUL = 40

_MARKS = {Effect.CREATE: "+", Effect.OVERWRITE: "~", Effect.UNCHANGED: "=", Effect.REFUSE: "!"}
_WORDS = {
    Effect.CREATE: "new",
    Effect.OVERWRITE: "overwritten",
    Effect.UNCHANGED: "unchanged",
    Effect.REFUSE: "refused",
}

_STATUS_WORDS = {
    ArchiveStatus.OK: "will be extracted",
    ArchiveStatus.NO_RULE: "stays as it is",
    ArchiveStatus.DAMAGED: "DAMAGED",
    ArchiveStatus.ENCRYPTED: "ENCRYPTED",
    ArchiveStatus.UNSAFE: "PARTLY REFUSED",
    ArchiveStatus.UNSUPPORTED: "CANNOT BE READ",
    ArchiveStatus.TOO_LARGE: "TOO LARGE, nothing is extracted",
}


def preview_lines(one: ArchivePreview, *, show_all: bool) -> Iterator[str]:
    """Yield the lines for one archive."""
    yield headline(one)
    plan = one.plan
    if plan.error is not None:
        yield f"  ! {shown(plan.error)}"
    if one.entries:
        yield from _tree(one, show_all=show_all)
    for warning in one.warnings:
        yield f"  * {shown(warning)}"


def headline(one: ArchivePreview) -> str:
    """Return name, tool, verdict and sums in one line."""
    plan = one.plan
    name = shown(one.archive)
    if plan.tool is None:
        return f"{name}: no rule applies, {_STATUS_WORDS[plan.status]}"
    files = sum(
        1
        for entry in one.entries
        if entry.type is not MemberKind.DIRECTORY and entry.effect is not Effect.REFUSE
    )
    facts = [f"{plan.rule}, so {plan.tool.value} runs (as {plan.assumed})", _verdict(plan)]
    if files or plan.status is ArchiveStatus.OK:
        facts.append(f"{plural(files, 'file')}, {size(plan.total_bytes)}")
    facts.extend(_effects(one.entries))
    return f"{name}: {'; '.join(facts)}"


def _verdict(plan: ExtractionPlan) -> str:
    if plan.status is ArchiveStatus.DAMAGED and not plan.entries:
        return "NOTHING COMES OUT"
    return _STATUS_WORDS[plan.status]


def _effects(entries: Iterable[EntryPreview]) -> Iterator[str]:
    counts = dict.fromkeys(Effect, 0)
    for entry in entries:
        if entry.type is not MemberKind.DIRECTORY or entry.effect is Effect.REFUSE:
            counts[entry.effect] += 1
    for effect in (Effect.OVERWRITE, Effect.UNCHANGED, Effect.REFUSE):
        if counts[effect]:
            yield f"{counts[effect]} {_WORDS[effect]}"


class _Folder:
    """One folder of the tree that is shown."""

    def __init__(self) -> None:
        self.folders: dict[str, _Folder] = {}
        self.leaves: list[tuple[str, EntryPreview]] = []
        self.own: EntryPreview | None = None
        self.files = 0
        self.size_bytes = 0

    def add(self, name: str, entry: EntryPreview) -> None:
        """Put a leaf into this folder."""
        self.leaves.append((name, entry))


def _tree(one: ArchivePreview, *, show_all: bool) -> Iterator[str]:
    folder = one.archive.rpartition("/")[0]
    prefix = f"{folder}/" if folder else ""
    root = _Folder()
    for entry in one.entries:
        path = entry.path[len(prefix) :]
        if entry.effect is Effect.REFUSE and (".." in path.split("/") or path.startswith("/")):
            root.add(path, entry)  # a name that no folder could hold is shown as it is
        else:
            _insert(root, path, entry)
    depth = 1 << 30 if show_all else _depth_that_fits(root)
    if prefix:
        yield f"  in {shown(prefix)}"
    lines = list(_lines(root, "  ", depth))
    if show_all or len(lines) <= SCREENFUL:
        yield from lines
        return
    yield from lines[: SCREENFUL - 1]
    yield f"    … {len(lines) - SCREENFUL + 1} more lines; --all shows them"


def _insert(root: _Folder, path: str, entry: EntryPreview) -> None:
    *parents, name = path.split("/")
    at, chain = root, [root]
    for part in parents:
        at = at.folders.setdefault(part, _Folder())
        chain.append(at)
    if entry.type is MemberKind.DIRECTORY and entry.effect is not Effect.REFUSE:
        at.folders.setdefault(name, _Folder()).own = entry
        return
    at.add(name, entry)
    for folder in chain:
        folder.files += 1
        folder.size_bytes += entry.size_bytes or 0


def _depth_that_fits(root: _Folder) -> int:
    """Return how many levels fit a screenful; deeper folders are shown as one line each."""
    level, depth, lines = [root], 0, 0
    while level:
        lines += sum(len(folder.leaves) + len(folder.folders) for folder in level)
        if lines > SCREENFUL and depth:
            return depth
        depth += 1
        level = [inner for folder in level for inner in folder.folders.values()]
    return depth


def _lines(folder: _Folder, indent: str, depth: int) -> Iterator[str]:
    for name, inner in folder.folders.items():
        mark = _MARKS[inner.own.effect] if inner.own is not None else " "
        if depth <= 1 and (inner.leaves or inner.folders):
            yield f"{indent}{mark} {shown(name)}/  ({plural(inner.files, 'file')}, {size(inner.size_bytes)})"
        else:
            yield f"{indent}{mark} {shown(name)}/"
            yield from _lines(inner, indent + "  ", depth - 1)
    for name, entry in folder.leaves:
        yield f"{indent}{_MARKS[entry.effect]} {shown(name)}{_facts(entry)}"


def _facts(entry: EntryPreview) -> str:
    facts = ""
    if entry.type is MemberKind.FILE and entry.size_bytes is not None:
        facts = f"  {size(entry.size_bytes)}"
    elif entry.type is not MemberKind.FILE:
        facts = f"  ({entry.type.value})"
    if entry.effect is Effect.OVERWRITE:
        facts += "  overwrites what is there"
    if entry.reason is not None:
        facts += f"  refused: {shown(entry.reason)}"
    return facts


def legend() -> str:
    """Return what the marks mean."""
    return "  ".join(f"{_MARKS[effect]} {_WORDS[effect]}" for effect in Effect)
