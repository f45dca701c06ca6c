"""push, pull, sync and status against real servers: the same tree on every side."""

import json
import shutil

import pytest

from iqdata.paths import AREAS
from tests.iqdata.live.conftest import files_of, make_workspace
from tests.servers import vsftpd

pytestmark = pytest.mark.live


@pytest.fixture
def plain(tmp_path):
    """A vsftpd that extracts nothing."""
    folder = tmp_path / "vsftpd"
    folder.mkdir()
    with vsftpd(folder) as running:
        yield running


def areas_of(folder):
    """Return the files of both areas."""
    return {path: data for path, data in files_of(folder).items() if path.split("/")[0] in AREAS}


def test_the_space_holds_what_preview_announced_plus_the_loose_files(iqdata, space, home, workspace):
    announced = dict.fromkeys(areas_of(workspace))
    preview = iqdata("-C", workspace, "--json", "preview", workspace)
    assert preview.code in (0, 1)
    for archive in preview.lines:
        for entry in archive["entries"]:
            if entry["type"] == "file" and entry["effect"] != "refuse":
                announced[entry["path"]] = entry["size_bytes"]
    assert len(announced) > len(areas_of(workspace))

    pushed = iqdata("-C", workspace, "--space", space.url("team"), "--json", "push")
    assert (pushed.code, pushed.summary["status"], pushed.summary["failed"]) == (0, "ok", 0)
    standing = areas_of(home)
    assert standing.keys() == announced.keys()
    for path, data in areas_of(workspace).items():
        assert standing[path] == data
    for path, size in announced.items():
        assert size is None or len(standing[path]) == size

    again = iqdata("-C", workspace, "--space", space.url("team"), "--json", "push")
    assert [line["event"] for line in again.lines] == ["summary"]
    assert (again.summary["uploaded"], again.summary["bytes_sent"]) == (0, 0)


def test_what_was_pushed_comes_back_the_same(iqdata, space, home, workspace, tmp_path):
    url = space.url("team")
    assert iqdata("-C", workspace, "--space", url, "push").code == 0
    second = tmp_path / "second"
    second.mkdir()
    assert iqdata("-C", second, "--space", url, "init").code == 0
    pulled = iqdata("-C", second, "--json", "pull")
    assert (pulled.code, pulled.summary["failed"]) == (0, 0)
    assert areas_of(second) == areas_of(home)
    # Derived files came out of the archives, not over the wire.
    downloaded = {line["path"] for line in pulled.lines if line.get("action") == "download"}
    assert "train_data/vectors.tar.gz" in downloaded
    assert "train_data/vectors/en.csv" not in downloaded
    assert (second / "train_data" / "sub" / "empty").is_dir()
    again = iqdata("-C", second, "--json", "pull")
    assert [line["event"] for line in again.lines] == ["summary"]

    assert iqdata("-C", workspace, "--space", url, "sync").code == 0
    assert areas_of(workspace) == areas_of(home)
    assert iqdata("-C", workspace, "--space", url, "--json", "sync", "--dry-run").out.count("\n") == 1


def test_a_plain_server_gets_and_gives_every_file(iqdata, plain, workspace, tmp_path):
    pushed = iqdata("-C", workspace, "--space", plain.url, "--json", "push", password=plain.password)
    assert (pushed.code, pushed.summary["failed"]) == (0, 0)
    assert areas_of(plain.root) == areas_of(workspace)
    again = iqdata("-C", workspace, "--space", plain.url, "--json", "push", password=plain.password)
    assert [line["event"] for line in again.lines] == ["summary"]
    second = tmp_path / "second"
    (second / "train_data").mkdir(parents=True)
    assert iqdata("-C", second, "--space", plain.url, "pull", password=plain.password).code == 0
    assert areas_of(second).keys() >= areas_of(plain.root).keys()
    for path, data in areas_of(plain.root).items():
        assert (second / path).read_bytes() == data


def test_dry_run_and_status_change_nothing(iqdata, space, home, workspace):
    url = space.url("team")
    iqdata("-C", workspace, "--space", url, "push", workspace / "train_data" / "loose.csv")
    before = areas_of(home)
    dry = iqdata("-C", workspace, "--space", url, "--json", "push", "--dry-run")
    assert dry.code == 0
    assert {line["status"] for line in dry.lines if line["event"] == "action"} == {"planned"}
    status = iqdata("-C", workspace, "--space", url, "status")
    assert status.code == 0
    assert "would do" in status.out.lower()
    assert areas_of(home) == before


