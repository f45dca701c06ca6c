"""Archives made to do harm: nothing outside the folder is touched, nothing dangerous stands in it, limits hold.

The real tools were seen to escape through planted links, to write bombs in full and to delete by anti items.
"""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zlib

import pytest

from iqdata.errors import TooLarge
from iqdata.extract.engine import extract, inspect, sweep
from iqdata.extract.model import ArchiveStatus, Engine, EntryOutcome, Limits
from tests.support.archives import (
    Seven,
    Zipped,
    gz,
    seven,
    tar,
    tar_file,
    tar_folder,
    tar_hard,
    tar_header,
    tar_link,
    tar_long,
    zipped,
)
from tests.support.realtools import tree

LINK = 0o120777


@pytest.fixture
def place(tmp_path):
    """A folder to extract in, with a canary beside it."""
    (tmp_path / "canary.txt").write_bytes(b"canary")
    folder = tmp_path / "in"
    folder.mkdir()
    yield folder
    assert (tmp_path / "canary.txt").read_bytes() == b"canary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary.txt", "in"]


def run(place, name, data, **how):
    archive = place / name
    archive.write_bytes(data)
    result = extract(archive, **how)
    assert archive.read_bytes() == data
    archive.unlink()
    assert not [path for path in tree(place) if "iqdata-" in path]
    return result


def no_link_leads_out(place):
    root = place.resolve()
    return all(path.resolve().is_relative_to(root) for path in place.rglob("*") if path.is_symlink())


ESCAPES = {
    "tar-dotdot": ("a.tar", tar(tar_file(b"../canary.txt", b"x"), tar_file(b"a/../../canary.txt", b"x"))),
    "tar-absolute": ("a.tar", tar(tar_file(b"/canary.txt", b"x"))),
    "tar-link-parent": ("a.tar", tar(tar_link(b"d", b".."), tar_file(b"d/canary.txt", b"x"))),
    "tar-link-absolute": ("a.tar", tar(tar_link(b"d", b"/tmp"), tar_file(b"d/iqdata-escape", b"x"))),
    "tar-link-file": ("a.tar", tar(tar_link(b"c", b"../canary.txt"), tar_file(b"c", b"x"))),
    "tar-hard-out": ("a.tar", tar(tar_hard(b"c", b"../canary.txt"), tar_file(b"c", b"x"))),
    "tar-hard-through-link": (
        "a.tar",
        tar(tar_link(b"d", b".."), tar_hard(b"c", b"d/canary.txt"), tar_file(b"c", b"x")),
    ),
    "tar-link-chain": (
        "a.tar",
        tar(
            tar_folder(b"a/b/c/"),
            tar_link(b"a/b/c/up", b"../../.."),
            tar_link(b"x", b"a/b/c/up/.."),
            tar_file(b"x/canary.txt", b"x"),
        ),
    ),
    "tar-long-chain": (
        "a.tar",
        tar(
            *[tar_link(f"{'d' * 200}{index}".encode()[:99], b"l" * 99) for index in range(20)],
            tar_long(b"K", b"d/" * 1000 + b"../" * 1001),
            tar_link(b"far", b"x"),
            tar_file(b"far/canary.txt", b"x"),
        ),
    ),
    "zip-dotdot": ("a.zip", zipped(Zipped(b"../canary.txt", b"x"), Zipped(b"..\\canary.txt", b"x"))),
    "zip-absolute": ("a.zip", zipped(Zipped(b"/canary.txt", b"x"), Zipped(b"C:\\canary.txt", b"x"))),
    "zip-link": ("a.zip", zipped(Zipped(b"d", b"..", mode=LINK), Zipped(b"d/canary.txt", b"x"))),
    "zip-link-file": ("a.zip", zipped(Zipped(b"c", b"../canary.txt", mode=LINK), Zipped(b"c", b"x"))),
    "7z-dotdot": ("a.7z", seven(Seven("../canary.txt", b"x"), Seven("..\\canary.txt", b"x"))),
    "7z-link": ("a.7z", seven(Seven("d", b"..", mode=LINK), Seven("d/canary.txt", b"x"))),
    "gz-name": ("a.gz", gz(b"x", name=b"../canary.txt")),
    "gz-name-absolute": ("a.gz", gz(b"x", name=b"/tmp/../canary.txt")),
}


@pytest.mark.parametrize("engine", [Engine.PORTABLE, Engine.NATIVE])
@pytest.mark.parametrize("case", ESCAPES)
def test_nothing_outside_is_touched(case, engine, place):
    name, data = ESCAPES[case]
    run(place, name, data, engine=engine)
    assert no_link_leads_out(place)
    assert all(facts[0] in ("file", "directory", "symlink") for facts in tree(place).values())


