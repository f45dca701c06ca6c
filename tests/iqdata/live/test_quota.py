"""The account of a team is right, whatever came and went: it says what the files of the home hold."""

import contextlib
import ftplib
import io
import json
import os
import tarfile
import zipfile

import pytest

from iqdata.server.accounts import Accounts
from iqdata.server.jobs import AfterExtraction
from iqdata.server.layout import Layout
from iqdata.server.quota import usage_of
from iqdata.server.space import EmbeddedSpace
from tests.agents import wait_for

pytestmark = pytest.mark.live

LIMIT = 3_000_000


@pytest.fixture
def space(tmp_path):
    with EmbeddedSpace(tmp_path / "space", users={"alpha": "pw"}, quota_bytes=LIMIT) as running:
        yield running


@contextlib.contextmanager
def session(space):
    with ftplib.FTP(timeout=20) as client:
        client.connect(space.host, space.port)
        client.login("alpha", "pw")
        client.voidcmd("TYPE I")
        yield client


def put(client, path, content, command="STOR"):
    client.storbinary(f"{command} train_data/{path}", io.BytesIO(content))


def refused(client, path, content):
    with pytest.raises(ftplib.error_perm, match="552"):
        put(client, path, content)


def is_right(space):
    """Wait until the account says what the home holds; a recount of a home in doubt takes its moment."""
    assert space.wait_idle()
    home = space.home("alpha")
    try:
        wait_for(lambda: space.used_bytes("alpha") == usage_of(home), patience_s=20)
    except AssertionError:
        raise AssertionError((space.used_bytes("alpha"), usage_of(home))) from None
    return True


def tar_of(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                kind, _, info.linkname = content.partition(" ")
                info.type = {"hard": tarfile.LNKTYPE, "sym": tarfile.SYMTYPE}[kind]
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# --- names that go while bytes still come


def replace(client, path):
    put(client, path, b"another file")


def delete(client, path):
    client.delete(f"train_data/{path}")


def rename_over(client, path):
    put(client, "other", b"another file")
    client.rename("train_data/other", f"train_data/{path}")


def rename_away(client, path):
    client.rename(f"train_data/{path}", "train_data/elsewhere")


@pytest.mark.parametrize("act", [replace, delete, rename_over, rename_away])
@pytest.mark.parametrize("more", [1_000, 4_000_000], ids=["within", "over"])
@pytest.mark.parametrize("before", ["STOR", "APPE"])
def test_a_file_that_loses_its_name_while_it_is_received(space, act, more, before):
    with session(space) as slow, session(space) as quick:
        if before == "APPE":
            put(slow, "same.bin", bytes(300_000))
        data = slow.transfercmd(f"{before} train_data/same.bin")
        with data:
            data.sendall(bytes(500_000))
            wait_for(lambda: (space.used_bytes("alpha") or 0) >= 500_000)
            act(quick, "same.bin")
            with contextlib.suppress(OSError):
                data.sendall(bytes(more))
        with contextlib.suppress(ftplib.error_perm):
            slow.voidresp()
        assert is_right(space)
        if more > LIMIT:
            put(quick, "rest.bin", bytes(LIMIT - usage_of(space.home("alpha"))))
            refused(quick, "more.bin", b"1")


def test_an_upload_over_the_quota_draws_nothing(space):
    with session(space) as client:
        put(client, "a.bin", bytes(1_000_000))
        refused(client, "b.bin", bytes(4_000_000))
        assert space.used_bytes("alpha") == 1_000_000
        refused(client, "a.bin", bytes(4_000_000))
        assert space.used_bytes("alpha") == 0


def test_a_session_that_ends_while_its_file_has_lost_its_name(space):
    with session(space) as quick:
        with session(space) as slow:
            data = slow.transfercmd("STOR train_data/same.bin")
            data.sendall(bytes(500_000))
            wait_for(lambda: (space.used_bytes("alpha") or 0) >= 500_000)
            delete(quick, "same.bin")
            data.close()
        assert is_right(space)
        assert space.used_bytes("alpha") == 0


def test_two_sessions_append_to_one_file_that_is_deleted(space):
    with session(space) as one, session(space) as two, session(space) as third:
        put(one, "log.bin", bytes(1000))
        with (
            one.transfercmd("APPE train_data/log.bin") as first,
            two.transfercmd("APPE train_data/log.bin") as second,
        ):
            first.sendall(bytes(10_000))
            second.sendall(bytes(20_000))
            wait_for(lambda: space.used_bytes("alpha") == 31_000)
            delete(third, "log.bin")
            first.close()
            one.voidresp()
            second.sendall(bytes(5000))
        two.voidresp()
        assert is_right(space)
        assert space.used_bytes("alpha") == 0


def test_resumed_uploads(space):
    with session(space) as client:
        put(client, "a.bin", bytes(100_000))
        client.storbinary("STOR train_data/a.bin", io.BytesIO(bytes(5_000)), rest=40_000)
        assert is_right(space)
        assert space.used_bytes("alpha") == 45_000


# --- extraction


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(("a.tar.gz", tar_of(("d/x", bytes(1000)), ("d/y", bytes(2000)))), id="new"),
        pytest.param(("a.tar.gz", tar_of(("x", b"1"), ("x", b"22"), ("old", b"333"))), id="replaces"),
        pytest.param(("a.tar.gz", tar_of(("x", bytes(100)), ("y", "hard x"), ("z", "sym x"))), id="links"),
        pytest.param(("a.zip", zip_of(x=bytes(5000), old=b"1")), id="zip"),
        pytest.param(("a.zip", zip_of(x=os.urandom(5000))[:3000]), id="damaged"),
        pytest.param(("a.zip", zip_of(x=bytes(LIMIT))), id="too large"),
        pytest.param(("a.zip", zip_of(**{"linked": b"1", "x/y": b"2"})), id="replaces one of two names"),
    ],
)
@pytest.mark.parametrize("after", AfterExtraction)
def test_extraction_draws_what_it_leaves(tmp_path, archive, after):
    name, content = archive
    with EmbeddedSpace(tmp_path / "space", users={"alpha": "pw"}, quota_bytes=LIMIT, after=after) as space:
        home = space.home("alpha") / "train_data"
        with session(space) as client:
            put(client, "old", bytes(100_000))
            put(client, "name", bytes(50_000))
            os.link(home / "name", home / "linked")
            for _ in range(2):
                put(client, name, content)
                assert space.wait_idle()
                assert space.used_bytes("alpha") == usage_of(space.home("alpha"))


