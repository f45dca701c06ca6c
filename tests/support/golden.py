"""Golden cases as values, and the comparison of an engine with them."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iqdata.extract.engine import extract, inspect
from iqdata.extract.model import Engine, EntryOutcome, MemberKind
from tests.conftest import ROOT
from tests.support.realtools import tree

FOLDER = ROOT / "tests" / "data" / "archives"

ARCHIVE_TIME_NS = 1_600_000_000_000_000_000


@dataclass(frozen=True)
class Golden:
    """One case as it stands in tests/data/archives."""

    name: str
    data: bytes
    expected: dict


def load() -> Iterator[Golden]:
    for path in sorted(FOLDER.glob("*/*/expected.json")):
        expected = json.loads(path.read_text(encoding="ascii"))
        yield Golden(
            f"{path.parent.parent.name}/{path.parent.name}",
            (path.parent / "input.bin").read_bytes(),
            expected,
        )


def wanted_tree(golden: Golden) -> dict[str, dict]:
    """What we are to leave: the real tool's tree without what a listed difference takes away."""
    missing = golden.expected["missing"]
    return {
        path: facts
        for path, facts in golden.expected["tree"].items()
        if not any(path == gone or path.startswith(f"{gone}/") for gone in missing)
    }


def check(golden: Golden, place: Path, *, engine: Engine = Engine.PORTABLE) -> list[str]:
    """Extract and preview one case in `place`; return what is not as expected."""
    place.mkdir(parents=True, exist_ok=True)
    archive = place / golden.expected["archive"]
    archive.write_bytes(golden.data)
    os.utime(archive, ns=(ARCHIVE_TIME_NS, ARCHIVE_TIME_NS))
    plan = inspect(archive, engine=engine)
    result = extract(archive, engine=engine)
    problems = []
    status = golden.expected["status"]
    before = golden.expected["preview"] or status
    if plan.status.value != before:
        problems.append(f"preview says {plan.status.value} ({plan.error}), expected {before}")
    if result.status.value != status:
        problems.append(f"extract says {result.status.value} ({result.error}), expected {status}")
    if archive.read_bytes() != golden.data:
        problems.append("the archive was changed")
    archive.unlink()
    ours = tree(place)
    wanted = wanted_tree(golden)
    for path in sorted(set(wanted) | set(ours)):
        if path not in ours:
            problems.append(f"missing: {path!r}")
        elif path not in wanted:
            problems.append(f"not expected: {path!r}")
        else:
            problems.extend(f"{path!r}: {text}" for text in _differs(wanted[path], ours[path], golden))
    if golden.expected["preview"] is None:
        problems.extend(_against_plan(plan, ours))
    written = {str(entry.path) for entry in result.entries if entry.outcome is EntryOutcome.WRITTEN}
    if written != set(ours):
        problems.append(f"the report differs from the disk: {sorted(written ^ set(ours))}")
    return problems


def _differs(wanted: dict, ours: tuple, golden: Golden) -> Iterator[str]:
    kind, mode, mtime, content, names = ours
    if wanted["kind"] != kind:
        yield f"is a {kind}, the tool leaves a {wanted['kind']}"
        return
    tool_mode = int(wanted.get("mode", "0"), 8)
    keeps_access = golden.expected["difference"] == "folder-access" and tool_mode | 0o700 == mode
    if "mode" in wanted and tool_mode != mode and not keeps_access:
        yield f"mode {mode:04o}, the tool leaves {wanted['mode']}"
    if kind == "symlink" and wanted["target"] != content:
        yield f"leads to {content}, with the tool to {wanted['target']}"
    if kind == "file":
        if "content" in wanted and wanted["content"].encode("latin-1") != content:
            yield f"other content ({len(content)} bytes)"
        if "sha256" in wanted and wanted["sha256"] != hashlib.sha256(content).hexdigest():
            yield f"other content ({len(content)} bytes, the tool leaves {wanted['size']})"
        if wanted["names"] != names:
            yield f"has {names} names, with the tool {wanted['names']}"
        # A time after the archive was made is the clock's, or the archive's own.
        if wanted["mtime_ns"] < 1_550_000_000 * 10**9 and wanted["mtime_ns"] != mtime:
            yield f"time {mtime}, with the tool {wanted['mtime_ns']}"
    if kind == "directory" and wanted["mtime_ns"] < 1_550_000_000 * 10**9 and wanted["mtime_ns"] != mtime:
        yield f"time {mtime}, with the tool {wanted['mtime_ns']}"


def _against_plan(plan, ours: dict[str, tuple]) -> Iterator[str]:
    """The preview names exactly what stands there, with its size, mode, time and target."""
    planned = {str(entry.path): entry for entry in plan.entries if entry.refused is None}
    for path in sorted(set(planned) ^ set(ours)):
        yield f"preview {'names' if path in planned else 'lacks'} {path!r}"
    for path in set(planned) & set(ours):
        entry = planned[path]
        kind, mode, mtime, content, _ = ours[path]
        shown = "file" if entry.kind is MemberKind.HARDLINK else entry.kind.value
        if shown != kind:
            yield f"preview says {path!r} is a {shown}"
        elif kind == "file" and entry.kind is MemberKind.FILE and entry.size_bytes != len(content):
            yield f"preview says {path!r} has {entry.size_bytes} bytes"
        elif (
            kind == "file"
            and entry.kind is MemberKind.FILE
            and (entry.mode, entry.mtime_ns) != (mode, mtime)
            and entry.mtime_ns is not None
        ):
            yield f"preview says {path!r} has mode {entry.mode:o} and time {entry.mtime_ns}, not {mode:o} and {mtime}"
        elif kind == "symlink" and entry.target != content:
            yield f"preview says {path!r} leads to {entry.target}"
