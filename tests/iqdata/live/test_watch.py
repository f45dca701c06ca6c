"""watch: what changes is sent once, when it is whole; a rename is a rename; a stop ends cleanly."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from iqdata.actions import Direction, Policy
from iqdata.config import load_settings
from iqdata.events import ActionKind, Note, Outcome, Status
from iqdata.paths import RelPath
from iqdata.server.space import EmbeddedSpace
from iqdata.sync import Request, run
from iqdata.transports.connect import connector
from iqdata.watch import WatchOptions, watch
from tests.iqdata.live.conftest import files_of, shell

pytestmark = pytest.mark.live


class Watching:
    """A watch on a thread, and what it said."""

    def __init__(self, workspace: Path, url: str) -> None:
        self.said: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.outcomes: list[Outcome] = []
        self.stop = threading.Event()
        settings = load_settings(workspace, space=url)
        self.failure: BaseException | None = None

        def work():
            try:
                watch(
                    settings,
                    Request(policy=Policy(direction=Direction.PUSH, extract_local=False)),
                    connector(settings.need_location(), password="pw"),
                    options=WatchOptions(settle_s=0.2),
                    listener=self._hear,
                    on_report=lambda _report: None,
                    stop=self.stop,
                )
            except BaseException as exc:  # noqa: BLE001  # raised again in the test's own thread
                self.failure = exc

        self.thread = threading.Thread(target=work)

    def _hear(self, event):
        if isinstance(event, Outcome):
            self.outcomes.append(event)
        if isinstance(event, Outcome | Note):
            self.said.put(event)

    def __enter__(self):
        self.thread.start()
        self.wait(lambda event: isinstance(event, Note))
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()
        if self.failure is not None:
            raise self.failure

    def wait(self, wanted):
        """Return the next event that `wanted` accepts; bounded."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            event = self.said.get(timeout=30)
            if wanted(event):
                return event
        raise AssertionError("the watch did not do it in time")

    def wait_for(self, action, path):
        return self.wait(
            lambda event: isinstance(event, Outcome) and (event.action, event.path) == (action, path)
        )

    def uploads_of(self, path):
        return [
            o
            for o in self.outcomes
            if o.action is ActionKind.UPLOAD and o.path == path and o.status is Status.DONE
        ]


@pytest.fixture
def watched(tmp_path, space):
    """An empty workspace under watch."""
    folder = tmp_path / "workspace"
    for area in ("train_data", "group_data"):
        (folder / area).mkdir(parents=True)
    with Watching(folder, space.url("team")) as watching:
        yield folder / "train_data", watching


def test_a_closed_file_is_sent_once_and_extracted(watched, home):
    data, watching = watched
    shell(f"cd {data.parent} && seq 1 300 > m.csv && tar czf {data}/x.tar.gz m.csv")
    watching.wait_for(ActionKind.EXTRACT_REMOTE, "train_data/x.tar.gz")
    assert files_of(home / "train_data").keys() == {"x.tar.gz", "m.csv"}
    (data / "after.txt").write_text("later")
    watching.wait_for(ActionKind.UPLOAD, "train_data/after.txt")
    assert len(watching.uploads_of("train_data/x.tar.gz")) == 1


def test_a_half_written_file_waits_for_its_writer(watched, home):
    data, watching = watched
    with (data / "slow.bin").open("wb", buffering=0) as writer:
        for _ in range(4):
            writer.write(b"x" * 1000)
            # Another file shows that the watch has worked meanwhile, for longer than the settling time.
            time.sleep(0.3)
        (data / "marker.txt").write_text("done")
        watching.wait_for(ActionKind.UPLOAD, "train_data/marker.txt")
        assert "slow.bin" not in files_of(home / "train_data")
        writer.write(b"y" * 1000)
    watching.wait_for(ActionKind.UPLOAD, "train_data/slow.bin")
    assert (home / "train_data" / "slow.bin").stat().st_size == 5000
    assert len(watching.uploads_of("train_data/slow.bin")) == 1


