"""What the probe finds out about real spaces, and that it leaves nothing behind."""

import time
from pathlib import Path

import pytest

from iqdata.location import Location
from iqdata.paths import RelPath
from iqdata.profile import Profile, current, declared_by, probe
from iqdata.server.jobs import AfterExtraction
from iqdata.server.space import EmbeddedSpace
from iqdata.state import open_state
from iqdata.transports.connect import connect
from iqdata.transports.local import LocalTransport
from tests import servers

TOKEN = "0123456789abcdefghij"


@pytest.mark.parametrize("after", [AfterExtraction.KEEP, AfterExtraction.REMOVE])
def test_a_space_that_extracts(tmp_path, after):
    with EmbeddedSpace(tmp_path, users={"team": "secret"}, after=after) as space:
        transport = connect(Location.parse(space.url("team")), password="secret")
        found = probe(transport, token=TOKEN, now_s=time.time())
        assert found.source == "probed"
        assert found.extracts_on == ("upload", "rename")
        assert found.into == "same-folder"
        assert found.keeps_archive is (after is AfterExtraction.KEEP)
        assert found.overwrites
        assert found.keeps_times
        assert found.case_sensitive
        assert abs(found.clock_ahead_s) < 3
        assert found.left_behind == ()
        assert sorted(transport.list_folder(RelPath(""))) == [".iqdata", "group_data", "train_data"]
        declared = declared_by(transport)
        assert declared is not None
        assert (declared.source, declared.keeps_archive) == ("declared", found.keeps_archive)
        transport.close()


def test_a_server_that_does_not_extract(tmp_path):
    with servers.vsftpd(tmp_path) as running:
        transport = connect(running.location, password=running.password)
        found = probe(transport, token=TOKEN, now_s=time.time(), patience_s=0.3)
        assert (found.source, found.extracts_on, found.left_behind) == ("probed", (), ())
        assert list(running.root.iterdir()) == []
        assert declared_by(transport) is None
        transport.close()


def test_a_root_that_may_not_be_written_is_left_alone(tmp_path):
    if servers.os.geteuid() == 0:
        root = Path("/proc")  # nobody makes folders there
    else:
        root = tmp_path
        root.chmod(0o555)
    assert probe(LocalTransport(root), token=TOKEN, now_s=time.time()) == Profile()


def test_it_is_remembered_for_a_week(tmp_path):
    space, workspace = tmp_path / "space", tmp_path / "work"
    space.mkdir()
    workspace.mkdir()
    transport = LocalTransport(space)
    ticks = iter(range(10**6))
    how = {"token": TOKEN, "clock": lambda: float(next(ticks)), "sleep": lambda _seconds: None}
    with open_state(workspace, space=f"file://{space}") as state:
        assert current(transport, state, may_probe=False, now_s=1000.0, **how).source == "assumed"
        first = current(transport, state, may_probe=True, now_s=1000.0, **how)
        assert first.source == "probed"
        stamp = space.stat().st_mtime_ns
        again = current(transport, state, may_probe=True, now_s=1000.0 + 6 * 86_400, **how)
        assert again == first
        assert space.stat().st_mtime_ns == stamp
        current(transport, state, may_probe=True, now_s=1000.0 + 8 * 86_400, **how)
        assert space.stat().st_mtime_ns != stamp


def test_a_declaration_that_cannot_be_read_is_none(tmp_path):
    (tmp_path / ".iqdata").mkdir()
    (tmp_path / ".iqdata" / "space.json").write_text('{"keeps_archive": "perhaps"}')
    assert declared_by(LocalTransport(tmp_path)) is None
    (tmp_path / ".iqdata" / "space.json").write_text('{"keeps_archive": false, "unknown": 1}')
    assert declared_by(LocalTransport(tmp_path)).keeps_archive is False
