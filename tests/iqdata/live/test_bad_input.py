"""Bad input: one clear line, the right exit code, nothing lost, no traceback."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest

from iqdata.rules import is_temporary
from tests.iqdata.live.conftest import files_of, shell
from tests.servers import free_port, vsftpd

pytestmark = pytest.mark.live


def one_line(text):
    """Check that a message is a single line and no traceback, and return it."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def test_no_workspace(iqdata, tmp_path):
    ran = iqdata("-C", tmp_path, "--space", "ftp://team@127.0.0.1:9/", "push")
    assert ran.code == 2
    assert "iqdata init" in one_line(ran.err)


def test_no_space(iqdata, workspace):
    ran = iqdata("-C", workspace, "push")
    assert ran.code == 2
    assert "--space" in one_line(ran.err)


@pytest.mark.parametrize("url", ["http://x/", "ftp:///x", "ftp://h:99999/", "nonsense"])
def test_no_such_url(iqdata, workspace, url):
    ran = iqdata("-C", workspace, "--space", url, "push")
    assert ran.code == 2
    one_line(ran.err)


def test_settings_with_a_wrong_field(iqdata, workspace):
    (workspace / "iqdata.toml").write_text("jobs = 'many'\n")
    ran = iqdata("-C", workspace, "push")
    assert ran.code == 2
    assert "jobs" in one_line(ran.err)


def test_wrong_password(iqdata, space, workspace):
    ran = iqdata("-C", workspace, "--space", space.url("team"), "push", password="wrong")
    assert ran.code == 3
    assert "wrong" not in one_line(ran.err)
    assert not (workspace / "train_data" / "wrong").exists()


def test_server_down(iqdata, workspace):
    ran = iqdata("-C", workspace, "--space", f"ftp://team@127.0.0.1:{free_port()}/", "push", "--retries", "0")
    assert ran.code == 3
    assert "127.0.0.1" in one_line(ran.err)


def test_a_server_that_dies_in_the_middle_leaves_no_half_file_under_its_name(iqdata, tmp_path):
    workspace, folder = tmp_path / "workspace", tmp_path / "vsftpd"
    (workspace / "train_data").mkdir(parents=True)
    folder.mkdir()
    (workspace / "train_data" / "big.bin").write_bytes(os.urandom(8 * 1024 * 1024))
    with vsftpd(folder) as server:

        def kill_when_half():
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                sizes = [path.stat().st_size for path in (server.root / "train_data").glob("*")]
                if any(size > 1024 * 1024 for size in sizes):
                    break
                time.sleep(0.005)
            # vsftpd gives each session a process of its own: the whole family goes.
            subprocess.run(["pkill", "-KILL", "-P", str(server.process.pid)], check=False)
            os.kill(server.process.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_when_half)
        killer.start()
        ran = iqdata(
            "-C", workspace, "--space", server.url, "push", "--retries", "1", "--bwlimit", "8M", "--timeout", "5",
            password=server.password,
        )  # fmt: skip
        killer.join()
        assert ran.code in (1, 3)
        assert "Traceback" not in ran.err
        names = [path.name for path in (server.root / "train_data").iterdir()]
        assert all(is_temporary(name) for name in names), names
    assert (workspace / "train_data" / "big.bin").stat().st_size == 8 * 1024 * 1024


def push(iqdata, space, workspace):
    return iqdata("-C", workspace, "--space", space.url("team"), "--json", "push")


@pytest.fixture
def bare(tmp_path):
    """A workspace with empty areas."""
    for area in ("train_data", "group_data"):
        (tmp_path / "bare" / area).mkdir(parents=True)
    return tmp_path / "bare"


def test_a_name_that_contains_tar_is_no_archive(iqdata, space, home, bare):
    (bare / "train_data" / "my.target.csv").write_text("a,b\n" * 500)
    ran = push(iqdata, space, bare)
    assert (ran.code, ran.summary["failed"]) == (0, 0)
    assert (home / "train_data" / "my.target.csv").read_text() == "a,b\n" * 500
    assert push(iqdata, space, bare).summary["uploaded"] == 0