@pytest.mark.parametrize("engine", [Engine.PORTABLE, Engine.NATIVE])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("b.tar", tar(tar_folder(b"d/"), tar_file(b"d/canary.txt", b"x"))),
        ("b.tar", tar(tar_file(b"d/canary.txt", b"x"))),
        ("b.zip", zipped(Zipped(b"d/canary.txt", b"x"))),
        ("b.7z", seven(Seven("d/canary.txt", b"x"))),
        ("b.gz", gz(b"x", name=b"d/canary.txt")),
    ],
)
def test_a_planted_link_is_not_followed(name, data, engine, place):
    """The one escape that both real tools have: a link planted by one upload and used by the next."""
    (place / "d").symlink_to("..")
    result = run(place, name, data, engine=engine)
    assert result.status is ArchiveStatus.UNSAFE
    assert all(entry.outcome is EntryOutcome.FAILED for entry in result.entries)
    assert (place / "d").is_symlink()


def test_a_link_at_the_members_own_path_is_replaced_and_its_target_untouched(place):
    (place / "c").symlink_to("../canary.txt")
    result = run(place, "b.zip", zipped(Zipped(b"c", b"new")))
    assert result.status is ArchiveStatus.OK
    assert not (place / "c").is_symlink()
    assert (place / "c").read_bytes() == b"new"


def test_an_anti_item_deletes_nothing(place):
    (place / "gone").write_bytes(b"stays")
    run(place, "a.7z", seven(Seven("gone", b"", anti=True), Seven("z", b"1")))
    assert (place / "gone").read_bytes() == b"stays"


def test_no_devices_pipes_or_setuid(place):
    data = tar(
        tar_header(b"p", kind=b"6"),
        tar_header(b"c", kind=b"3", device=(1, 3)),
        tar_header(b"b", kind=b"4", device=(8, 0)),
        tar_file(b"s", b"x", mode=0o6777),
        tar_folder(b"t/", mode=0o1777),
    )
    run(place, "a.tar", data)
    assert sorted(tree(place)) == ["s", "t"]
    assert stat.S_IMODE((place / "s").stat().st_mode) == 0o755
    assert stat.S_IMODE((place / "t").stat().st_mode) == 0o755


@pytest.mark.parametrize("name", [b"./", b".", b""])
def test_the_folder_itself_keeps_its_mode(name, place):
    before = place.stat().st_mode
    run(place, "a.tar", tar(tar_folder(name, mode=0), tar_file(b"a", b"1")))
    assert place.stat().st_mode == before
    assert (place / "a").read_bytes() == b"1"


# --- bombs --------------------------------------------------------------------------------------------------------

SMALL_LIMITS = Limits(
    max_bytes=50_000_000, max_ratio=100, ratio_floor_bytes=1_000_000, max_members=500, max_depth=20
)


def deflated_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1024 * 1024)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


ZEROS = deflated_zeros(1024)
QUOTED = Zipped(b"k", b"", 8, packed=ZEROS[:100_000], claimed=99_000_000)


def overlapping() -> bytes:
    """Many directory entries for one kernel."""
    first = Zipped(
        b"k0",
        b"",
        8,
        packed=deflated_zeros(2),
        claimed=2 * 1024 * 1024,
        checksum=zlib.crc32(bytes(2 * 1024 * 1024)),
    )
    from tests.support.archives import zip_central, zip_local

    local = zip_local(first)
    directory = b""
    for index in range(200):
        first.name = f"k{index % 10}".encode()
        directory += zip_central(first)
    import struct

    return (
        local
        + directory
        + struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 200, 200, len(directory), len(local), 0)
    )


def sparse(size: int) -> bytes:
    from tests.support.archives import tar_number

    tail = bytes(41) + tar_number(0, 12) + tar_number(0, 12) + bytes(72) + b"\0" + tar_number(size, 12)
    return tar(tar_header(b"hole", 0, kind=b"S", magic=b"ustar  \0", tail=tail))