def test_deleting_is_asked_for_guarded_and_undone_from_the_trash(iqdata, space, home, workspace, tmp_path):
    url = space.url("team")
    for index in range(40):
        (workspace / "train_data" / f"f{index}.txt").write_text(str(index))
    assert iqdata("-C", workspace, "--space", url, "sync").code == 0
    for index in range(3):
        (workspace / "train_data" / f"f{index}.txt").unlink()
    kept = iqdata("-C", workspace, "--space", url, "--json", "push")
    assert kept.summary["deleted"] == 0
    assert (home / "train_data" / "f0.txt").exists()
    gone = iqdata("-C", workspace, "--space", url, "--json", "push", "--delete")
    assert gone.summary["deleted"] == 3
    assert not (home / "train_data" / "f0.txt").exists()

    shutil.rmtree(workspace / "train_data")
    (workspace / "train_data").mkdir()
    refused = iqdata("-C", workspace, "--space", url, "--json", "push", "--delete")
    assert (refused.code, refused.summary["status"]) == (4, "refused")
    assert "--max-delete" in refused.err
    assert (home / "train_data" / "f9.txt").exists()

    (home / "train_data" / "f9.txt").unlink()
    second = tmp_path / "second"
    (second / "train_data").mkdir(parents=True)
    assert iqdata("-C", second, "--space", url, "pull").code == 0
    (home / "train_data" / "f10.txt").unlink()
    assert iqdata("-C", second, "--space", url, "--json", "pull", "--delete").summary["deleted"] == 1
    assert not (second / "train_data" / "f10.txt").exists()
    trashed = list((second / ".iqdata" / "trash").rglob("f10.txt"))
    assert [path.read_text() for path in trashed] == ["10"]


def test_a_conflict_keeps_both_and_says_so(iqdata, space, home, tmp_path):
    url = space.url("team")
    first, second = make_workspace(tmp_path / "a"), tmp_path / "b"
    (second / "train_data").mkdir(parents=True)
    iqdata("-C", first, "--space", url, "sync")
    iqdata("-C", second, "--space", url, "sync")
    (first / "train_data" / "loose.csv").write_text("mine, longer than before\n")
    (second / "train_data" / "loose.csv").write_text("theirs\n")
    assert iqdata("-C", first, "--space", url, "sync").code == 0
    clash = iqdata("-C", second, "--space", url, "--json", "sync")
    assert (clash.code, clash.summary["conflicts"]) == (1, 1)
    contents = set(areas_of(second).values())
    assert {b"mine, longer than before\n", b"theirs\n"} <= contents
    assert {b"mine, longer than before\n", b"theirs\n"} <= set(areas_of(home).values())
    assert iqdata("-C", second, "--space", url, "--json", "sync", "--dry-run").out.count("\n") == 1
    iqdata("-C", first, "--space", url, "sync")
    assert areas_of(first) == areas_of(second) == areas_of(home)


def test_a_rename_sends_nothing(iqdata, space, home, workspace):
    url = space.url("team")
    iqdata("-C", workspace, "--space", url, "push")
    (workspace / "train_data" / "loose.csv").rename(workspace / "train_data" / "renamed.csv")
    renamed = iqdata("-C", workspace, "--space", url, "--json", "push")
    assert renamed.summary["bytes_sent"] == 0
    assert (home / "train_data" / "renamed.csv").exists()
    assert not (home / "train_data" / "loose.csv").exists()


def test_filters_and_areas_limit_a_run(iqdata, space, home, workspace):
    url = space.url("team")
    (workspace / ".iqdataignore").write_text("*.bin\n")
    iqdata("-C", workspace, "--space", url, "push", "--area", "train_data", "--exclude", "my.*")
    names = set(areas_of(home))
    assert "train_data/loose.csv" in names
    assert not [
        name for name in names if name.endswith(".bin") or "my." in name or name.startswith("group_data")
    ]


def test_json_is_alone_on_standard_output(iqdata, space, workspace):
    pushed = iqdata("-C", workspace, "--space", space.url("team"), "--json", "-v", "push")
    for line in pushed.out.splitlines():
        value = json.loads(line)
        assert value["event"] in ("action", "summary")
        if value["event"] == "action":
            assert value.keys() == {
                "event",
                "action",
                "path",
                "size_bytes",
                "status",
                "via",
                "reason",
                "error",
            }
    assert list(pushed.summary) == [
        "event", "status", "uploaded", "downloaded", "deleted", "extracted", "conflicts", "failed", "skipped",
        "unchanged", "bytes_sent", "bytes_received", "elapsed_s",
    ]  # fmt: skip
