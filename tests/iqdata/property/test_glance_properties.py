"""What is planned at a glance is what the walk plans, member by member: names, order, modes, times, warnings."""

import io
import os
import stat
import struct
import tarfile
import tempfile
import warnings
import zipfile
from array import array
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from iqdata.extract.columns import column, holds
from iqdata.extract.engine import plan_at_a_glance, plan_by_walk
from iqdata.extract.model import ArchiveStatus, Limits
from iqdata.extract.source import RawFile
from iqdata.rules import tool_for

EXAMPLES = settings(
    max_examples=int(os.environ.get("EXTRACTION_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)

PARTS = st.sampled_from(
    [
        "a",
        "b",
        "A",
        "x.csv",
        "x.tar",
        "ü",
        "d.zip",
        ".",
        "..",
        "",
        ".hidden",
        "..b",
        "c.",
        "n" * 120,
        "\udcff",
        "e\x1b",
    ]
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PLAIN = st.lists(st.sampled_from(["a", "b", "c", "dd", "e.txt"]), min_size=1, max_size=3).map("/".join)
MODES = st.sampled_from([0o644, 0o755, 0o600, 0, 0o4755, 0o777])
SIZES = st.sampled_from([0, 1, 300, 511, 512, 513, 5000])

TAR_MEMBERS = st.lists(
    st.tuples(
        PLAIN | NAMES,
        st.sampled_from(
            [tarfile.REGTYPE] * 6
            + [tarfile.DIRTYPE] * 3
            + [tarfile.AREGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
        ),
        SIZES,
        MODES,
        st.sampled_from([0, 1, 1_500_000_000, 1_600_000_001]),
    ),
    max_size=9,
)
INFO_ZIP = b"UT\5\0\3" + struct.pack("<i", -86400) + b"ux\x0b\0\1\4\xe8\3\0\0\4\xe8\3\0\0"
NTFS = b"\x0a\0\x20\0" + bytes(4) + b"\1\0\x18\0" + struct.pack("<3Q", *[132_000_000_000_000_000] * 3)
EXTRAS = st.sampled_from([b"", INFO_ZIP, NTFS, b"\x55\x58\x08\0" + struct.pack("<2i", 5, 7), b"\x99\x99\0\0"])
ZIP_MEMBERS = st.lists(
    st.tuples(
        PLAIN | NAMES,
        st.sampled_from(["file"] * 6 + ["folder"] * 3 + ["link", "fifo"]),
        SIZES,
        MODES,
        st.sampled_from([3, 3, 3, 0]),
        EXTRAS,
    ),
    max_size=9,
)
FLIPS = st.none() | st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7))


def flipped(data: bytes, flip) -> bytes:
    if flip is None or not data:
        return data
    changed = bytearray(data)
    changed[int(flip[0] * len(data))] ^= 1 << flip[1]
    return bytes(changed)


def both(name, data, limits=None):
    """Plan the archive in both ways; None for the glance where it leaves it to the walk."""
    limits = limits or Limits()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        return planned(path, limits)


def planned(path, limits):
    name = path.name
    with RawFile(path) as source:
        seen = plan_at_a_glance(source, tool_for(name), name=name, limits=limits)
        walked = plan_by_walk(source, tool_for(name), name=name, limits=limits)
    return seen, walked


def agree(seen, walked):
    assert seen is None or seen == walked
    assert seen is None or tuple(seen.entries) == walked.entries


def tar_of(members, form) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as archive:
        for name, kind, size, mode, mtime in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime, info.linkname = kind, mode, mtime, "a"
            info.size = size if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) else 0
            try:
                archive.addfile(info, io.BytesIO(bytes(size)))
            except (ValueError, UnicodeEncodeError):
                continue  # a name that this form cannot hold
    return buffer.getvalue()


def zip_of(members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kind, size, mode, system, extra in members:
            info = zipfile.ZipInfo("x", (2020, 2, 3, 4, 5, 6))
            info.filename = name.encode("utf-8", "replace").decode() + ("/" if kind == "folder" else "")
            info.create_system, info.extra = system, extra
            form = {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "link": stat.S_IFLNK, "fifo": stat.S_IFIFO}[
                kind
            ]
            info.external_attr = (form | mode) << 16 if system == 3 else 0x10 * (kind == "folder") | mode & 1
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Duplicate name")  # that is what some cases are about
                archive.writestr(info, b"x" * (0 if kind == "folder" else size))
    return buffer.getvalue()


FORMS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])


@EXAMPLES
@given(
    members=TAR_MEMBERS,
    form=FORMS,
    flip=FLIPS,
    name=st.sampled_from(["t.tar", "t.zip"]),
    cut=st.integers(0, 2000),
)
@example(
    members=[("./", tarfile.DIRTYPE, 0, 0o755, 1), ("./a", tarfile.REGTYPE, 3, 0o644, 1)],
    form=tarfile.GNU_FORMAT,
    flip=None,
    name="t.tar",
    cut=0,
)
def test_of_a_tar(members, form, flip, name, cut):
    data = flipped(tar_of(members, form), flip)
    agree(*both(name, data[: len(data) - cut if cut > 1000 else None]))


@EXAMPLES
@given(members=ZIP_MEMBERS, flip=FLIPS)
def test_of_a_zip(members, flip):
    agree(*both("z.zip", flipped(zip_of(members), flip)))


@EXAMPLES
@given(
    members=ZIP_MEMBERS,
    most=st.integers(1, 9),
    size=st.sampled_from([0, 500, 10_000]),
    depth=st.integers(1, 4),
)
def test_within_and_over_the_limits(members, most, size, depth):
    limits = Limits(max_members=most, max_bytes=size, max_depth=depth)
    agree(*both("z.zip", zip_of(members), limits))


def test_ordinary_archives_are_planned_at_a_glance():
    names = ["d/", "d/a", "d/e/b", "c", "f/g/h", "f/", ".hidden", "d/.b"]
    plain = [
        (name, tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE, 0, 0o644, 5) for name in names
    ]
    for form in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        seen, walked = both("t.tar", tar_of(plain, form))
        assert seen is not None
        agree(seen, walked)
    for extra in (b"", INFO_ZIP, NTFS):
        members = [
            (name.rstrip("/"), "folder" if name.endswith("/") else "file", 7, 0o600, 3, extra)
            for name in names
        ]
        seen, walked = both("z.zip", zip_of([*members, ("last", "file", 0, 0, 3, extra)]))
        assert seen is not None
        agree(seen, walked)
        assert [str(entry.path) for entry in seen.entries] == [
            "d", "d/a", "d/e", "d/e/b", "c", "f", "f/g", "f/g/h", ".hidden", "d/.b", "last",
        ]  # fmt: skip


def test_windows_join_without_a_seam():
    """More records than one window of the reader holds, of all lengths."""
    members = [
        (f"{index % 97}/{'n' * (index % 200)}{index}", "file", index % 3, 0o644, 3, INFO_ZIP)
        for index in range(30_000)
    ]
    data = zip_of(members)
    assert len(data) > 4 * 1024 * 1024
    seen, walked = both("z.zip", data)
    assert seen is not None
    agree(seen, walked)
    plain = [
        (f"{index % 97}/{'n' * (index % 80)}{index}", tarfile.REGTYPE, index * 7 % 3000, 0o644, index)
        for index in range(3000)
    ]
    seen, walked = both("t.tar", tar_of(plain, tarfile.GNU_FORMAT))
    assert seen is not None
    assert seen.status is ArchiveStatus.OK
    agree(seen, walked)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**64 - 1)),
        max_size=20,
    )
)
def test_a_column_is_what_unpacking_gives(rows):
    form = struct.Struct("<BiQ")
    records = b"".join(form.pack(*row) for row in rows)
    columns = zip(
        *(column(records, code, at=at, step=form.size) for code, at in (("B", 0), ("i", 1), ("Q", 5))),
        strict=True,
    )
    assert list(columns) == rows
    assert holds(records, b"\7", at=0, step=form.size) == all(first == 7 for first, _, _ in rows)
    assert column(records, "B", at=0, step=form.size) == array("B", [row[0] for row in rows])
