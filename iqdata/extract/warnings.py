"""Everything about an archive that surprises people, as sentences that say what to do.

Pure: judges a planner's findings and the name; knows nothing of a folder or a space (preview adds what those tell).
"""

from collections.abc import Iterable

from iqdata.extract.planner import Planner
from iqdata.rules import Tool, rule_for

_NEAR_MISSES = {
    ".tgz": ".tar.gz",
    ".taz": ".tar.Z",
    ".tbz": ".tar.bz2",
    ".tbz2": ".tar.bz2",
    ".tb2": ".tar.bz2",
    ".txz": ".tar.xz",
    ".tlz": ".tar.lzma",
    ".tzst": ".tar.zst",
}
_PACKED_AGAIN = {
    ".bz2": ".gz or .xz",
    ".zst": ".gz or .xz",
    ".lz4": ".gz",
    ".lzma": ".xz",
    ".Z": ".gz",
    ".rar": ".7z or .zip",
}
_ARCHIVE_SUFFIXES = (".tar", ".gz", ".xz", ".7z", ".zip", ".bz2", ".zst", ".rar", ".tgz", ".txz", ".gz2")


def advice_without_rule(name: str) -> tuple[str, ...]:
    """Say which name would work, where a name merely looks like an archive's."""
    lower = name.lower()
    if rule_for(lower) is not None:
        return (f"No rule applies to {name}: the comparison is case-sensitive. Rename it to {lower}.",)
    for suffix, better in _NEAR_MISSES.items():
        if lower.endswith(suffix):
            return (f"No rule applies to {suffix}. Rename it to {name[: -len(suffix)]}{better}.",)
    for suffix, better in _PACKED_AGAIN.items():
        if lower.endswith(suffix.lower()):
            return (f"No rule applies to {suffix}: it stays packed. Pack the data as {better} instead.",)
    stem, _, last = lower.rpartition(".")
    if (last.isdigit() and rule_for(stem) is not None) or (last[:1] == "z" and last[1:].isdigit()):
        return ("A volume of a split archive stays packed. Upload one whole archive instead.",)
    return ()


def advice(
    planner: Planner, tool: Tool, name: str, *, content: str | None, reader_warnings: Iterable[str]
) -> tuple[str, ...]:
    """Return the warnings about one archive, the gravest first."""
    found: list[str] = []
    found.extend(reader_warnings)
    if planner.renamed:
        before, after = planner.renamed[0]
        more = f" (and {len(planner.renamed) - 1} more)" if len(planner.renamed) > 1 else ""
        found.append(f"7z stores {before!r} as {after!r}{more}. Pack with plain relative names to keep them.")
    if planner.replaced:
        more = f" (and {len(planner.replaced) - 1} more)" if len(planner.replaced) > 1 else ""
        found.append(f"{planner.replaced[0]} is in the archive more than once{more}; the last one stays.")
    entries = planner.entries
    if len({path.casefold() for path in entries}) != len(entries):
        found.append("Some names differ only in case: they fall together on Windows and macOS. Rename them.")
    nested = [path for path in entries if path.endswith(_ARCHIVE_SUFFIXES)]
    if nested:
        more = f" (and {len(nested) - 1} more)" if len(nested) > 1 else ""
        found.append(
            f"{nested[0]} is an archive inside the archive{more}: it stays packed. Upload it by itself to extract it."
        )
    return tuple(found)
