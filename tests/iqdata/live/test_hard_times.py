"""Full disks, two clients at once, files that change while they are read, odd clocks: said in a line, and nothing lost."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from iqdata.location import Location
from iqdata.rules import is_temporary
from iqdata.server.space import EmbeddedSpace
from iqdata.transports import ftp
from iqdata.transports.connect import connector
from tests.iqdata.live.conftest import files_of, shell
from tests.scripted import Conversation, mlsd_of, scripted
from tests.servers import PASSWORD, environment, need_root, reachable, started, vsftpd
from tests.support.trial import Trial, digest, files_in

pytestmark = pytest.mark.live


@contextlib.contextmanager
def small_disk(folder, *, size):
    """Mount a tmpfs of this size."""
    need_root("a small disk")
    folder.mkdir()
    mounted = shell(f"mount -t tmpfs -o size={size} tmpfs {folder}")
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr}")
    try:
        yield folder
    finally:
        shell(f"umount -l {folder}")


def data_of(folder):
    return {path: content for path, content in files_of(folder).items() if path.startswith("train_data/")}


def temporary_names(folder):
    return [path for path in folder.rglob("*") if is_temporary(path.name) and "trash" not in path.parts]


def test_a_full_disk_here_fails_that_file_alone_and_mends(iqdata, space, home, tmp_path):
    with small_disk(tmp_path / "small", size="3M") as disk:
        workspace = disk / "workspace"
        (workspace / "train_data").mkdir(parents=True)
        (home / "train_data").mkdir(parents=True, exist_ok=True)
        (home / "train_data" / "big.bin").write_bytes(os.urandom(6_000_000))
        (home / "train_data" / "small.txt").write_text("small")
        # One after the other: beside a file that fills the disk any other would find it full too.
        ran = iqdata(
            "-C", workspace, "--space", space.url("team"), "--json", "pull", "--retries", "1", "--jobs", "1"
        )
        assert ran.code == 1, ran
        assert "Traceback" not in ran.err
        (failed,) = [
            line for line in ran.lines if line.get("status") == "failed" and line["event"] == "action"
        ]
        assert failed["path"] == "train_data/big.bin"
        assert "space" in failed["error"].lower()
        assert data_of(workspace) == {"train_data/small.txt": b"small"}
        assert not temporary_names(workspace)
        (home / "train_data" / "big.bin").write_bytes(os.urandom(1_000_000))
        assert iqdata("-C", workspace, "--space", space.url("team"), "pull").code == 0
        assert data_of(workspace) == data_of(home)


def test_a_full_space_fails_what_does_not_fit_and_keeps_what_stands(iqdata, tmp_path):
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    (workspace / "train_data" / "a.bin").write_bytes(b"1" * 400_000)
    with EmbeddedSpace(tmp_path / "space", users={"team": "pw"}, quota_bytes=1_000_000) as space:
        home = space.home("team")

        def push():
            return iqdata("-C", workspace, "--space", space.url("team"), "--json", "push")

        assert push().code == 0
        before = data_of(home)
        (workspace / "train_data" / "a.bin").write_bytes(b"2" * 3_000_000)
        ran = push()
        assert ran.code == 1
        (failed,) = [
            line for line in ran.lines if line.get("status") == "failed" and line["event"] == "action"
        ]
        assert "full" in failed["error"] or "quota" in failed["error"].lower()
        assert data_of(home) == before
        assert not temporary_names(home)
        (workspace / "train_data" / "a.bin").write_bytes(b"3" * 300_000)
        assert push().code == 0
        assert data_of(home) == data_of(workspace)


def test_two_clients_at_once_lose_nothing_and_agree_in_the_end(space, tmp_path):
    home = space.home("team")
    url = space.url("team")
    connect = connector(Location.parse(url), password="pw", timeout_s=10)
    trials = [Trial(tmp_path / name, home, url, seed=number) for number, name in enumerate(("one", "two"))]
    for _ in range(4):
        for trial in trials:
            # Each user works on names of his own and on the common ones.
            trial.edit()
        errors = []

        def work(trial, errors=errors):
            try:
                trial.sync(connect)
            except BaseException as exc:  # noqa: BLE001  # told by the main thread
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(trial,)) for trial in trials]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors
        for _ in range(3):
            for trial in trials:
                trial.sync(connect)
        sides = [files_in(trial.workspace) for trial in trials]
        assert sides[0] == sides[1] == files_in(home)
        kept = {digest(content) for content in sides[0].values()}
        for trial in trials:
            kept |= {
                digest(path.read_bytes())
                for path in (trial.workspace / ".iqdata" / "trash").rglob("*")
                if path.is_file()
            }
        # What one user gave up is his to give up: only contents that neither did are owed.
        own = [set(trial.owed) for trial in trials]
        given_up = [trial.whole - owed for trial, owed in zip(trials, own, strict=True)]
        for owed, other in ((own[0], given_up[1]), (own[1], given_up[0])):
            assert not {key for key in owed if key not in other} - kept
    assert not temporary_names(home)


@pytest.mark.parametrize("how", ["grows", "shrinks", "vanishes"])
def test_a_file_that_changes_while_it_is_read_is_not_published_half(iqdata, space, home, tmp_path, how):
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    path = workspace / "train_data" / "log.bin"
    path.write_bytes(b"a" * 3_000_000)
    (workspace / "train_data" / "other.txt").write_text("other")
    stop = threading.Event()

    def change():
        while not any(part.stat().st_size for part in home.glob("train_data/iqdata-part-*")):
            if stop.wait(0.002):
                return
        for turn in range(2000):
            if stop.wait(0.002):
                return
            if how == "grows":
                with path.open("ab") as file:
                    file.write(b"b" * 1000)
            elif how == "shrinks" and turn < 1000:
                os.truncate(path, 3_000_000 - turn * 1000)
            elif how == "vanishes" and turn == 3:
                path.unlink()
                return

    writer = threading.Thread(target=change)
    writer.start()
    arguments = (
        "-C",
        workspace,
        "--space",
        space.url("team"),
        "--json",
        "push",
        "--bwlimit",
        "4M",
        "--retries",
        "1",
    )
    try:
        ran = iqdata(*arguments)
    finally:
        stop.set()
        writer.join()
    assert ran.code == 1, ran
    assert "Traceback" not in ran.err
    assert data_of(home) == {"train_data/other.txt": b"other"}
    assert not temporary_names(home)
    assert iqdata(*arguments).code == 0
    assert data_of(home) == data_of(workspace)


@pytest.mark.parametrize("offset_s", [-86_400, 86_400, 3600])
def test_a_clock_that_is_off_changes_nothing(space, home, tmp_path, offset_s):
    """Same files, another clock: nothing is sent again, and an edit under the wrong clock arrives."""
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    (workspace / "train_data" / "a.txt").write_text("a")

    def push(offset_s):
        code = (
            "import time, datetime, sys\n"
            "from iqdata import sync\n"
            "from iqdata.cli import run\n"
            f"off = {offset_s}\n"
            "now = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=off)\n"
            "whole = sync.Clocks\n"
            "sync.Clocks = lambda: whole(now=now)\n"
            f"sys.exit(run(['-C', {str(workspace)!r}, '--space', {space.url('team')!r}, '--json', 'push']))\n"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "IQDATA_PASSWORD": "pw", "TZ": "America/New_York" if offset_s == 3600 else "UTC"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert push(0).returncode == 0
    again = push(offset_s)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("\n") == 1, again.stdout
    stamp = time.time() + offset_s
    (workspace / "train_data" / "a.txt").write_text("b")
    os.utime(workspace / "train_data" / "a.txt", (stamp, stamp))
    assert push(offset_s).returncode == 0
    assert (home / "train_data" / "a.txt").read_text() == "b"
    assert push(0).stdout.count("\n") == 1


FACTS = b"type=file;size=4;modify=20260101000000; "


def endless(talk: Conversation, _argument: str) -> None:
    """A listing that never ends."""
    talk.say("150 Here it comes.")
    with talk.data() as data, contextlib.suppress(OSError):
        while True:
            data.sendall(b"".join(FACTS + b"n%d\r\n" % number for number in range(2000)))


def mixed_up(talk: Conversation, _argument: str) -> None:
    """226 before 150, and a reply too many."""
    talk.say("226 Done.")
    talk.say("150 Here it comes.")
    talk.say("226 Done.")


def elsewhere(talk: Conversation, _argument: str) -> None:
    """A data address on another machine (192.0.2.1 leads nowhere)."""
    port = talk.passive()
    talk.say(f"227 Entering Passive Mode (192,0,2,1,{port // 256},{port % 256})")


HOSTILE = {
    "parent": {"MLSD": mlsd_of(FACTS + b"../escaped")},
    "dots": {"MLSD": mlsd_of(FACTS + b"..")},
    "absolute": {"MLSD": mlsd_of(FACTS + b"/etc/escaped")},
    "nul": {"MLSD": mlsd_of(FACTS + b"a\0b")},
    "line end": {"MLSD": mlsd_of(FACTS + b"a\rDELE b")},
    "backslash and colon": {"MLSD": mlsd_of(FACTS + b"..\\escaped")},
    "a line of a megabyte": {"MLSD": mlsd_of(FACTS + b"x" * 1_000_000)},
    "no end": {"MLSD": endless},
    "out of order": {"MLSD": mixed_up},
    "a listing cut short": {"MLSD": lambda talk, _: talk.deliver(FACTS + b"hal")},
    "no reply at all": {"MLSD": lambda talk, _: None},
    "a reply of a megabyte": {"MLSD": "550 " + "x" * 1_000_000},
    "garbage": {"MLSD": b"\xff\xfe\0\r\n"},
    "hangs up": {"MLSD": lambda talk, _: talk.sock.close()},
    "data elsewhere": {"EPSV": "502 no", "PASV": elsewhere, "MLSD": mlsd_of(FACTS + b"fine.txt")},
}


HARMLESS = ("dots", "backslash and colon", "data elsewhere")
"""Every listing may hold `..`, a backslash is a letter here, and the address in PASV is never used."""


def test_daylight_saving_of_a_server_that_lists_local_times_fetches_nothing(iqdata, tmp_path, monkeypatch):
    """Winter comes while the server is up for maintenance: every file is listed an hour off, and none has changed."""
    reachable(tmp_path)
    (folder := tmp_path / "server").mkdir()
    data = tmp_path / "workspace" / "train_data"
    (data / "d").mkdir(parents=True)
    for number in range(6):
        file = data / ("d" if number % 2 else "") / f"{number}.txt"
        file.write_text(f"{number}" * 100)
        when_s = time.time() - number * 86_400 - 3600
        os.utime(file, (when_s, when_s))

    def run(verb, *more):
        where = ("-C", tmp_path / "workspace", "--space", server.url)
        ran = iqdata(*where, "--json", verb, *more, password=PASSWORD)
        assert ran.code == 0, ran
        return [(line["action"], line["path"]) for line in ran.lines if line["event"] == "action"]

    monkeypatch.setenv("TZ", "EET-2")  # the zone's own rule needs no files in vsftpd's jail
    with vsftpd(folder, settings="use_localtime=YES\n") as server:
        monkeypatch.delenv("TZ")
        run("push")
        assert run("sync") == []
        server.process.terminate()
        server.process.wait(10)
        with started(
            list(server.process.args),
            port=server.location.port,
            log=tmp_path / "log",
            env={**environment(), "TZ": "CET-1"},
        ):
            (data / "0.txt").write_text("edited here since")
            said = iqdata(
                "-C", tmp_path / "workspace", "--space", server.url, "status", password=PASSWORD
            ).err
            assert "60 minutes earlier" in said
            assert run("sync") == [("upload", "train_data/0.txt")]
            assert run("sync", "--delete") == []


@pytest.mark.parametrize("verb", ["sync", "pull", "push"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_gets_one_clear_line_and_nothing_else(iqdata, tmp_path, monkeypatch, name, verb):
    monkeypatch.setattr(ftp, "MAX_LISTING_BYTES", 1_000_000)
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    (workspace / "train_data" / "mine.txt").write_text("mine")
    outside = tmp_path / "escaped"
    script = {**HOSTILE[name], "RETR": lambda talk, _: talk.deliver(b"evil")}
    with scripted(script) as server:
        ran = iqdata(
            "-C", workspace, "--space", str(server.location), verb, "--delete", "--retries", "0", "--timeout", "1",
        )  # fmt: skip
    assert ran.code in ((0, 1) if name in HARMLESS else (1, 3)), ran
    assert "Traceback" not in ran.err
    said = [line for line in (ran.err + ran.out).splitlines() if line.strip()]
    assert said
    assert all(len(line) < 1000 for line in said), said
    assert all(character.isprintable() for line in said for character in line)
    assert (workspace / "train_data" / "mine.txt").read_text() == "mine"
    assert not outside.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"workspace"}
    if name not in HARMLESS:
        assert data_of(workspace).keys() == {"train_data/mine.txt"}