def test_a_cut_7z_is_not_sent(iqdata, space, home, bare, tmp_path):
    (tmp_path / "m.csv").write_text("".join(f"{n}\n" for n in range(5000)))
    shell(f"cd {tmp_path} && 7zz a -bd whole.7z m.csv")
    whole = (tmp_path / "whole.7z").read_bytes()
    (bare / "train_data" / "cut.7z").write_bytes(whole[: len(whole) // 2])
    ran = push(iqdata, space, bare)
    assert ran.code == 1
    (problem,) = [line for line in ran.lines if line.get("status") == "failed" and line["event"] == "action"]
    assert problem["path"] == "train_data/cut.7z"
    assert "cut" in problem["error"]
    assert files_of(home / "train_data") == {}
    # Mended, it goes.
    (bare / "train_data" / "cut.7z").write_bytes(whole)
    assert push(iqdata, space, bare).code == 0
    assert (home / "train_data" / "m.csv").exists()


def test_an_encrypted_zip_arrives_and_is_said_to_stay_packed(iqdata, space, home, bare, tmp_path):
    (tmp_path / "m.csv").write_text("secret\n" * 50)
    shell(f"cd {tmp_path} && zip -P pw {bare}/train_data/e.zip m.csv")
    ran = push(iqdata, space, bare)
    assert ran.code == 1
    assert any("encrypted" in (line.get("error") or "") for line in ran.lines)
    assert (home / "train_data" / "e.zip").exists()
    assert not (home / "train_data" / "m.csv").exists()
    again = push(iqdata, space, bare)
    assert (again.summary["uploaded"], again.summary["bytes_sent"]) == (0, 0)


def test_a_member_that_points_outside_lands_inside(iqdata, space, home, bare):
    with zipfile.ZipFile(bare / "train_data" / "z.zip", "w") as archive:
        archive.writestr("../x", "escaped?")
    assert push(iqdata, space, bare).code == 0
    assert (home / "train_data" / "x").read_text() == "escaped?"
    assert not (home / "x").exists()
    extracted = iqdata("-C", bare, "extract", bare / "train_data" / "z.zip")
    assert extracted.code == 0
    assert (bare / "train_data" / "x").read_text() == "escaped?"
    assert not (bare / "x").exists()


def test_a_link_is_reported_and_not_followed(iqdata, space, home, bare, tmp_path):
    (tmp_path / "secret.txt").write_text("outside")
    (bare / "train_data" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (bare / "train_data" / "ok.txt").write_text("inside")
    ran = push(iqdata, space, bare)
    assert ran.code == 1
    assert files_of(home / "train_data") == {"ok.txt": b"inside"}


def test_names_that_cannot_travel_are_reported(iqdata, space, home, bare):
    (bare / "train_data" / "new\nline").write_text("x")
    (bare / "train_data" / os.fsdecode(b"latin-\xe9")).write_text("x")
    (bare / "train_data" / "fine").write_text("x")
    ran = push(iqdata, space, bare)
    assert (ran.code, ran.summary["failed"]) == (1, 2)
    assert files_of(home / "train_data") == {"fine": b"x"}


def test_a_second_run_at_the_same_time_is_refused(iqdata, space, workspace):
    import fcntl

    (workspace / ".iqdata").mkdir()
    with (workspace / ".iqdata" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = iqdata("-C", workspace, "--space", space.url("team"), "push")
    assert ran.code == 4
    assert "another run" in one_line(ran.err)


def test_an_interrupt_ends_soon_and_the_next_run_goes_on(iqdata, space, home, tmp_path):
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    for index in range(40):
        (workspace / "train_data" / f"f{index}.bin").write_bytes(os.urandom(400_000))
    url = space.url("team")
    with subprocess.Popen(
        [sys.executable, "-m", "iqdata", "-C", workspace, "--space", url, "push", "--bwlimit", "2M"],
        env={**os.environ, "IQDATA_PASSWORD": "pw", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "finished" in err
    assert "Traceback" not in err
    finished = [path for path in (home / "train_data").iterdir() if not is_temporary(path.name)]
    assert all(path.stat().st_size == 400_000 for path in finished)
    again = iqdata("-C", workspace, "--space", url, "--json", "push")
    assert (again.code, again.summary["uploaded"]) == (0, 40 - len(finished))
    assert files_of(home / "train_data").keys() >= {f"f{index}.bin" for index in range(40)}
