"""Big files: a killed transfer goes on where it was, and never with the wrong part."""

import os
import signal
import subprocess
import sys
import time

import pytest

from iqdata.bigfiles import BIG_BYTES
from iqdata.rules import is_temporary
from tests.servers import pyftpdlib, vsftpd

pytestmark = pytest.mark.live

SIZE = BIG_BYTES + 3_000_000


@pytest.fixture(params=[vsftpd, pyftpdlib], ids=["vsftpd", "pyftpdlib"])
def server(request, tmp_path):
    """Two servers that offer REST."""
    folder = tmp_path / "server"
    folder.mkdir()
    with request.param(folder) as running:
        yield running


@pytest.fixture
def workspace(tmp_path):
    """A workspace with one big file."""
    folder = tmp_path / "workspace"
    (folder / "train_data").mkdir(parents=True)
    (folder / "train_data" / "big.bin").write_bytes(os.urandom(SIZE))
    return folder


def run_until(server, workspace, verb, part_of):
    """Start a slow run, kill it when `part_of()` shows a good part of the file, and return how much there was."""
    with subprocess.Popen(
        [sys.executable, "-m", "iqdata", "-C", workspace, "--space", server.url, "-q", verb, "--bwlimit", "6M"],
        env={**os.environ, "IQDATA_PASSWORD": server.password, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 60
        while part_of() < SIZE // 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    part = part_of()
    assert SIZE // 3 <= part < SIZE
    return part


def size_of_part(folder):
    """Return the size of the temporary file in a folder, 0 where there is none."""
    sizes = [path.stat().st_size for path in folder.glob("iqdata-*")] if folder.is_dir() else []
    return max(sizes, default=0)


def test_a_killed_upload_goes_on(iqdata, server, workspace):
    there = server.root / "train_data"
    part = run_until(server, workspace, "push", lambda: size_of_part(there))
    again = iqdata("-C", workspace, "--space", server.url, "--json", "push", password=server.password)
    assert again.code == 0
    assert 0 < again.summary["bytes_sent"] <= SIZE - part + 1_000_000
    assert (there / "big.bin").read_bytes() == (workspace / "train_data" / "big.bin").read_bytes()
    assert not [path for path in there.iterdir() if is_temporary(path.name)]


def test_a_part_that_was_tampered_with_is_not_gone_on_with(iqdata, server, workspace):
    there = server.root / "train_data"
    run_until(server, workspace, "push", lambda: size_of_part(there))
    (part,) = there.glob("iqdata-*")
    with part.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"0123456789")
    assert iqdata("-C", workspace, "--space", server.url, "push", password=server.password).code == 0
    assert (there / "big.bin").read_bytes() == (workspace / "train_data" / "big.bin").read_bytes()


def test_a_killed_download_goes_on(iqdata, server, workspace, tmp_path):
    assert iqdata("-C", workspace, "--space", server.url, "push", password=server.password).code == 0
    second = tmp_path / "second"
    (second / "train_data").mkdir(parents=True)
    part = run_until(server, second, "pull", lambda: size_of_part(second / ".iqdata" / "tmp"))
    again = iqdata("-C", second, "--space", server.url, "--json", "pull", password=server.password)
    assert again.code == 0
    assert again.summary["bytes_received"] <= SIZE - part + 1_000_000
    assert (second / "train_data" / "big.bin").read_bytes() == (
        workspace / "train_data" / "big.bin"
    ).read_bytes()


def test_a_part_of_an_older_version_is_not_gone_on_with(iqdata, server, workspace, tmp_path):
    assert iqdata("-C", workspace, "--space", server.url, "push", password=server.password).code == 0
    second = tmp_path / "second"
    (second / "train_data").mkdir(parents=True)
    run_until(server, second, "pull", lambda: size_of_part(second / ".iqdata" / "tmp"))
    (workspace / "train_data" / "big.bin").write_bytes(os.urandom(SIZE))
    assert iqdata("-C", workspace, "--space", server.url, "push", password=server.password).code == 0
    assert iqdata("-C", second, "--space", server.url, "pull", password=server.password).code == 0
    assert (second / "train_data" / "big.bin").read_bytes() == (
        workspace / "train_data" / "big.bin"
    ).read_bytes()


def test_segments_make_the_same_file(tmp_path, monkeypatch):
    from iqdata import bigfiles
    from iqdata.paths import RelPath
    from iqdata.transports.base import FetchJob
    from iqdata.transports.connect import connector
    from iqdata.transports.pool import Pool

    monkeypatch.setattr(bigfiles, "_SEGMENTED_FROM_BYTES", BIG_BYTES)
    monkeypatch.setattr(bigfiles, "_WORTH_SEGMENTS_S", 0.0)
    (tmp_path / "server").mkdir()
    data = os.urandom(SIZE)
    with vsftpd(tmp_path / "server") as server:
        (server.root / "big.bin").write_bytes(data)
        for limit in (2, 8):
            pool = Pool(connector(server.location, password=server.password), limit=limit)
            part = tmp_path / f"part{limit}"
            counted = []
            job = FetchJob(
                path=RelPath("big.bin"), open_sink=lambda: None, size_bytes=SIZE, on_bytes=counted.append
            )
            with pool.lease() as transport:
                fetched = bigfiles.fetch(transport, job, part, pool=pool)
            pool.close()
            assert fetched.error is None
            assert part.read_bytes() == data
            assert sum(counted) == SIZE