BOMBS = {
    "gz 1 GiB of zeros in 1 MiB": ("a.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + ZEROS + bytes(8)),
    "tar.gz": ("a.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + ZEROS + bytes(8)),
    "zip true size": ("a.zip", zipped(Zipped(b"z", b"", 8, packed=ZEROS, claimed=1024**3))),
    "zip false size": ("a.zip", zipped(Zipped(b"z", b"", 8, packed=ZEROS, claimed=60_000_000))),
    "zip overlapping": ("a.zip", overlapping()),
    "tar sparse 1 TiB": ("a.tar", sparse(1 << 40)),
    "members": ("a.zip", zipped(*[Zipped(f"{index}".encode()) for index in range(501)])),
    "tar members": ("a.tar", tar(*[tar_file(b"n") for _ in range(501)])),
    "depth": ("a.zip", zipped(Zipped(b"d/" * 30 + b"x", b"1"))),
    "tar depth": ("a.tar", tar(tar_long(b"L", b"d/" * 900 + b"x"), tar_file(b"d", b"1"))),
}


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_leave_nothing(case, place):
    name, data = BOMBS[case]
    started = time.process_time()
    result = run(place, name, data, limits=SMALL_LIMITS)
    assert result.status is ArchiveStatus.TOO_LARGE, result
    assert tree(place) == {}
    assert time.process_time() - started < 20  # stopped early, and not after a gigabyte


def test_the_default_limits_stop_a_gibibyte_in_a_mebibyte(place):
    name, data = BOMBS["gz 1 GiB of zeros in 1 MiB"]
    assert run(place, name, data).status is ArchiveStatus.TOO_LARGE


@pytest.mark.parametrize("method", [b"\x21", b"\x03\x01\x01"])
def test_dictionaries_of_gigabytes_are_refused(method, place):
    plain = seven(Seven("a", b"x" * 100), method=method)
    # The properties are put behind the method: 0x20 in the coder's flags announces them.
    size = len(method)
    properties = b"\x28" if method == b"\x21" else b"\x5d" + (0xFFFFFFFF).to_bytes(4, "little")
    at = plain.index(b"\x07\x0b\x01\0\x01" + bytes((size,)) + method)
    header_at = 32 + int.from_bytes(plain[12:20], "little")
    header = (
        plain[header_at:at]
        + b"\x07\x0b\x01\0\x01"
        + bytes((size | 0x20,))
        + method
        + bytes((len(properties),))
        + properties
    )
    header += plain[at + 6 + size :]
    import struct

    start = struct.pack("<QQL", header_at - 32, len(header), zlib.crc32(header))
    data = plain[:8] + struct.pack("<L", zlib.crc32(start)) + start + plain[32:header_at] + header
    result = run(place, "a.7z", data)
    assert result.status is ArchiveStatus.TOO_LARGE
    assert "dictionary" in result.error


def test_a_false_zip_size_is_cut_off_where_it_was_claimed(place):
    data = zipped(Zipped(b"z", b"", 8, packed=ZEROS[:500_000], claimed=1000), Zipped(b"good", b"1"))
    tracemalloc.start()
    result = run(place, "a.zip", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.status is ArchiveStatus.DAMAGED
    assert sorted(tree(place)) == ["good"]
    assert peak < 30_000_000


def test_a_quota_stops_the_extraction_and_leaves_nothing(place):
    left = 1500

    def quota(size):
        nonlocal left
        left -= size
        if left < 0:
            raise TooLarge("the space is full")

    result = run(place, "a.tar", tar(tar_file(b"a", bytes(1000)), tar_file(b"b", bytes(1000))), quota=quota)
    assert (result.status, result.error) == (ArchiveStatus.TOO_LARGE, "the space is full")
    assert tree(place) == {}


def test_a_stream_takes_little_memory(place):
    """200 MB through gzip and tar; what grows is neither the content nor the list of chunks."""
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from iqdata.extract.engine import extract
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(extract(Path(sys.argv[1])).status.value)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """)
    block = bytes(range(256)) * 4096
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    archive = place / "big.tar.gz"
    with archive.open("wb") as out:
        for number in range(10):
            out.write(packer.compress(tar_header(f"f{number}".encode(), 20 * len(block))))
            for _ in range(20):
                out.write(packer.compress(block))
        out.write(packer.compress(bytes(1024)) + packer.flush())
    done = subprocess.run(
        [sys.executable, "-c", script, str(archive)], capture_output=True, text=True, check=True, timeout=100
    )
    status, grown = done.stdout.split()
    assert status == "ok"
    assert int(grown) < 150
    for path in place.iterdir():
        path.unlink()


# --- what kills leave -----------------------------------------------------------------------------------------------


def test_a_killed_run_leaves_nothing_under_a_real_name_and_is_swept(place):
    """The child stops itself in the middle of the content, and is then killed as kill -9 would."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from iqdata.extract.engine import extract
        def quota(size):
            quota.total += size
            if quota.total > 3000:
                os.kill(os.getpid(), signal.SIGKILL)
        quota.total = 0
        extract(Path(sys.argv[1]), quota=quota)
    """)
    archive = place / "a.tar"
    archive.write_bytes(
        tar(tar_file(b"d/a", bytes(2000)), tar_file(b"d/b", bytes(2000)), tar_file(b"c", b"1"))
    )
    done = subprocess.run([sys.executable, "-c", script, str(archive)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in place.iterdir() if path.name != "a.tar"]
    assert len(left) == 1
    assert left[0].startswith("iqdata-stage-")
    assert "." not in left[0]
    assert sweep(place, older_than_s=3600, now=time.time()) == 0
    assert sweep(place, older_than_s=3600, now=time.time() + 4000) == 1
    archive.unlink()
    assert list(place.iterdir()) == []


def test_staging_in_use_is_not_swept(place):
    seen = []

    def quota(_size):
        seen.append(sweep(place, older_than_s=0, now=time.time() + 10_000))

    result = run(place, "a.tar", tar(tar_file(b"a", b"1")), quota=quota)
    assert result.status is ArchiveStatus.OK
    assert seen == [0]


def test_staging_goes_where_it_is_told(place):
    stage = place / "elsewhere"
    stage.mkdir()
    area = place / "area"
    area.mkdir()
    (area / "a.tar").write_bytes(tar(tar_file(b"a", b"1"), tar_file(b"b", b"2")))
    seen = set()

    def quota(_size):
        seen.update(path.name for path in area.iterdir())

    assert extract(area / "a.tar", stage_in=stage, quota=quota).status is ArchiveStatus.OK
    assert seen == {"a.tar"}
    assert sorted(path.name for path in area.iterdir()) == ["a", "a.tar", "b"]
    assert list(stage.iterdir()) == []


# --- odd inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.zip", "a.7z", "a.gz", "a.xz"])
def test_what_is_no_file_has_a_status_too(name, place):
    assert inspect(place / name).status is ArchiveStatus.DAMAGED  # missing
    (place / name).mkdir()
    assert inspect(place / name).status is ArchiveStatus.DAMAGED
    (place / name).rmdir()
    os.mkfifo(place / name)
    assert inspect(place / name).status is ArchiveStatus.DAMAGED
    (place / name).unlink()
    (place / name).write_bytes(b"")
    assert inspect(place / name).status is ArchiveStatus.DAMAGED
    (place / name).unlink()


@pytest.mark.parametrize(
    "raw",
    [
        b"new\nline",
        b"esc\x1b]0;x\x07",
        b"\xff\xfe",
        b"CON",
        b"dots...",
        b"-rf",
        b"a*b",
        b"a:b",
        b"a|b",
        b" ",
        b"~",
        b"$(x)",
    ],
)
def test_odd_names_are_made_as_they_are(raw, place):
    for name, data in (("a.tar", tar(tar_file(raw, b"1"))), ("a.zip", zipped(Zipped(raw, b"1")))):
        assert run(place, name, data).status is ArchiveStatus.OK
        assert [os.fsencode(path.name) for path in place.iterdir()] == [raw]
        (place / os.fsdecode(raw)).unlink()


def test_a_full_disk_leaves_nothing(place):
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from iqdata.extract.engine import extract
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        result = extract(Path(sys.argv[1]))
        print(result.status.value, result.files)
    """)
    archive = place / "a.tar"
    archive.write_bytes(tar(tar_file(b"small", b"1"), tar_file(b"large", bytes(300_000))))
    done = subprocess.run(
        [sys.executable, "-c", script, str(archive)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["damaged", "1"]
    assert sorted(path.name for path in place.iterdir()) == ["a.tar", "small"]
    for path in place.iterdir():
        path.unlink()


def test_a_million_empty_members_fit_in_memory(place):
    """A zip of a million entries, previewed in a child whose address space is limited."""
    import struct

    count = 200_000
    local = struct.pack("<4sHHHHHLLLHH", b"PK\3\4", 20, 0, 0, 0, 0x4AEE, 0, 0, 0, 7, 0)
    archive = place / "a.zip"
    with archive.open("wb") as out:
        for index in range(count):
            out.write(local + b"%07d" % index)
        start = out.tell()
        for index in range(count):
            out.write(
                struct.pack(
                    "<4sBBHHHHHLLLHHHHHLL",
                    b"PK\1\2",
                    20,
                    3,
                    20,
                    0,
                    0,
                    0,
                    0x4AEE,
                    0,
                    0,
                    0,
                    7,
                    0,
                    0,
                    0,
                    0,
                    0o100644 << 16,
                    index * 37,
                )
                + b"%07d" % index
            )
        size = out.tell() - start
        out.write(struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start))
        out.write(struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1))
        out.write(struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from iqdata.extract.engine import inspect
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plan = inspect(Path(sys.argv[1]))
        print(plan.status.value, len(plan.entries), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(archive)], capture_output=True, text=True, check=True, timeout=100
    )
    status, entries, grown = done.stdout.split()
    archive.unlink()
    assert (status, int(entries)) == ("ok", count)
    assert int(grown) < 500 * count / 1_000_000 + 30
