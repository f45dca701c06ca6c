"""How plans and extractions look to people: a line of facts, a tree, warnings.

Refuses to print: returns lines.
"""

import itertools
from collections.abc import Iterator, Sequence

from iqdata.cli.render import plural
from iqdata.cli.sizes import text_of as size
from iqdata.extract.mapping import shown
from iqdata.extract.model import ArchiveStatus, ExtractionPlan, MemberKind
from iqdata.extract.table import EntryTable
from iqdata.preview import AllNew, ArchivePreview, Effect, EntryPreview

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
    files, effects = _counted(one.entries)
    facts = [f"{plan.rule}, so {plan.tool.value} runs (as {plan.assumed})", _verdict(plan)]
    if files or plan.status is ArchiveStatus.OK:
        facts.append(f"{plural(files, 'file')}, {size(plan.total_bytes)}")
    facts.extend(effects)
    return f"{name}: {'; '.join(facts)}"


def _verdict(plan: ExtractionPlan) -> str:
    if plan.status is ArchiveStatus.DAMAGED and not plan.entries:
        return "NOTHING COMES OUT"
    return _STATUS_WORDS[plan.status]


def _counted(entries: Sequence[EntryPreview]) -> tuple[int, list[str]]:
    """Return how many files come out, and what becomes of what stands there, in words."""
    if isinstance(entries, AllNew):
        return len(entries) - sum(entries.table.is_folder), []
    counts = dict.fromkeys(Effect, 0)
    files = 0
    for entry in entries:
        if entry.type is not MemberKind.DIRECTORY or entry.effect is Effect.REFUSE:
            counts[entry.effect] += 1
            files += entry.effect is not Effect.REFUSE
    named = (Effect.OVERWRITE, Effect.UNCHANGED, Effect.REFUSE)
    return files, [f"{counts[effect]} {_WORDS[effect]}" for effect in named if counts[effect]]


class _Folder:
    """One folder of the tree that is shown.

    Attributes:
        leaves: (name, place among the archive's entries).
        mark: what becomes of the folder itself.
        files: in it and below, once the tree stands.
    """

    def __init__(self) -> None:
        self.folders: dict[str, _Folder] = {}
        self.leaves: list[tuple[str, int]] = []
        self.mark = " "
        self.files = 0
        self.size_bytes = 0

    def sum_up(self) -> None:
        """Add what lies below to the sums."""
        self.files += len(self.leaves)
        for inner in self.folders.values():
            inner.sum_up()
            self.files += inner.files
            self.size_bytes += inner.size_bytes


class _Tree:
    """Folders by their paths while entries are put in."""

    def __init__(self) -> None:
        self.root = _Folder()
        self._known = {"": self.root}

    def folder(self, path: str) -> _Folder:
        """Return a folder, made with those above it where missing."""
        known = self._known.get(path)
        if known is None:
            parent, _, name = path.rpartition("/")
            known = self._known[path] = self.folder(parent).folders.setdefault(name, _Folder())
        return known

    def put(self, entries: Sequence[EntryPreview], prefix: str) -> None:
        """Put in entries whose paths start with `prefix`."""
        cut = len(prefix)
        for index, entry in enumerate(entries):
            path = entry.path[cut:]
            refused = entry.effect is Effect.REFUSE
            if refused and (".." in path.split("/") or path.startswith("/")):
                self.root.leaves.append((path, index))  # a name that no folder could hold is shown as it is
            elif entry.type is MemberKind.DIRECTORY and not refused:
                self.folder(path).mark = _MARKS[entry.effect]
            else:
                parent, _, name = path.rpartition("/")
                folder = self.folder(parent)
                folder.leaves.append((name, index))
                folder.size_bytes += entry.size_bytes or 0

    def put_all_new(self, table: EntryTable) -> None:
        """Put in what is all new, without building an entry for each."""
        mark = _MARKS[Effect.CREATE]
        for index, (path, is_folder, size_bytes) in enumerate(
            zip(table.paths, table.is_folder, table.sizes, strict=True)
        ):
            if is_folder:
                self.folder(path).mark = mark
                continue
            parent, _, name = path.rpartition("/")
            folder = self._known.get(parent) or self.folder(parent)
            folder.leaves.append((name, index))
            folder.size_bytes += size_bytes


def _tree(one: ArchivePreview, *, show_all: bool) -> Iterator[str]:
    above = one.archive.rpartition("/")[0]
    prefix = f"{above}/" if above else ""
    tree = _Tree()
    entries = one.entries
    if isinstance(entries, AllNew):
        tree.put_all_new(entries.table)
    else:
        tree.put(entries, prefix)
    tree.root.sum_up()
    depth = 1 << 30 if show_all else _depth_that_fits(tree.root)
    if prefix:
        yield f"  in {shown(prefix)}"
    lines = _lines(tree.root, entries, "  ", depth)
    if show_all:
        yield from lines
        return
    count = _count_of_lines(tree.root, depth)
    if count <= SCREENFUL:
        yield from lines
        return
    yield from itertools.islice(lines, SCREENFUL - 1)
    yield f"    … {count - SCREENFUL + 1} more lines; --all shows them"


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


def _count_of_lines(folder: _Folder, depth: int) -> int:
    below = sum(_count_of_lines(inner, depth - 1) for inner in folder.folders.values()) if depth > 1 else 0
    return len(folder.folders) + len(folder.leaves) + below


def _lines(folder: _Folder, entries: Sequence[EntryPreview], indent: str, depth: int) -> Iterator[str]:
    for name, inner in folder.folders.items():
        mark = inner.mark
        if depth <= 1 and (inner.leaves or inner.folders):
            yield f"{indent}{mark} {shown(name)}/  ({plural(inner.files, 'file')}, {size(inner.size_bytes)})"
        else:
            yield f"{indent}{mark} {shown(name)}/"
            yield from _lines(inner, entries, indent + "  ", depth - 1)
    for name, index in folder.leaves:
        entry = entries[index]
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
