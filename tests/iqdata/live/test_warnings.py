"""What surprises people is said, with what to do about it; what surprises nobody is not."""

import pytest

from iqdata.extract.engine import inspect
from iqdata.extract.model import ArchiveStatus
from tests.support.archives import (
    Seven,
    Zipped,
    bz,
    gz,
    ntfs_time,
    seven,
    tar,
    tar_file,
    tar_folder,
    unix_time,
    xz,
    zipped,
)

EXACT = unix_time(1_500_000_000)
GOOD = tar(tar_folder(b"d/"), tar_file(b"d/a.csv", b"1,2\n"))


def told(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    plan = inspect(tmp_path / name)
    return plan, " ".join(plan.warnings)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        pytest.param(
            "my.target.csv", b"a,b\n" * 300, ["merely contains .tar", "my-target.csv"], id="contains .tar"
        ),
        pytest.param("x.tar.part", GOOD, ["merely contains .tar"], id="half-uploaded name"),
        pytest.param(
            "a.tar.gz",
            GOOD,
            ["content is tar, not tar in gzip", "goes by the content"],
            id="other content, tar",
        ),
        pytest.param("a.tar", xz(GOOD), ["content is tar in xz, not tar"], id="compressed under .tar"),
        pytest.param(
            "a.gz",
            zipped(Zipped(b"m", b"1", extra=EXACT)),
            ["content is zip, not gzip"],
            id="other content, 7z",
        ),
        pytest.param("a.zip", gz(GOOD), ["content is gzip, not zip"], id="tar.gz called zip"),
        pytest.param(
            "a.gz",
            gz(b"1", name=b"other.csv"),
            ["stores a name of its own", "other.csv", "gzip -n"],
            id="FNAME",
        ),
        pytest.param("a.gz", gz(b"1") + b"garbage", ["followed by other data", "whole"], id="garbage after"),
        pytest.param("a.zip", zipped(Zipped(b"../x", b"1", extra=EXACT)), ["stores ../x as x"], id="renamed"),
        pytest.param(
            "a.zip",
            zipped(Zipped(b"x", b"1", extra=EXACT), Zipped(b"/x", b"2", extra=EXACT)),
            ["more than once", "last one stays"],
            id="merged",
        ),
        pytest.param(
            "a.tar", tar(tar_file(b"../x", b"1"), tar_file(b"y", b"2")), ["../x is left out"], id="skipped"
        ),
        pytest.param("a.tar", GOOD + GOOD, ["second tar", "reads only the first"], id="joined tars"),
        pytest.param(
            "a.zip",
            zipped(Zipped(b"x", b"1", extra=EXACT)) * 2,
            ["second zip", "reads only the first"],
            id="joined zips",
        ),
        pytest.param(
            "a.tar", GOOD + b"junk" * 200, ["Data follows the end of the tar"], id="junk after a tar"
        ),
        pytest.param("a.tar", GOOD[:-1024], ["no end mark"], id="no end mark"),
        pytest.param(
            "a.zip",
            zipped(Zipped("数据".encode("gbk"), b"1", extra=EXACT)),
            ["not UTF-8", "GBK"],
            id="legacy names",
        ),
        pytest.param(
            "a.tar", tar(tar_file(b"N", b"1"), tar_file(b"n", b"2")), ["differ only in case"], id="case clash"
        ),
        pytest.param(
            "a.tar",
            tar(tar_file(b"new\nline", b"1")),
            [r"new\nline holds control characters"],
            id="control characters",
        ),
        pytest.param(
            "a.zip",
            zipped(Zipped(b"x", b"1")),
            ["1 of 1 members have no time zone", "UTC"],
            id="zone-less times",
        ),
        pytest.param(
            "a.tar",
            tar(tar_file(b"in.zip", b"1")),
            ["archive inside the archive", "stays packed"],
            id="nested",
        ),
        pytest.param(
            "a.zip",
            zipped(Zipped(b"n/", b"data", extra=EXACT)),
            ["folder by its name", "7z drops"],
            id="dropped data",
        ),
        pytest.param("a.csv.gz2", bz(b"1") + b"x", ["followed by other data"], id="garbage after bzip2"),
    ],
)
def test_it_is_said(name, data, words, tmp_path):
    _, text = told(tmp_path, name, data)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.tar", GOOD, id="tar"),
        pytest.param("a.tar.gz", gz(GOOD, name=b"whatever"), id="tar.gz, whose stored name tar ignores"),
        pytest.param(
            "a.zip",
            zipped(Zipped(b"d/x", b"1", extra=EXACT), Zipped(b"y", b"2", extra=ntfs_time(1))),
            id="zip",
        ),
        pytest.param("a.7z", seven(Seven("x", b"1")), id="7z"),
        pytest.param("a.csv.gz", gz(b"1"), id="gz"),
        pytest.param("a.csv.gz", gz(b"1", name=b"a.csv"), id="gz with the name it would have anyway"),
        pytest.param("a.csv.xz", xz(b"1"), id="xz"),
        pytest.param("a.csv.gz2", bz(b"1"), id="gz2"),
    ],
)
def test_an_ordinary_archive_is_met_with_silence(name, data, tmp_path):
    plan, text = told(tmp_path, name, data)
    assert (plan.status, text) == (ArchiveStatus.OK, "")


def test_zstd_inside_7z_is_explained(tmp_path):
    data = seven(Seven("a", b"1"), method=b"\x04\xf7\x11\x01", packed=b"\x28\xb5\x2f\xfd" + bytes(9))
    plan, _ = told(tmp_path, "a.7z", data)
    assert plan.status is ArchiveStatus.UNSUPPORTED
    assert "the server's 7z cannot read; pack it with LZMA2" in plan.error


def test_the_modelled_version_is_named(tmp_path):
    assert told(tmp_path, "a.tar", GOOD)[0].assumed == "GNU tar 1.34"
    assert told(tmp_path, "a.gz", gz(b"1"))[0].assumed == "7-Zip 26.02"
