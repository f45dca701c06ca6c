"""Everything about an archive that surprises people, as sentences that say what to do.

Pure: judges a planner's findings and the name; knows nothing of a folder or a space (preview adds what those tell).
"""

import re
from collections.abc import Iterable, Iterator, Sequence, Sized

from iqdata.extract.mapping import shown, stream_name
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
_RAW = re.compile("[\udc80-\udcff]")
"""A byte that is no UTF-8, as it stands in a path."""

_ARCHIVE_SUFFIXES = (".tar", ".gz", ".xz", ".7z", ".zip", ".bz2", ".zst", ".rar", ".tgz", ".txz", ".gz2")
_NESTED = re.compile(rf"(?:{'|'.join(map(re.escape, _ARCHIVE_SUFFIXES))})/")


def advice_without_rule(name: str) -> tuple[str, ...]:
    """Say which name would work, where a name merely looks like an archive's."""
    lower = name.lower()
    if rule_for(lower) is not None:
        suffix = rule_for(lower) or ""
        length = len(suffix.rpartition(".")[2]) + 1
        better = name[:-length] + lower[-length:] if suffix.startswith("name ends") else lower
        return (f"No rule applies to {name}: the comparison is case-sensitive. Rename it to {better}.",)
    for suffix, better in _NEAR_MISSES.items():
        if lower.endswith(suffix):
            return (f"No rule applies to {suffix}. Rename it to {name[: -len(suffix)]}{better}.",)
    for suffix, better in _PACKED_AGAIN.items():
        if (name if suffix == ".Z" else lower).endswith(suffix):
            return (f"No rule applies to {suffix}: it stays packed. Pack the data as {better} instead.",)
    stem, _, last = lower.rpartition(".")
    if (last.isdigit() and rule_for(stem) is not None) or (last[:1] == "z" and last[1:].isdigit()):
        return ("A volume of a split archive stays packed. Upload one whole archive instead.",)
    return ()


def advice(
    planner: Planner, tool: Tool, name: str, *, content: str | None, reader_warnings: Iterable[str]
) -> tuple[str, ...]:
    """Return the warnings about one archive, the gravest first.

    Args:
        planner: what became of its members.
        tool: which tool runs.
        name: the archive's base name.
        content: what it really holds.
        reader_warnings: what its reader noticed.
    """
    found: list[str] = [*_about_the_name(tool, name, content), *reader_warnings]
    if planner.renamed:
        before, after = planner.renamed[0]
        found.append(
            f"7z stores {shown(before)} as {shown(after)}{_and_more(planner.renamed)}. Pack with plain relative names to keep them."
        )
    if planner.replaced:
        found.append(
            f"{shown(planner.replaced[0])} is in the archive more than once{_and_more(planner.replaced)}; the last one stays."
        )
    if planner.skipped:
        found.append(
            f"{shown(planner.skipped[0].name)} is left out{_and_more(planner.skipped)}: {planner.skipped[0].reason}. Pack it under another name."
        )
    return (*found, *_about_paths(list(planner.entries), content, name))


def advice_when_ordinary(
    paths: Sequence[str], tool: Tool, name: str, *, content: str, reader_warnings: Iterable[str]
) -> tuple[str, ...]:
    """Return the warnings about an archive in which no member was renamed, replaced, left out or refused."""
    return (*_about_the_name(tool, name, content), *reader_warnings, *_about_paths(paths, content, name))


def _and_more(items: Sized) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""


_TAR_NAME = re.compile(r"\.tar(\.(gz|bz2|xz|zst|lzma|Z))?$")
_TAR_CONTENT = {
    ".tar": "tar",
    ".tar.gz": "tar in gzip",
    ".tar.bz2": "tar in bzip2",
    ".tar.xz": "tar in xz",
    ".tar.zst": "tar in zstd",
    ".tar.lzma": "tar in lzma",
    ".tar.Z": "tar in compress",
}
_PRINTABLE = bytes(range(ord(" "), 127))
_SEVENZIP_CONTENT = {".7z": "7z", ".zip": "zip", ".gz": "gzip", ".xz": "xz"}
_STREAMS = frozenset(("gzip", "xz", "bzip2", "zstd", "lzma", "compress"))
_READABLE = frozenset((*_TAR_CONTENT.values(), *_SEVENZIP_CONTENT.values(), *_STREAMS))


def _about_the_name(tool: Tool, name: str, content: str | None) -> Iterator[str]:
    if tool is Tool.TAR:
        match = _TAR_NAME.search(name)
        if match is None:
            yield (
                f"{name} merely contains .tar, yet that makes tar run on it."
                f" If it is no tar, rename it, for example to {name.replace('.tar', '-tar')}."
            )
            return
        expected = _TAR_CONTENT[match[0]]
    else:
        suffix = next((suffix for suffix in _SEVENZIP_CONTENT if name.endswith(suffix)), "")
        expected = _SEVENZIP_CONTENT.get(suffix, content or "")
    if content in _READABLE and content != expected:
        yield f"The content is {content}, not {expected} as the name says; {tool.value} goes by the content. Rename it to match."


def _is_printable(line: str) -> bool:
    """Tell what `isprintable` tells, a few times as fast for the commonest, ASCII."""
    return not line.encode().translate(None, _PRINTABLE) if line.isascii() else line.isprintable()


def _about_paths(paths: Sequence[str], content: str | None, name: str) -> Iterator[str]:
    if content in _STREAMS and len(paths) == 1 and paths[0] != stream_name(name):
        yield (
            f"The file stores a name of its own: 7z writes {shown(paths[0])}, not {shown(stream_name(name))}."
            " Compress with gzip -n to go by the archive's name."
        )
    # What holds of no path in one long line of them holds of none, and that line is judged at the speed of memory.
    line = "/".join([*paths, ""])
    raw = [] if line.isascii() else [path for path in paths if _RAW.search(path)]
    if raw:
        yield (
            f"{shown(raw[0])} is not UTF-8{_and_more(raw)} (an older encoding such as GBK or Shift-JIS?): the server keeps the bytes as"
            " they are. Pack with UTF-8 names."
        )
    steering = (
        []
        if _is_printable(line)
        else [path for path in paths if not path.isprintable() and not _RAW.search(path)]
    )
    if steering:
        yield f"{shown(steering[0])} holds control characters{_and_more(steering)}; many FTP programs cannot fetch such a name. Rename it."
    if line.casefold() != line and len({path.casefold() for path in paths}) != len(paths):
        yield "Some names differ only in case: they fall together on Windows and macOS. Rename them."
    nested = [path for path in paths if path.endswith(_ARCHIVE_SUFFIXES)] if _NESTED.search(line) else []
    if nested:
        yield (
            f"{shown(nested[0])} is an archive inside the archive{_and_more(nested)}: it stays packed."
            " Upload it by itself to extract it."
        )
