"""A space on a full disk, under guesses, with clients that dawdle, and with links swapped under its hands."""

import contextlib
import ftplib
import io
import json
import os
import subprocess
import threading
import time
import zipfile

import pytest

from iqdata.server.logins import LoginGuard
from iqdata.server.space import EmbeddedSpace
from tests.agents import agent, log_of, wait_for

pytestmark = [pytest.mark.live, pytest.mark.slow]


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def login(space, user="alpha", password="pw"):
    client = ftplib.FTP(timeout=30)
    client.connect(space.host, space.port)
    client.login(user, password)
    return client


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of its own that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)], check=False
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_nothing_half_and_the_space_goes_on(tmp_path):
    with (
        small_disk(tmp_path / "disk", 24) as disk,
        EmbeddedSpace(disk / "space", users={"alpha": "pw"}) as space,
        login(space) as client,
    ):
        home = space.home("alpha")
        client.storbinary("STOR train_data/kept.bin", io.BytesIO(bytes(2_000_000)))
        with pytest.raises(ftplib.error_temp, match="452"):
            client.storbinary("STOR train_data/large.bin", io.BytesIO(bytes(40_000_000)))
        assert not (home / "train_data/large.bin").exists()
        client.storbinary("STOR train_data/bomb.zip", io.BytesIO(zip_of({"a": b"1", "x": bytes(40_000_000)})))
        assert space.wait_idle()
        lines = [json.loads(line) for line in (home / ".iqdata/extractions.jsonl").read_text().splitlines()]
        assert [(line["archive"], line["status"]) for line in lines] == [("train_data/bomb.zip", "too-large")]
        assert "room" in lines[0]["error"]
        assert sorted(path.name for path in (home / "train_data").iterdir()) == ["bomb.zip", "kept.bin"]
        assert not [path for path in (disk / "space/.iqdata-space/stage").rglob("*") if path.is_file()]
        client.storbinary("STOR train_data/small.zip", io.BytesIO(zip_of({"y": b"2"})))
        assert space.wait_idle()
        assert (home / "train_data/y").read_bytes() == b"2"
        assert (home / "train_data/kept.bin").stat().st_size == 2_000_000


def test_a_disk_that_is_full_to_the_last_block_loses_no_upload(tmp_path):
    """Not even the journal can be written: what is uploaded then is found when the space starts again."""
    with small_disk(tmp_path / "disk", 16) as disk:
        with EmbeddedSpace(disk / "space", users={"alpha": "pw"}) as space, login(space) as client:
            client.storbinary("STOR train_data/a.zip", io.BytesIO(zip_of({"x": b"1"})))
            assert space.wait_idle()
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(65536))
            with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
                while True:
                    file.write(b"x" * 512)
            for number in range(5):
                with contextlib.suppress(ftplib.Error, OSError, EOFError):
                    client.storbinary(
                        f"STOR train_data/b{number}.zip", io.BytesIO(zip_of({f"y{number}": b"1"}))
                    )
            with contextlib.suppress(ftplib.Error, OSError, EOFError):
                client.rename("train_data/a.zip", "train_data/c.zip")
            filler.unlink()
        with EmbeddedSpace(disk / "space", users={"alpha": "pw"}) as space:
            assert space.wait_idle()
            home = space.home("alpha")
            archives = {str(path.relative_to(home)) for path in home.rglob("*.zip")}
            lines = [
                json.loads(line) for line in (home / ".iqdata/extractions.jsonl").read_text().splitlines()
            ]
            assert {line["archive"] for line in lines} >= archives
            with login(space) as client:
                client.storbinary("STOR train_data/z.zip", io.BytesIO(zip_of({"z": b"3"})))
            assert space.wait_idle()
            assert (home / "train_data/z").read_bytes() == b"3"


def test_a_thousand_wrong_logins(tmp_path):
    guard = lambda: LoginGuard(most=10, window_s=600, ban_s=600)  # noqa: E731
    with EmbeddedSpace(tmp_path / "space", users={"alpha": "pw"}, login_guard=guard) as space:
        inside = login(space)
        answers = []

        def guess():
            for _ in range(125):
                with ftplib.FTP(timeout=30) as client:
                    try:
                        client.connect(space.host, space.port)
                        client.login("alpha", "wrong")
                    except (ftplib.Error, EOFError, OSError) as exc:
                        answers.append(str(exc)[:3])

        threads = [threading.Thread(target=guess) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 1000
        assert answers.count("530") <= 30, "ten guesses, and those under way"
        inside.voidcmd("NOOP")
        inside.storbinary("STOR train_data/x", io.BytesIO(b"1"))
        inside.close()


def test_clients_that_dawdle_hold_up_nobody(tmp_path):
    import socket

    with EmbeddedSpace(tmp_path / "space", users={"alpha": "pw"}, max_per_address=300) as space:
        slow = []
        for _ in range(100):
            control = socket.create_connection((space.host, space.port), timeout=20)
            control.recv(100)
            control.send(b"U")
            slow.append(control)
        drip = login(space)
        drip.voidcmd("TYPE I")
        data = drip.transfercmd("STOR train_data/drip.bin")
        with login(space) as client:
            for number in range(100):
                for control in slow[:10]:
                    control.send(b"S")
                data.send(b"1")
                # Ends only if nobody waits for the slow ones: they go on until all of these are through.
                client.storbinary(f"STOR train_data/f{number}", io.BytesIO(b"x" * 1000))
        data.close()
        drip.voidresp()
        drip.close()
        for control in slow:
            control.close()
        assert (space.home("alpha") / "train_data/drip.bin").stat().st_size == 100


def test_sessions_that_say_nothing_are_ended(tmp_path):
    with EmbeddedSpace(tmp_path / "idle", users={"alpha": "pw"}, idle_timeout_s=1) as space:
        client = login(space)
        assert client.file.readline().startswith("421")
        client.close()
    with EmbeddedSpace(tmp_path / "stalled", users={"alpha": "pw"}, stall_timeout_s=1) as space:
        client = login(space)
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR train_data/stalled.bin")
        assert client.file.readline().startswith("421")
        data.close()
        client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be tricked into writing elsewhere")
def test_links_swapped_during_extraction_lead_nowhere(tmp_path):
    """Whoever can make links in the tree (by SFTP, say) swaps a folder for one that leads out, again and again."""
    tree = tmp_path / "tree"
    (tree / "train_data/d").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    content = zip_of({f"d/s/f{number}": os.urandom(2000) for number in range(80)})
    stop = threading.Event()

    def swap():
        folder = tree / "train_data/d"
        while not stop.is_set():
            for act in (
                lambda: (folder / "s").rename(folder / "away"),
                lambda: (folder / "s").symlink_to(outside),
                lambda: (folder / "s").unlink(),
                lambda: (folder / "away").rename(folder / "s"),
            ):
                with contextlib.suppress(OSError):
                    act()
                time.sleep(0.0002)

    with agent(tree, log=tmp_path / "log"):
        thread = threading.Thread(target=swap)
        thread.start()
        try:
            for number in range(12):
                (tree / f"train_data/a{number}.zip").write_bytes(content)
            wait_for(lambda: len(log_of(tree)) >= 12, patience_s=90)
        finally:
            stop.set()
            thread.join(20)
    assert list(outside.iterdir()) == []
