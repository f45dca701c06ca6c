"""`iqdata preview` and `iqdata extract` as people and scripts call them."""

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from iqdata.cli import run
from tests.support.archives import Seven, Zipped, gz, seven, tar, tar_file, tar_folder, tar_link, zipped
from tests.support.realtools import tree


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    folder = tmp_path / "w"
    (folder / "train_data").mkdir(parents=True)
    (folder / "group_data").mkdir()
    monkeypatch.chdir(folder)
    return folder


def put(folder, name, data):
    path = folder / "train_data" / name
    path.write_bytes(data)
    return path


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


GOOD = tar(tar_folder(b"d/"), tar_file(b"d/a.csv", b"1,2\n"), tar_file(b"b", b"x"))


def test_preview_json_is_the_contract(workspace, capsys):
    put(workspace, "a.tar", GOOD)
    (workspace / "train_data" / "b").write_bytes(b"old one")
    assert run(["preview", "--json", "train_data/a.tar"]) == 0
    [found] = lines(capsys)
    assert {key: found[key] for key in ("archive", "tool", "rule", "status", "total_bytes")} == {
        "archive": "train_data/a.tar",
        "tool": "tar",
        "rule": "name contains .tar",
        "status": "ok",
        "total_bytes": 5,
    }
    assert found["entries"] == [
        {"path": "train_data/d", "type": "directory", "size_bytes": 0, "effect": "create", "reason": None},
        {"path": "train_data/d/a.csv", "type": "file", "size_bytes": 4, "effect": "create", "reason": None},
        {"path": "train_data/b", "type": "file", "size_bytes": 1, "effect": "overwrite", "reason": None},
    ]
    assert any("overwritten" in warning for warning in found["warnings"])
    assert not (workspace / "train_data" / "d").exists()


def test_preview_of_a_folder_shows_every_archive_and_what_they_share(workspace, capsys):
    put(workspace, "a.tar", GOOD)
    put(workspace, "b.zip", zipped(Zipped(b"b", b"other")))
    put(workspace, "set.tgz", b"x")
    put(workspace, "plain.csv", b"1")
    assert run(["preview", "train_data"]) == 0
    text = capsys.readouterr().out
    assert "train_data/a.tar: name contains .tar, so tar runs" in text
    assert "both write train_data/b" in text
    assert "Rename it to set.tar.gz" in text
    assert "plain.csv" not in text


@pytest.mark.parametrize(
    ("name", "data", "status", "code"),
    [
        ("a.tar", GOOD, "ok", 0),
        ("a.csv", b"1", "no-rule", 0),
        ("my.target.csv", b"a,b\n" * 300, "damaged", 1),
        ("a.7z", seven(Seven("a", b"1"))[:-3], "damaged", 1),
        ("a.zip", zipped(Zipped(b"a", b"1", flags=1)), "encrypted", 1),
        ("a.tar", tar(tar_file(b"../x", b"1"), tar_link(b"l", b"/etc")), "unsafe", 1),
        ("a.zip", b"Rar!\x1a\x07\x01\x00" + bytes(50), "unsupported", 1),
        ("a.gz", gz(bytes(300_000_000)), "too-large", 1),
    ],
)
def test_every_status_has_its_exit_code(name, data, status, code, workspace, capsys):
    path = put(workspace, name, data)
    assert run(["preview", "--json", str(path)]) == code
    assert run(["extract", "--json", str(path)]) == code
    before, after = lines(capsys)
    assert (before["status"], after["status"]) == (status, status)


def test_what_was_previewed_is_what_is_extracted(workspace, capsys):
    put(workspace, "a.tar", GOOD)
    run(["preview", "--json", "train_data"])
    run(["extract", "--json", "train_data"])
    before, after = lines(capsys)
    told = [entry["path"] for entry in before["entries"]]
    assert told == [entry["path"] for entry in after["entries"]]
    assert sorted(tree(workspace / "train_data")) == sorted(
        ["a.tar", *(path.removeprefix("train_data/") for path in told)]
    )


def test_extract_keeps_good_members_and_exits_1(workspace, capsys):
    put(workspace, "a.zip", zipped(Zipped(b"good", b"1"), Zipped(b"bad", b"2", checksum=7)))
    assert run(["extract", "train_data/a.zip"]) == 1
    assert "failed train_data/bad: its checksum does not fit the content" in capsys.readouterr().out
    assert sorted(tree(workspace / "train_data")) == ["a.zip", "good"]