def test_what_is_being_written_is_asked_for_after_the_scan(tmp_path, space, home):
    """A writer that began between the question and the scan would have its half file sent."""
    data = tmp_path / "workspace" / "train_data"
    data.mkdir(parents=True)
    (data / "whole.txt").write_text("whole")
    (data / "held.txt").write_text("ha")

    def hold():
        (data / "later.txt").write_text("not scanned any more")
        return frozenset({RelPath("train_data/held.txt")})

    settings = load_settings(data.parent, space=space.url("team"))
    report = run(
        settings,
        Request(policy=Policy(direction=Direction.PUSH, extract_local=False), hold=hold),
        connector(settings.need_location(), password="pw"),
        listener=lambda _event: None,
    )
    assert [outcome.path for outcome in report.outcomes if outcome.action is ActionKind.UPLOAD] == [
        "train_data/whole.txt"
    ]
    assert files_of(home / "train_data") == {"whole.txt": b"whole"}


@pytest.mark.parametrize("known", [False, True])
def test_what_is_being_written_is_left_alone_in_the_space_too(tmp_path, space, home, known):
    """Not fetched because it looks missing here, not deleted because it looks deleted."""
    data = tmp_path / "workspace" / "train_data"
    data.mkdir(parents=True)
    (home / "train_data").mkdir(parents=True, exist_ok=True)
    for name in ("held.txt", "other.txt"):
        (home / "train_data" / name).write_text("there")
    settings = load_settings(data.parent, space=space.url("team"))
    connect = connector(settings.need_location(), password="pw")
    both = Policy(direction=Direction.BOTH, delete=True)
    if known:
        run(settings, Request(policy=both), connect, listener=lambda _event: None)
    (data / "held.txt").write_text("ha")
    request = Request(policy=both, hold=lambda: frozenset({RelPath("train_data/held.txt")}))
    report = run(settings, request, connect, listener=lambda _event: None)
    assert [outcome.path for outcome in report.outcomes if "held" in outcome.path] == []
    assert (data / "held.txt").read_text() == "ha"
    assert (home / "train_data" / "held.txt").read_text() == "there"
    assert (data / "other.txt").read_text() == "there"


def test_a_rename_is_a_rename(watched, home):
    data, watching = watched
    (data / "before.bin").write_bytes(os.urandom(5000))
    watching.wait_for(ActionKind.UPLOAD, "train_data/before.bin")
    (data / "before.bin").rename(data / "behind.bin")
    renamed = watching.wait_for(ActionKind.UPLOAD, "train_data/behind.bin")
    assert "renamed" in renamed.reason
    assert renamed.via is None
    assert files_of(home / "train_data").keys() == {"behind.bin"}


def test_an_editors_save_by_rename_is_one_upload(watched, home):
    data, watching = watched
    (data / "notes.txt").write_text("first")
    watching.wait_for(ActionKind.UPLOAD, "train_data/notes.txt")
    (data / ".notes.txt.swp").write_text("second version")
    (data / ".notes.txt.swp").rename(data / "notes.txt")
    watching.wait_for(ActionKind.UPLOAD, "train_data/notes.txt")
    assert (home / "train_data" / "notes.txt").read_text() == "second version"
    assert len(watching.uploads_of("train_data/notes.txt")) == 2


def test_what_changes_while_the_server_is_away_arrives_when_it_is_back(tmp_path):
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    with EmbeddedSpace(tmp_path / "space", users={"team": "pw"}) as space:
        port, url = space.port, space.url("team")
        watching = Watching(workspace, url).__enter__()
        (workspace / "train_data" / "one.txt").write_text("1")
        watching.wait_for(ActionKind.UPLOAD, "train_data/one.txt")
    try:
        (workspace / "train_data" / "two.txt").write_text("2")
        said = watching.wait(lambda event: isinstance(event, Note) and "collected" in event.text)
        assert "127.0.0.1" in said.text
        with EmbeddedSpace(tmp_path / "space", users={"team": "pw"}, port=port):
            watching.wait_for(ActionKind.UPLOAD, "train_data/two.txt")
            home = tmp_path / "space" / "homes" / "team"
            assert (home / "train_data" / "two.txt").read_text() == "2"
            watching.stop.set()
            watching.thread.join(20)
    finally:
        watching.__exit__()


def test_the_command_says_what_it_does_and_ends_with_0(tmp_path, space, home):
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-m", "iqdata", "-C", workspace, "--space", space.url("team"), "watch", "--settle", "0.1"],
        env={**os.environ, "IQDATA_PASSWORD": "pw", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert "watching" in process.stdout.readline()
        (workspace / "train_data" / "a.txt").write_text("hello")
        assert "train_data" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert (home / "train_data" / "a.txt").exists()
