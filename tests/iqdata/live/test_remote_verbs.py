"""ls, tree, get, put, mv, rm, mkdir against the embedded space."""

import os
import zipfile

import pytest

from tests.iqdata.live.conftest import files_of

pytestmark = pytest.mark.live


@pytest.fixture
def at(iqdata, space, tmp_path):
    """Run a verb against the space from an empty folder."""

    def call(*arguments):
        return iqdata("-C", tmp_path, "--space", space.url("team"), *arguments)

    return call


@pytest.fixture
def archive(tmp_path):
    """A zip with one member."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as written:
        written.writestr("m.csv", "1,2\n")
    return path


def test_put_says_the_rule_and_the_space_follows_it(at, archive, home):
    put = at("--json", "put", archive)
    assert put.code == 0
    assert put.summary == {
        "event": "put", "path": "train_data/a.zip", "size_bytes": archive.stat().st_size,
        "tool": "7z", "rule": "name ends in .zip",
    }  # fmt: skip
    assert (home / "train_data" / "a.zip").read_bytes() == archive.read_bytes()
    again = at("put", archive)
    assert again.code == 2
    assert "--force" in again.err
    assert at("put", archive, "--force").code == 0


def test_mv_says_the_rule_that_the_new_name_triggers(at, archive, home):
    archive.rename(archive.with_name("b.bin"))
    assert "runs" not in at("put", archive.with_name("b.bin")).out
    moved = at("mv", "train_data/b.bin", "train_data/b.zip")
    assert moved.code == 0
    assert "7z" in moved.out
    assert at("mv", "train_data/nothing", "train_data/else").code == 3


def test_ls_and_tree_show_what_is_there(at, archive):
    assert at("put", archive).code == 0
    names = {line["path"]: line["type"] for line in at("--json", "ls", "train_data").lines}
    assert names["train_data/a.zip"] == "file"
    tree = at("tree")
    assert "a.zip" in tree.out
    missing = at("ls", "train_dat")
    assert missing.code == 3
    assert "train_data" in missing.err


def test_get_brings_a_file_or_a_folder_and_replaces_nothing_unasked(at, archive, tmp_path):
    assert at("put", archive).code == 0
    target = tmp_path / "got"
    assert at("get", "train_data/a.zip", target).code == 0
    assert target.read_bytes() == archive.read_bytes()
    assert target.stat().st_mtime_ns // 10**9 == archive.stat().st_mtime_ns // 10**9
    assert at("get", "train_data/a.zip", target).code == 2
    folder = tmp_path / "folder"
    assert at("get", "train_data", folder).code == 0
    assert "a.zip" in files_of(folder)


def test_mkdir_and_rm(at, archive, home):
    assert at("mkdir", "train_data/x/y").code == 0
    assert (home / "train_data" / "x" / "y").is_dir()
    assert at("put", archive, "train_data/x").code == 0
    refused = at("rm", "train_data/x")
    assert refused.code == 2
    assert "-r" in refused.err
    assert at("rm", "-r", "train_data/x").code == 0
    assert not (home / "train_data" / "x").exists()
    assert at("rm", "/").code == 2
    assert at("get", "../etc").code == 2


def test_verify_finds_what_dates_hide(iqdata, space, home, tmp_path):
    workspace = tmp_path / "w"
    (workspace / "train_data").mkdir(parents=True)
    (workspace / "train_data" / "a.csv").write_text("1,2,3\n")
    (workspace / "train_data" / "b.csv").write_text("same\n")
    url = space.url("team")
    assert iqdata("-C", workspace, "--space", url, "push").code == 0
    clean = iqdata("-C", workspace, "--space", url, "--json", "verify")
    assert (clean.code, clean.summary["same"]) == (0, 2)
    # The same size and date, other bytes: no mirror sees it, verify does.
    standing = home / "train_data" / "a.csv"
    before = standing.stat()
    standing.write_text("9,9,9\n")
    os.utime(standing, ns=(before.st_atime_ns, before.st_mtime_ns))
    (home / "train_data" / "more.csv").write_text("x")
    assert iqdata("-C", workspace, "--space", url, "--json", "push").summary["uploaded"] == 0
    found = iqdata("-C", workspace, "--space", url, "--json", "verify")
    assert found.code == 1
    assert {line["path"]: line["status"] for line in found.lines[:-1]} == {
        "train_data/a.csv": "different",
        "train_data/b.csv": "same",
        "train_data/more.csv": "only-there",
    }
    assert iqdata("-C", workspace, "--space", url, "push", "--checksum").code == 1  # kept both: a conflict
    assert standing.read_text() == "1,2,3\n"
