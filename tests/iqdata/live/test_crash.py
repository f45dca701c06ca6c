"""kill -9 of the space and of the agent at random moments: each upload gets one line, and nothing half stands anywhere.

IQDATA_KILLS sets how often each is killed (CI: a few; by hand: hundreds). `pytest -rP` shows what the kills met.
"""

import contextlib
import ftplib
import functools
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import pytest

from tests.agents import AgentProcess, log_of, wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow]

MOST_WAITING = 20
KILLS = int(os.environ.get("IQDATA_KILLS", "6"))


def long_member(number):
    """What says which upload it belongs to, from its first byte to its last; every fourth takes its time."""
    return b"%d " % number * (400_000 if number % 4 == 0 else 40_000)


def archive_of(number, kind):
    """An archive whose members say which upload they belong to."""
    members = {"who": b"%d" % number, "long": long_member(number), "end": b"%d" % number}
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"m{number % 7}/{name}", content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(f"m{number % 7}/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def check_members(folder):
    """Every member that stands is the whole of some upload's."""
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name.startswith("m"):
            content = path.read_bytes()
            if path.name == "long":
                assert content == long_member(int(content.split(b" ", 1)[0])), path
            else:
                assert content.isdigit(), path


def lines_in_log(home):
    """Return how many lines the log of a home has, without reading what they say."""
    log = home / ".iqdata/extractions.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def keep_up(home, uploads, is_over):
    """Wait while many archives have no line yet: there is always work to be killed at, and at the end not all of it is left."""
    while uploads - lines_in_log(home) > MOST_WAITING and not is_over():
        time.sleep(0.02)


def await_archives(home, wanted):
    """Wait until each archive has a line: as long as lines come, since how fast they come is the machine's business."""
    while missing := wanted - {line["archive"] for line in log_of(home)}:
        count = lines_in_log(home)
        enough = count + len(missing)
        with contextlib.suppress(AssertionError):
            wait_for(functools.partial(lambda enough: lines_in_log(home) >= enough, enough))
        assert lines_in_log(home) > count, f"no line in a minute, and {sorted(missing)} have none"


class Met:
    """What the kills interrupted, by what the journal holds when the process is gone."""

    def __init__(self, root):
        self._journal = root / ".iqdata-space/journal.sqlite"
        self._starts = {}
        self.kills = self.extracting = self.waiting = 0

    def count(self):
        """Look at the journal of a process that has just been killed."""
        self.kills += 1
        if not self._journal.exists():
            return
        with contextlib.closing(sqlite3.connect(self._journal)) as database:
            starts = dict(database.execute("SELECT id, starts FROM jobs WHERE line IS NULL"))
        extracting = any(count > self._starts.get(job, 0) for job, count in starts.items())
        self.extracting += extracting
        self.waiting += bool(starts) and not extracting
        self._starts = starts
        (self._journal.parent.parent.parent / "met").write_text(str(self))  # for whoever waits for a long run

    def __str__(self):
        return f"{self.kills} kills: {self.extracting} while archives were extracted, {self.waiting} while some waited"


class Server:
    def __init__(self, root, log):
        self.root = root
        self.log = log
        self.port = 0

    def start(self):
        before = self.log.stat().st_size if self.log.exists() else 0
        arguments = [
            "--root",
            str(self.root),
            "--port",
            "0",
            "--json",
            "--user",
            "alpha:pw",
            "--executor",
            "local:2",
        ]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "iqdata", "serve", *arguments], stdout=output, stderr=output
            )

        def started():
            for line in self.log.read_bytes()[before:].splitlines():
                if b'"started"' in line:
                    self.port = int(json.loads(line)["address"].rpartition(":")[2])
                    return True
            return False

        wait_for(started)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def is_dead(self):
        return self.process.poll() is not None


def kill_at(server, home, at_work, after_s):
    """Kill the server some time after it has extracted something, or after it has started."""
    lines = lines_in_log(home)
    if at_work:
        with contextlib.suppress(AssertionError):
            wait_for(lambda: lines_in_log(home) > lines)
    time.sleep(after_s)
    server.kill()


