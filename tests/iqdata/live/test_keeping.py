"""What cannot be kept first is not overwritten, by an archive either."""

import io
import tarfile

import pytest

from iqdata.actions import Direction, Policy
from iqdata.config import Settings
from iqdata.errors import Refused
from iqdata.events import Status, ignore
from iqdata.location import Location
from iqdata.sync import Request, run
from iqdata.transports.connect import connector
from tests.agents import log_of, wait_for
from tests.support.extracting import ExtractingSpace, ExtractingTransport, Manners, World

pytestmark = pytest.mark.live


class NoRenames:
    """A connection on which nothing that stands can be given another name; uploads still get theirs."""

    def __init__(self, transport):
        self._transport = transport

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def rename(self, source, target):
        raise Refused(f"rename {source}: not permitted", op="rename", path=source)


def test_an_archive_waits_while_the_file_in_its_way_cannot_be_kept(space, home, tmp_path):
    workspace = tmp_path / "workspace"
    (workspace / "train_data").mkdir(parents=True)
    with tarfile.open(workspace / "train_data" / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"mine!"))
    (home / "train_data").mkdir(parents=True)
    location = Location.parse(space.url("team"))
    connect = connector(location, password="pw")
    settings = Settings(workspace=workspace, location=location, retries=0)
    request = Request(policy=Policy(direction=Direction.PUSH))
    connect().close()
    (home / "train_data" / "a.txt").write_text("somebody else's")

    report = run(settings, request, lambda: NoRenames(connect()), listener=ignore)

    assert (home / "train_data" / "a.txt").read_text() == "somebody else's"
    assert not (home / "train_data" / "x.tar").exists()
    assert [
        outcome.error
        for outcome in report.outcomes
        if outcome.status is Status.FAILED and outcome.path.endswith("x.tar")
    ]
    # Once it can be kept, the next run keeps it and sends the archive.
    run(settings, request, connect, listener=ignore)
    contents = {path.read_text() for path in (home / "train_data").iterdir() if path.name != "x.tar"}
    assert contents == {"somebody else's", "mine!"}


def test_what_somebody_put_in_a_members_place_is_his(space, home, tmp_path):
    """Who gets an archive from the space, and with it a member that was edited there, does not take that for the archive's work."""
    location = Location.parse(space.url("team"))
    connect = connector(location, password="pw")
    request = Request(policy=Policy(direction=Direction.BOTH))

    def sync(name):
        (tmp_path / name / "train_data").mkdir(parents=True, exist_ok=True)
        settings = Settings(workspace=tmp_path / name, location=location, retries=0)
        return run(settings, request, connect, listener=ignore)

    (tmp_path / "first" / "train_data").mkdir(parents=True)
    with tarfile.open(tmp_path / "first" / "train_data" / "x.tar", "w") as archive:
        for name in ("a.txt", "b.txt"):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = 5, 1_700_000_000
            archive.addfile(member, io.BytesIO(b"first"))
    sync("first")
    assert (home / "train_data" / "a.txt").read_text() == "first"
    (home / "train_data" / "a.txt").write_text("other")
    sync("second")
    assert (home / "train_data" / "a.txt").read_text() == "other"
    assert (tmp_path / "second" / "train_data" / "a.txt").read_text() == "other"
    assert (tmp_path / "second" / "train_data" / "b.txt").read_text() == "first"
    assert not sync("second").outcomes


def test_a_member_edited_before_its_extraction_was_seen_is_kept(space, home, tmp_path):
    """What stands there when the next run hears of the extraction may be somebody's own by then."""
    location = Location.parse(space.url("team"))
    connect = connector(location, password="pw")
    settings = Settings(workspace=tmp_path / "first", location=location, retries=0)
    (tmp_path / "first" / "train_data").mkdir(parents=True)

    def push(content, when_s, *, wait):
        with tarfile.open(tmp_path / "first" / "train_data" / "x.tar", "w") as archive:
            member = tarfile.TarInfo("a.txt")
            member.size, member.mtime = len(content), when_s
            archive.addfile(member, io.BytesIO(content))
        return run(
            settings, Request(policy=Policy(direction=Direction.PUSH), wait=wait), connect, listener=ignore
        )

    def contents():
        return {path.read_bytes() for path in (home / "train_data").iterdir() if path.name != "x.tar"}

    push(b"first", 1_700_000_000, wait=False)
    wait_for(lambda: len(log_of(home)) == 1)
    (home / "train_data" / "a.txt").write_bytes(b"other")
    run(settings, Request(policy=Policy(direction=Direction.PUSH)), connect, listener=ignore)
    push(b"next!", 1_700_009_000, wait=True)
    assert contents() == {b"other", b"next!"}


def test_what_a_space_that_does_not_overwrite_left_alone_is_not_its_work(tmp_path):
    """A file that comes between our last look and the extraction stays there, and is not taken for the member."""
    world = World()
    space = ExtractingSpace(tmp_path / "space", Manners(overwrites=False), world)
    theirs = space.root / "train_data" / "a.txt"

    class Crowded(ExtractingTransport):
        def rename(self, source, target):
            if target.endswith("x.tar"):
                theirs.write_bytes(b"other")
            super().rename(source, target)

    location = Location.parse("memory://crowded/")
    settings = Settings(workspace=tmp_path / "first", location=location, retries=0, jobs=1)
    (tmp_path / "first" / "train_data").mkdir(parents=True)
    with tarfile.open(tmp_path / "first" / "train_data" / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size, member.mtime = 5, 1_700_000_000
        archive.addfile(member, io.BytesIO(b"first"))
    run(
        settings,
        Request(policy=Policy(direction=Direction.PUSH)),
        lambda: Crowded(space),
        listener=ignore,
    )
    run(settings, Request(policy=Policy(direction=Direction.BOTH)), space.connect, listener=ignore)
    assert theirs.read_bytes() == b"other"
    assert (tmp_path / "first" / "train_data" / "a.txt").read_bytes() == b"other"