def test_an_extraction_that_replaces_a_file_being_received(space):
    with session(space) as slow, session(space) as quick:
        with slow.transfercmd("STOR train_data/x.csv") as data:
            data.sendall(bytes(500_000))
            wait_for(lambda: (space.used_bytes("alpha") or 0) >= 500_000)
            put(quick, "a.zip", zip_of(**{"x.csv": b"1"}))
            assert space.wait_idle()
            data.sendall(bytes(700_000))
        slow.voidresp()
        assert is_right(space)


# --- limits


def test_what_waits_at_a_start_is_limited_too(tmp_path):
    folder = tmp_path / "space/homes/alpha/train_data"
    folder.mkdir(parents=True)
    (folder / "a.zip").write_bytes(zip_of(**{"x.bin": bytes(LIMIT + 1)}))
    with EmbeddedSpace(tmp_path / "space", users={"alpha": "pw"}, quota_bytes=LIMIT) as space:
        assert is_right(space)
        log = space.home("alpha") / ".iqdata/extractions.jsonl"
        (line,) = [json.loads(line) for line in log.read_bytes().splitlines()]
        assert (line["status"], line["trigger"]) == ("too-large", "recovery")


def test_a_limit_that_is_given_while_the_space_runs(tmp_path):
    with EmbeddedSpace(tmp_path / "space", users={"alpha": "pw"}) as space, session(space) as client:
        put(client, "a.bin", bytes(100_000))
        assert space.used_bytes("alpha") is None
        Accounts(Layout(root=tmp_path / "space")).set_quota("alpha", 150_000)
        wait_for(lambda: space.used_bytes("alpha") == 100_000)
        refused(client, "b.bin", bytes(60_000))
        Accounts(Layout(root=tmp_path / "space")).set_quota("alpha", None)
        wait_for(lambda: space.used_bytes("alpha") is None)
        put(client, "b.bin", bytes(60_000))


def test_a_write_that_fails_draws_nothing(space, monkeypatch):
    from iqdata.server.jail import StoredFile

    with session(space) as client:
        put(client, "a.bin", bytes(1000))
        full = os.open("/dev/full", os.O_WRONLY)
        write = StoredFile.write

        def failing(self, data):
            os.dup2(full, self.fileno())
            return write(self, data)

        monkeypatch.setattr(StoredFile, "write", failing)
        with pytest.raises(ftplib.error_temp, match="452"):
            put(client, "b.bin", bytes(100_000))
        os.close(full)
        monkeypatch.undo()
        assert is_right(space)
        assert space.used_bytes("alpha") == 1000