def test_the_space_is_killed(tmp_path):
    generator = random.Random(7)
    server = Server(tmp_path / "space", tmp_path / "log")
    met = Met(tmp_path / "space")
    uploads = {}  # acknowledged: path → number
    number = 0
    home = tmp_path / "space/homes/alpha"
    for _ in range(KILLS):
        server.start()
        moment = (generator.random() < 0.8, generator.uniform(0.0, 0.4))
        killer = threading.Thread(target=kill_at, args=(server, home, *moment))
        killer.start()
        with contextlib.suppress(OSError, EOFError, ftplib.Error), ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", server.port)
            client.login("alpha", "pw")
            while True:
                number += 1
                kind = generator.choice(["zip", "tar.gz"])
                path = f"train_data/d{number % 5}/a{number}.{kind}"
                with contextlib.suppress(ftplib.error_perm):
                    client.mkd(f"train_data/d{number % 5}")
                client.storbinary(f"STOR {path}", io.BytesIO(archive_of(number, kind)))
                uploads[path] = number
                keep_up(home, len(uploads), server.is_dead)
        killer.join()
        met.count()
    server.start()
    try:
        present = {str(path.relative_to(home)) for path in home.rglob("a*.*") if path.is_file()}
        await_archives(home, present)
        time.sleep(0.5)
    finally:
        server.process.terminate()
        server.process.wait(30)
    lines = log_of(home)
    ids = [line["id"] for line in lines]
    assert len(ids) == len(set(ids)), "one line has one id"
    by_path = {}
    for line in lines:
        by_path.setdefault(line["archive"], []).append(line["status"])
    assert set(uploads) <= set(by_path)
    for path in uploads:
        assert by_path[path] == ["ok"], path
    for path, statuses in by_path.items():
        assert len(statuses) == 1, (path, statuses)
    sys.stdout.write(f"{met}; {number} uploads, {number - len(uploads)} of them cut by the kill")
    check_members(home)
    stage = tmp_path / "space/.iqdata-space/stage"
    assert not list(stage.rglob("*")), "the stage is empty again"


def test_the_agent_is_killed(tmp_path):
    generator = random.Random(11)
    tree = tmp_path / "space"
    for area in ("train_data", "group_data"):
        (tree / area).mkdir(parents=True)
    met = Met(tree)
    stop = threading.Event()
    written = []

    def upload():
        number = 0
        while not stop.is_set():
            number += 1
            kind = generator.choice(["zip", "tar.gz"])
            folder = tree / f"train_data/d{number % 5}"
            folder.mkdir(exist_ok=True)
            path = folder / f"a{number}.{kind}"
            content = archive_of(number, kind)
            if number % 3:
                with path.open("wb") as file:
                    half = len(content) // 2
                    file.write(content[:half])
                    file.flush()
                    time.sleep(0.002)
                    file.write(content[half:])
            else:
                part = folder / f"part{number}"
                part.write_bytes(content)
                part.rename(path)
            written.append(str(path.relative_to(tree)))
            keep_up(tree, len(written), stop.is_set)

    first = AgentProcess(tree, log=tmp_path / "log")
    first.await_start()
    first.kill()
    thread = threading.Thread(target=upload, daemon=True)
    thread.start()
    try:
        for _ in range(KILLS):
            running = AgentProcess(tree, "--executor", "local:2", log=tmp_path / "log")
            lines = lines_in_log(tree)
            if generator.random() < 0.8:  # at work; else while it starts
                wait_for(lambda lines=lines: lines_in_log(tree) > lines)
            time.sleep(generator.uniform(0.0, 0.4))
            running.kill()
            met.count()
    finally:
        stop.set()
        thread.join(30)
    running = AgentProcess(tree, log=tmp_path / "log")
    try:
        await_archives(tree, set(written))
        time.sleep(2)
    finally:
        running.stop()
    counts = {}
    for line in log_of(tree):
        counts.setdefault(line["archive"], []).append(line["status"])
    assert set(counts) == set(written)
    repeated = {path: statuses for path, statuses in counts.items() if statuses != ["ok"]}
    assert not repeated
    sys.stdout.write(f"{met}; {len(written)} files, all written while the agent came and went")
    check_members(tree)
    assert not [path for path in (tree / ".iqdata-space/stage").rglob("*") if path.is_file()]
