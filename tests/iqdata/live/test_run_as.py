"""A space that root starts works as the owner of its folder, and cannot go back."""

import contextlib
import ftplib
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from iqdata.server.tls import self_made
from tests.agents import await_lines
from tests.servers import need_root, reachable

pytestmark = [pytest.mark.live, pytest.mark.slow]

ACCOUNT = pwd.getpwnam("daemon")


@pytest.fixture(scope="module")
def iqdata(tmp_path_factory):
    """The command, in a place where every user may read it: an interpreter in root's home is shown outside of it."""
    need_root("a space that works as somebody else")
    command = [sys.executable, "-m", "iqdata"]
    with contextlib.suppress(PermissionError):
        subprocess.run([*command, "--version"], user=ACCOUNT.pw_uid, capture_output=True, check=True, cwd="/")
        return command
    base = Path(sys.base_prefix).resolve()
    aside = tmp_path_factory.mktemp("interpreter")
    show = f"""
        mount --bind {base} {aside} && mount -t tmpfs -o mode=755 none {Path(*base.parts[:2])} &&
        mkdir -p {base} && mount --bind {aside} {base} && exec "$@"
    """
    shown = ["unshare", "--mount", "--propagation", "private", "sh", "-c", show, "sh", *command]
    tried = subprocess.run([*shown, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"only root can read this interpreter, and it cannot be shown elsewhere: {tried.stderr}")
    return shown


@pytest.fixture
def folder(tmp_path):
    reachable(tmp_path)
    return tmp_path


@contextlib.contextmanager
def served(iqdata, root, *arguments, port=0):
    """Run `iqdata serve` and yield where it listens and which process listens there."""
    process = subprocess.Popen(
        [
            *iqdata,
            "serve",
            "--root",
            str(root),
            "--port",
            str(port),
            "--json",
            "--user",
            "alpha:pw",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        for line in process.stdout:
            said += line
            event = json.loads(line)
            if event["event"] == "started":
                yield int(event["address"].rpartition(":")[2]), process
                break
        else:
            raise AssertionError(process.stderr.read())
    finally:
        process.terminate()
        out, err = process.communicate(timeout=60)
        sys.stdout.write(f"what it said:\n{said}{out}{err}")  # pytest shows it when the test fails


def family(process):
    """The status of the serving process and everything below it, by proc(5)."""
    found = []
    waiting = [process.pid]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            if "python" in status["Name"]:
                found.append(status)
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
    return found


def owned(root):
    shutil.chown(root, ACCOUNT.pw_uid, ACCOUNT.pw_gid)


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("named", [True, False], ids=["--run-as", "owner of the folder"])
def test_nothing_of_root_is_left(iqdata, folder, named):
    root = folder / "space"
    if not named:
        root.mkdir()
        owned(root)
    options = ["--run-as", ACCOUNT.pw_name] if named else []
    with served(iqdata, root, *options) as (port, process), ftplib.FTP(timeout=20) as client:
        client.connect("127.0.0.1", port)
        client.login("alpha", "pw")
        client.storbinary("STOR train_data/a.zip", io.BytesIO(zip_of(x=b"1")))
        assert await_lines(root / "homes/alpha", 1)[0]["status"] == "ok"
        statuses = family(process)
        assert len(statuses) >= 2, "the server and a worker"
        for status in statuses:
            assert set(status["Uid"].split()) == {str(ACCOUNT.pw_uid)}
            assert set(status["Gid"].split()) == {str(ACCOUNT.pw_gid)}
            assert "0" not in status["Groups"].split()
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert status["NoNewPrivs"] == "1"
        # What the organizer keeps for root inside a home cannot be written, neither by a session nor by an archive.
        kept = root / "homes/alpha/train_data/kept"
        kept.mkdir(mode=0o755)
        (kept / "file").write_bytes(b"root's")
        for command, path in (("STOR", "kept/file"), ("STOR", "kept/new"), ("STOR", "kept/a.zip")):
            with pytest.raises(ftplib.error_perm, match="550"):
                client.storbinary(f"{command} train_data/{path}", io.BytesIO(b"a team's"))
        with pytest.raises(ftplib.error_perm, match="550"):
            client.delete("train_data/kept/file")
        client.storbinary(
            "STOR train_data/b.zip", io.BytesIO(zip_of(**{"kept/file": b"2", "kept/more": b"3"}))
        )
        assert await_lines(root / "homes/alpha", 2)[1]["status"] != "ok"
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"file": b"root's"}
    mine = [path for path in (root, *root.rglob("*")) if kept not in (path, *path.parents)]
    assert {path.lstat().st_uid for path in mine} == {ACCOUNT.pw_uid}


def test_a_low_port_and_a_key_of_root_s_are_had_first(iqdata, folder):
    certificate, key = self_made(folder / "tls", "127.0.0.1")
    assert key.stat().st_mode & 0o077 == 0
    (folder / "tls").chmod(0o700)
    port = next(port for port in range(1023, 600, -1) if _is_free(port))
    with served(
        iqdata, folder / "space", "--run-as", ACCOUNT.pw_name, "--cert", str(certificate), "--key", str(key),
        "--tls-required", port=port,
    ) as (listens, _process), ftplib.FTP_TLS(timeout=20) as client:  # fmt: skip
        assert listens == port
        client.connect("127.0.0.1", port)
        client.login("alpha", "pw")
        client.prot_p()
        client.storbinary("STOR train_data/a.bin", io.BytesIO(b"1"))


def _is_free(port):
    import socket

    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def test_accounts_that_root_adds_can_be_read_by_the_server(iqdata, folder):
    root = folder / "space"
    root.mkdir()
    owned(root)
    added = subprocess.run(
        [*iqdata, "user", "add", "beta", "--root", str(root)], input="pw-b\n", text=True, check=False
    )
    assert added.returncode == 0
    with served(iqdata, root) as (port, _process), ftplib.FTP(timeout=20) as client:
        client.connect("127.0.0.1", port)
        client.login("beta", "pw-b")


def test_what_cannot_be_is_said_in_one_line(iqdata, folder):
    other = folder / "other"
    other.mkdir()
    os.chown(other, ACCOUNT.pw_uid, ACCOUNT.pw_gid)
    for root, user, words in (
        (folder / "new", "no-such-user", "there is no user 'no-such-user'"),
        (other, "nobody", "belongs to daemon and not to nobody"),
        (folder / "no/such/place", ACCOUNT.pw_name, "cannot make"),
    ):
        done = subprocess.run(
            [*iqdata, "serve", "--root", str(root), "--port", "0", "--run-as", user],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
