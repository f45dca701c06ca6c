"""Random trees, packed by the real tools with random options: preview = portable = native = the tool's own extraction."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from iqdata.extract.engine import extract, inspect, plan_by_walk
from iqdata.extract.model import ArchiveStatus, Engine, Limits, MemberKind
from iqdata.extract.source import RawFile
from iqdata.rules import tool_for
from tests.support.realtools import run_real, tree

NAMES = st.one_of(
    st.sampled_from(
        ["a", "b", "data", "x.csv", "ü", "数据", "with space", "-dash", "dot.", "A", "café", "x.tar"]
    ),
    st.text(
        st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs", "Cc")),
        min_size=1,
        max_size=12,
    ).filter(lambda name: name not in (".", "..")),
)
CONTENT = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([b"", b"x" * 70_000, b"1,2,3\n" * 3000, bytes(range(256)) * 40]),
)
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o444, 0o640, 0o664, 0o777])
TIMES = st.integers(
    min_value=315_532_800, max_value=1_700_000_000
)  # from 1980 on: a zip knows no earlier year
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    st.tuples(CONTENT, MODES, TIMES),
    min_size=1,
    max_size=8,
)

PACKERS = {
    "gnu.tar": "tar --format=gnu -cf {out} -- {names}",
    "pax.tar": "tar --format=pax -cf {out} -- {names}",
    "ustar.tar": "tar --format=ustar -cf {out} -- {names}",
    "whole.tar": "tar -cf {out} .",
    "a.tar.gz": "tar -czf {out} -- {names}",
    "a.tar.bz2": "tar -cjf {out} -- {names}",
    "a.tar.xz": "tar -cJf {out} -- {names}",
    "a.tar.zst": "tar --zstd -cf {out} -- {names}",
    "fast.zip": "zip -1 -qr -y {out} -- {names}",
    "stored.zip": "zip -0 -qr -y {out} -- {names}",
    "bare.zip": "zip -qrXD -y {out} -- {names}",
    "seven.zip": "7zz a -bd -snl {out} -- {names}",
    "lzma.zip": "7zz a -bd -mm=LZMA -snl {out} -- {names}",
    "a.7z": "7zz a -bd -snl {out} -- {names}",
    "single.7z": "7zz a -bd -ms=off -m0=PPMd -snl {out} -- {names}",
    "copy.7z": "7zz a -bd -mx0 -mhc=off -snl {out} -- {names}",
}


def build(folder: Path, files, links: bool) -> None:
    made = []
    for parts, (content, mode, mtime) in files.items():
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                continue
            path.write_bytes(content)
        except (FileExistsError, NotADirectoryError):
            continue  # one name is a file and a folder: the first stays
        path.chmod(mode)
        os.utime(path, (mtime, mtime))
        made.append(path)
    if links and made:
        target = made[0]
        (target.parent / "zz-link").symlink_to(target.name)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            os.utime(path, (1_500_000_000, 1_500_000_000))


# A busy machine takes its time for a hundred programs; a test that is stopped in the middle looks flaky to Hypothesis.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("packer", PACKERS)
@settings(
    max_examples=int(os.environ.get("EXTRACTION_EXAMPLES", "6")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(files=FILES, links=st.booleans())
@example(files={("\uef80", "a\uefffb"): (b"x", 0o644, 1_500_000_000)}, links=False)  # 7-Zip's own escapes
def test_preview_portable_native_and_the_tool_agree(packer, files, links, tmp_path_factory):
    place = tmp_path_factory.mktemp("p")
    try:
        place.chmod(0o755)
        source = place / "source"
        source.mkdir()
        build(source, files, links)
        archive = place / packer
        names = sorted(path.name for path in source.iterdir())
        command = [
            word
            for part in PACKERS[packer].split()
            for word in ([str(archive)] if part == "{out}" else names if part == "{names}" else [part])
        ]
        done = subprocess.run(
            command,
            cwd=source,
            capture_output=True,
            check=False,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        )
        if done.returncode:
            return  # a name that this packer or format refuses
        real = place / "real"
        assert run_real(tool_for(packer).value, archive, real) == 0
        wanted = tree(real)
        plan = inspect(archive)
        assert plan.status is ArchiveStatus.OK, plan
        assert agrees(plan, wanted) == []
        with RawFile(archive) as opened:
            assert plan_by_walk(opened, tool_for(packer), name=packer, limits=Limits()) == plan
        for engine in (Engine.PORTABLE, Engine.NATIVE):
            own = place / engine.value
            own.mkdir()
            result = extract(archive, own, engine=engine)
            assert result.status is ArchiveStatus.OK, result
            assert settled(tree(own)) == settled(wanted), engine
    finally:
        shutil.rmtree(place, ignore_errors=True)


def settled(found):
    """Times of folders that the archive does not store are the clock's; all others must agree to the nanosecond."""
    return {
        path: (kind, mode, None if mtime is None or mtime > 1_750_000_000 * 10**9 else mtime, content, names)
        for path, (kind, mode, mtime, content, names) in found.items()
    }


def agrees(plan, wanted):
    problems = []
    planned = {str(entry.path): entry for entry in plan.entries}
    problems.extend(f"{path!r} is only in one of them" for path in sorted(set(planned) ^ set(wanted)))
    for path in set(planned) & set(wanted):
        entry, (kind, mode, mtime, content, _) = planned[path], wanted[path]
        if entry.kind is MemberKind.FILE:
            if (kind, entry.mode, entry.size_bytes) != ("file", mode, len(content)):
                problems.append(f"{path!r}: {entry}")
            if entry.mtime_ns is not None and entry.mtime_ns != mtime:
                problems.append(f"{path!r}: time {entry.mtime_ns}, not {mtime}")
        elif entry.kind is MemberKind.SYMLINK and (kind, entry.target) != ("symlink", content):
            problems.append(f"{path!r}: {entry}")
        elif entry.kind is MemberKind.DIRECTORY and (kind, entry.mode or 0o755) != ("directory", mode):
            problems.append(f"{path!r}: {entry}, not {mode:o}")
    return problems