def test_into_and_dry_run_and_no_overwrite(workspace, capsys, tmp_path):
    put(workspace, "a.tar", GOOD)
    assert run(["extract", "--dry-run", "train_data/a.tar"]) == 0
    assert sorted(tree(workspace / "train_data")) == ["a.tar"]
    assert run(["extract", "--into", str(tmp_path / "out" / "deep"), "train_data/a.tar"]) == 0
    assert sorted(tree(tmp_path / "out" / "deep")) == ["b", "d", "d/a.csv"]
    (workspace / "train_data" / "b").write_bytes(b"mine")
    assert run(["extract", "--no-overwrite", "train_data/a.tar"]) == 0
    assert (workspace / "train_data" / "b").read_bytes() == b"mine"
    assert run(["extract", "train_data/a.tar"]) == 0
    assert (workspace / "train_data" / "b").read_bytes() == b"x"
    capsys.readouterr()


def test_the_manifest_says_what_came_from_where(workspace, capsys):
    put(workspace, "a.tar", GOOD)
    put(workspace, "bad.7z", b"7z\xbc\xaf\x27\x1c")
    assert run(["extract", "train_data"]) == 1
    with sqlite3.connect(workspace / ".iqdata" / "state.sqlite") as database:
        archives = database.execute(
            "SELECT archive, tool, status, error FROM extraction ORDER BY archive"
        ).fetchall()
        paths = database.execute("SELECT archive, path, kind FROM produced ORDER BY path").fetchall()
    database.close()
    assert [row[:3] for row in archives] == [
        ("train_data/a.tar", "tar", "ok"),
        ("train_data/bad.7z", "7z", "damaged"),
    ]
    assert archives[1][3]
    assert paths == [
        ("train_data/a.tar", "train_data/b", "file"),
        ("train_data/a.tar", "train_data/d", "directory"),
        ("train_data/a.tar", "train_data/d/a.csv", "file"),
    ]
    put(workspace, "a.tar", tar(tar_file(b"new", b"1")))
    capsys.readouterr()
    assert run(["preview", "train_data/a.tar"]) == 0
    assert "came from an older version" in capsys.readouterr().out


def test_outside_a_workspace_no_state_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tar").write_bytes(GOOD)
    assert run(["extract", "a.tar"]) == 0
    assert sorted(tree(tmp_path)) == ["a.tar", "b", "d", "d/a.csv"]
    assert "2 files, 5 B extracted" in capsys.readouterr().out


def test_an_archive_that_does_not_exist_is_a_usage_error(workspace, capsys):
    assert run(["preview", "train_data/none.tar"]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_names_do_not_steer_the_terminal(workspace, capsys):
    put(workspace, "a.tar", tar(tar_file(b"esc\x1b[2J\nline", b"1"), tar_file(b"\xff", b"2")))
    assert run(["preview", "train_data/a.tar"]) == 0
    assert run(["extract", "-v", "train_data/a.tar"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert r"esc\x1b[2J\nline" in text
    assert r"\xff" in text
    assert run(["preview", "--json", "train_data/a.tar"]) == 0
    [found] = lines(capsys)
    assert os.fsencode(found["entries"][1]["path"]) == b"train_data/\xff"


def test_many_files_are_collapsed_unless_all_are_asked_for(workspace, capsys):
    put(workspace, "a.tar", tar(*[tar_file(f"d{index % 3}/f{index}".encode(), b"1") for index in range(300)]))
    assert run(["preview", "train_data/a.tar"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) < 50
    assert "d0/  (100 files, 100 B)" in short
    assert run(["preview", "--all", "train_data/a.tar"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 300


def test_the_engine_can_be_chosen_and_is_told(workspace, capsys):
    put(workspace, "a.zip", zipped(Zipped(b"a", b"1")))
    for engine in ("portable", "native"):
        assert run(["extract", "-v", "--engine", engine, "train_data/a.zip"]) == 0
        assert f"by the {engine} engine" in capsys.readouterr().out


def test_json_and_quiet_write_nothing_else(workspace):
    put(workspace, "a.tar", GOOD)
    for arguments in (["preview", "--json"], ["extract", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "iqdata", *arguments, "train_data/a.tar"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stderr == ""
        assert len([json.loads(line) for line in done.stdout.splitlines()]) == 1


def test_remote_preview_compares_with_the_space(workspace, capsys, tmp_path):
    space = tmp_path / "space"
    (space / "train_data" / "d").mkdir(parents=True)
    (space / "train_data" / "b").write_bytes(b"other")
    put(workspace, "a.tar", GOOD)
    assert run(["preview", "--json", "--remote", "--space", space.as_uri(), "train_data/a.tar"]) == 0
    [found] = lines(capsys)
    effects = {entry["path"]: entry["effect"] for entry in found["entries"]}
    assert effects == {
        "train_data/d": "unchanged",
        "train_data/d/a.csv": "create",
        "train_data/b": "overwrite",
    }


def test_remote_preview_without_a_space_says_what_to_write(workspace, capsys):
    put(workspace, "a.tar", GOOD)
    assert run(["preview", "--remote", "train_data/a.tar"]) == 2
    assert "--space" in capsys.readouterr().err
