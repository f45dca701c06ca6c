"""The agent beside whatever writes into a tree: each upload once, over events that are lost and processes that die."""

import io
import os
import shutil
import tarfile
import time
import zipfile

import pytest

from tests.agents import agent, await_lines, log_of, wait_for

pytestmark = pytest.mark.live


def tar_of(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "space"
    for area in ("train_data", "group_data"):
        (root / area).mkdir(parents=True)
    return root


def known(lines):
    return [(line["archive"], line["status"], line["trigger"]) for line in lines]


def test_uploads_and_renames(tree, tmp_path):
    with agent(tree, log=tmp_path / "log"):
        (tree / "train_data/a.tar.gz").write_bytes(tar_of({"x": b"1"}))
        await_lines(tree, 1)
        (tree / "train_data/b.bin").write_bytes(zip_of({"y": b"2"}))
        (tree / "train_data/b.bin").rename(tree / "train_data/b.zip")
        lines = await_lines(tree, 2)
        assert known(lines) == [("train_data/a.tar.gz", "ok", "upload"), ("train_data/b.zip", "ok", "rename")]
        assert lines[1]["from"] == "train_data/b.bin"
        assert (tree / "train_data/x").read_bytes() == b"1"
        assert (tree / "train_data/y").read_bytes() == b"2"
        assert (tree / ".iqdata/space.json").exists()


def test_the_same_content_again_after_a_deletion_is_a_new_upload(tree, tmp_path):
    """OpenSSH renames by a link and a removal, which says less than a rename; what was known of the name is void."""
    archive = tree / "train_data/a.zip"
    content = zip_of({"x": b"1"})
    with agent(tree, log=tmp_path / "log"):
        for count, leave in enumerate(
            (
                archive.unlink,
                lambda: archive.rename(tmp_path / "out.zip"),
                lambda: archive.rename(tree / "train_data/kept.bin"),
                archive.unlink,
            ),
            start=1,
        ):
            upload = tree / "train_data/upload.bin"
            upload.write_bytes(content)
            archive.hardlink_to(upload)
            upload.unlink()
            assert known(await_lines(tree, count))[count - 1 :] == [("train_data/a.zip", "ok", "rename")]
            (tree / "train_data/x").unlink()
            leave()


def test_what_was_removed_after_extraction_may_come_again(tree, tmp_path):
    with agent(tree, "--after-extract", "remove", log=tmp_path / "log"):
        for count in (1, 2, 3):
            (tree / "train_data/upload.bin").write_bytes(zip_of({"x": b"1"}))
            (tree / "train_data/a.zip").hardlink_to(tree / "train_data/upload.bin")
            (tree / "train_data/upload.bin").unlink()
            await_lines(tree, count)
            wait_for(lambda: not (tree / "train_data/a.zip").exists())


def test_moved_in_from_elsewhere_and_into_new_folders(tree, tmp_path):
    with agent(tree, log=tmp_path / "log"):
        (tmp_path / "a.zip").write_bytes(zip_of({"x": b"1"}))
        (tmp_path / "a.zip").rename(tree / "train_data/a.zip")
        (tree / "train_data/new/deep/deeper").mkdir(parents=True)
        (tree / "train_data/new/deep/deeper/b.zip").write_bytes(zip_of({"y": b"2"}))
        (tmp_path / "whole/sub").mkdir(parents=True)
        (tmp_path / "whole/sub/c.zip").write_bytes(zip_of({"z": b"3"}))
        (tmp_path / "whole").rename(tree / "train_data/whole")
        await_lines(tree, 3)
        assert {line["archive"] for line in log_of(tree)} == {
            "train_data/a.zip",
            "train_data/new/deep/deeper/b.zip",
            "train_data/whole/sub/c.zip",
        }
        assert (tree / "train_data/whole/sub/z").read_bytes() == b"3"


def test_what_extraction_itself_writes_triggers_nothing(tree, tmp_path):
    with agent(tree, log=tmp_path / "log"):
        inner = zip_of({"deep": b"1"})
        (tree / "train_data/outer.tar.gz").write_bytes(tar_of({"in.zip": inner, "folder/in2.zip": inner}))
        await_lines(tree, 1)
        (tree / "train_data/last.zip").write_bytes(zip_of({"x": b"1"}))
        lines = await_lines(tree, 2)
        assert [line["archive"] for line in lines] == ["train_data/outer.tar.gz", "train_data/last.zip"]
        assert not (tree / "train_data/deep").exists()
    with agent(tree, log=tmp_path / "log2"):
        (tree / "train_data/more.zip").write_bytes(zip_of({"x": b"2"}))
        lines = await_lines(tree, 3)
        assert [line["archive"] for line in lines][2:] == ["train_data/more.zip"], (
            "not after a restart either"
        )


def test_dates_folders_and_other_names_trigger_nothing(tree, tmp_path):
    with agent(tree, log=tmp_path / "log"):
        (tree / "train_data/d").mkdir()
        (tree / "train_data/d/a.zip").write_bytes(zip_of({"x": b"1"}))
        await_lines(tree, 1)
        os.utime(tree / "train_data/d/a.zip", (1, 1))
        (tree / "train_data/d").rename(tree / "train_data/e.zip")
        (tree / "train_data/a.tgz").write_bytes(tar_of({"y": b"1"}))
        (tree / ".iqdata/evil.zip").write_bytes(zip_of({"y": b"1"}))
        (tree / "train_data/last.zip").write_bytes(zip_of({"z": b"1"}))
        assert [line["archive"] for line in await_lines(tree, 2)] == [
            "train_data/d/a.zip",
            "train_data/last.zip",
        ]
    with agent(tree, log=tmp_path / "log2"):
        (tree / "train_data/more.zip").write_bytes(zip_of({"x": b"2"}))
        lines = await_lines(tree, 3)
        assert [line["archive"] for line in lines][2:] == ["train_data/more.zip"], "nor after a restart"


def test_a_tree_that_was_in_use_is_left_as_it_is(tree, tmp_path):
    (tree / "train_data/old.zip").write_bytes(zip_of({"x": b"1"}))
    with agent(tree, log=tmp_path / "log"):
        (tree / "train_data/new.zip").write_bytes(zip_of({"y": b"1"}))
        assert [line["archive"] for line in await_lines(tree, 1)] == ["train_data/new.zip"]
        assert not (tree / "train_data/x").exists()


def test_unless_it_is_asked_for(tree, tmp_path):
    (tree / "train_data/old.zip").write_bytes(zip_of({"x": b"1"}))
    with agent(tree, "--extract-existing", log=tmp_path / "log"):
        assert [line["archive"] for line in await_lines(tree, 1)] == ["train_data/old.zip"]


def test_what_came_while_it_was_down_is_extracted_once(tree, tmp_path):
    with agent(tree, log=tmp_path / "log"):
        (tree / "train_data/a.zip").write_bytes(zip_of({"x": b"1"}))
        await_lines(tree, 1)
    (tree / "train_data/b.zip").write_bytes(zip_of({"y": b"1"}))
    (tree / "train_data/a.zip").write_bytes(zip_of({"x": b"22"}))
    # Old enough that nobody can be writing them: what was written a moment ago is looked at again later.
    for name in ("a.zip", "b.zip"):
        os.utime(tree / "train_data" / name, (1_000_000_000, 1_000_000_000))
    for number in range(2):
        with agent(tree, log=tmp_path / f"log{number}"):
            lines = await_lines(tree, 3)
    assert sorted(known(lines)[1:]) == [
        ("train_data/a.zip", "ok", "recovery"),
        ("train_data/b.zip", "ok", "recovery"),
    ]
    assert len(lines) == 3
    assert (tree / "train_data/x").read_bytes() == b"22"


def test_the_queue_overflows_and_nothing_is_lost(tree, tmp_path):
    """The agent is stopped while more happens than the kernel keeps for it."""
    import signal
    from pathlib import Path

    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with agent(tree, log=tmp_path / "log") as running:
        (tree / "train_data/first.zip").write_bytes(zip_of({"x": b"1"}))
        await_lines(tree, 1)
        running.process.send_signal(signal.SIGSTOP)
        filler = tree / "train_data/filler"
        for _ in range(kept // 2 + 500):
            filler.rename(filler) if filler.exists() else filler.touch()
            filler.write_bytes(b"")
            filler.rename(tree / "train_data/other")
            (tree / "train_data/other").rename(filler)
        for number in range(20):
            (tree / f"train_data/a{number}.zip").write_bytes(zip_of({f"m{number}": b"1"}))
        running.process.send_signal(signal.SIGCONT)
        lines = await_lines(tree, 21)
        assert sorted(line["archive"] for line in lines[1:]) == sorted(
            f"train_data/a{number}.zip" for number in range(20)
        )
        assert any("lost" in event.get("detail", "") for event in running.events())
        (tree / "train_data/deep/er").mkdir(parents=True)
        (tree / "train_data/deep/er/last.zip").write_bytes(zip_of({"y": b"1"}))
        assert await_lines(tree, 22)[-1]["archive"] == "train_data/deep/er/last.zip", (
            "and it goes on watching"
        )


def test_a_slow_upload_is_not_taken_for_finished(tree, tmp_path):
    content = zip_of({"x": os.urandom(200_000)})
    with agent(tree, "--rescan", "1", log=tmp_path / "log"):
        (tree / "train_data/new").mkdir()
        with (tree / "train_data/new/slow.zip").open("wb") as file:
            for start in range(0, len(content), 50_000):
                file.write(content[start : start + 50_000])
                file.flush()
                time.sleep(0.7)
        lines = await_lines(tree, 1)
        (tree / "train_data/last.zip").write_bytes(zip_of({"y": b"1"}))
        lines = await_lines(tree, 2)
        assert known(lines)[0][:2] == ("train_data/new/slow.zip", "ok")
        assert len(lines) == 2


def test_homes_each_with_a_log_of_its_own(tmp_path):
    root = tmp_path / "space"
    (root / "homes/alpha/train_data").mkdir(parents=True)
    with agent(root, "--layout", "homes", log=tmp_path / "log"):
        (root / "homes/alpha/train_data/a.zip").write_bytes(zip_of({"x": b"1"}))
        await_lines(root / "homes/alpha", 1)
        (root / "homes/beta/train_data").mkdir(parents=True)
        (root / "homes/beta/train_data/b.zip").write_bytes(zip_of({"y": b"1"}))
        assert known(await_lines(root / "homes/beta", 1))[0][:2] == ("train_data/b.zip", "ok")
        assert len(log_of(root / "homes/alpha")) == 1


def test_polling(tree, tmp_path):
    with agent(tree, "--polling", log=tmp_path / "log"):
        (tree / "train_data/a.zip").write_bytes(zip_of({"x": b"1"}))
        assert known(await_lines(tree, 1)) == [("train_data/a.zip", "ok", "recovery")]


def test_archives_can_be_removed_after_extraction(tree, tmp_path):
    with agent(tree, "--after-extract", "remove", log=tmp_path / "log"):
        (tree / "train_data/a.zip").write_bytes(zip_of({"x": b"1"}))
        await_lines(tree, 1)
        wait_for(lambda: not (tree / "train_data/a.zip").exists())
        assert (tree / "train_data/x").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as somebody else")
def test_root_works_as_the_owner_of_the_folder_and_takes_its_modes(tree, tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and str(parent) != "/":
            parent.chmod(parent.stat().st_mode | 0o011)
    for name, user, mode in (("mine", 12345, 0o2770), ("open", 12346, 0o755)):
        folder = tree / "train_data" / name
        folder.mkdir()
        os.chown(folder, user, user)
        folder.chmod(mode)
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    with agent(tree, log=tmp_path / "log"):
        for name in ("mine", "open"):
            archive = tree / "train_data" / name / "a.zip"
            archive.write_bytes(zip_of({"x": b"1", "d/y": b"2"}))
        lines = await_lines(tree, 2)
    assert [(line["status"], line["error"]) for line in lines] == [("ok", None)] * 2
    for name, user, file_mode, folder_mode in (("mine", 12345, 0o660, 0o2770), ("open", 12346, 0o644, 0o755)):
        for path, mode in (("x", file_mode), ("d", folder_mode), ("d/y", file_mode)):
            seen = (tree / "train_data" / name / path).stat()
            assert (seen.st_uid, seen.st_gid) == (user, user), path
            assert seen.st_mode & 0o7777 == mode, (name, path, oct(seen.st_mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be tricked into writing elsewhere")
def test_links_that_users_plant_lead_root_nowhere(tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.zip").write_bytes(zip_of({"leak": b"1"}))
    with agent(tree, log=tmp_path / "log"):
        (tree / "train_data/out").symlink_to(elsewhere)
        (tree / "train_data/link.zip").symlink_to(elsewhere / "b.zip")
        (elsewhere / "c.zip").write_bytes(zip_of({"leak": b"1"}))
        shutil.rmtree(tree / ".iqdata")
        (tree / ".iqdata").symlink_to(elsewhere)
        (tree / "train_data/a.zip").write_bytes(zip_of({"x": b"1"}))
        wait_for(lambda: (tree / "train_data/x").exists())
    assert sorted(path.name for path in elsewhere.iterdir()) == ["b.zip", "c.zip"]
    assert not (tree / "train_data/leak").exists()
