"""`iqdata serve`, `user`, `group` and `space` as people and scripts run them."""

import ftplib
import io
import json
import os
import signal
import ssl
import subprocess
import sys

import pytest

from iqdata.cli import run

pytestmark = pytest.mark.live


def command(*arguments):
    return [sys.executable, "-m", "iqdata", *map(str, arguments)]


@pytest.fixture
def serve(tmp_path):
    """Start `iqdata serve --json` and return the process with its address."""
    running = []

    def start(*arguments):
        process = subprocess.Popen(
            command("serve", "--root", tmp_path / "space", "--port", 0, "--json", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "started":
                host, _, port = event["address"].rpartition(":")
                return process, host, int(port)
        raise AssertionError(process.stderr.read())

    yield start
    for process in running:
        process.kill()
        process.communicate()


def invoke(*arguments, stdin=""):
    done = subprocess.run(command(*arguments), input=stdin, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_json_is_all_it_prints(serve, number):
    process, host, port = serve("--user", "alpha:pw")
    with ftplib.FTP(timeout=20) as client:
        client.connect(host, port)
        client.login("alpha", "pw")
        client.storbinary("STOR train_data/a.bin", io.BytesIO(b"1"))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events if event["event"] in ("upload", "stopped")] == [
        "upload",
        "stopped",
    ]
    assert "Traceback" not in err


def test_accounts_and_groups_made_on_the_command_line(serve, tmp_path):
    root = tmp_path / "space"
    assert invoke("user", "add", "alpha", "--root", root, stdin="pw-a\n")[0] == 0
    assert invoke("user", "add", "beta", "--root", root, stdin="pw-b\n")[0] == 0
    assert invoke("user", "add", "beta", "--root", root, stdin="pw-b\n")[0] == 2
    assert invoke("user", "add", "gamma", "--root", root)[0] == 2
    assert invoke("group", "create", "g", "--owner", "alpha", "--root", root)[0] == 0
    assert invoke("group", "join", "g", "beta", "--root", root)[0] == 0
    _code, out, _err = invoke("space", "view", "beta", "--root", root, "--json")
    assert json.loads(out) == {
        "team": "beta",
        "train_data": str(root / "homes/beta/train_data"),
        "group_data": str(root / "homes/alpha/group_data"),
    }
    _code, out, _err = invoke("user", "list", "--root", root, "--json")
    assert [json.loads(line)["role"] for line in out.splitlines()] == ["owner", "member"]
    _process, host, port = serve()
    with ftplib.FTP(timeout=20) as client:
        client.connect(host, port)
        client.login("beta", "pw-b")
        with pytest.raises(ftplib.error_perm, match="belongs to alpha"):
            client.cwd("group_data")
        assert invoke("group", "leave", "g", "beta", "--root", root)[0] == 0
        for _ in range(100):
            try:
                client.cwd("/group_data")
                break
            except ftplib.error_perm:
                continue
    assert invoke("user", "disable", "beta", "--root", root)[0] == 0
    with ftplib.FTP(timeout=20) as client:
        client.connect(host, port)
        with pytest.raises(ftplib.error_perm, match="530"):
            client.login("beta", "pw-b")


def test_a_second_space_on_the_same_root_is_refused(serve, tmp_path):
    serve("--user", "alpha:pw")
    code, _out, err = invoke("serve", "--root", tmp_path / "space", "--port", 0)
    assert code == 2
    assert "another process serves" in err


def test_bad_settings_are_one_clear_line(tmp_path, capsys):
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    for arguments, word in (
        (["--root", str(loose)], "chmod o-w"),
        (["--root", str(tmp_path / "s"), "--user", "alpha"], "--user"),
        (["--root", str(tmp_path / "s"), "--user", "../x:pw"], "cannot name"),
        (["--root", str(tmp_path / "s"), "--passive-ports", "9-1"], "--passive-ports"),
        (["--root", str(tmp_path / "s"), "--executor", "cloud"], "--executor"),
        (["--root", str(tmp_path / "s"), "--tls-required", "--no-tls"], "contradict"),
        (["--root", str(tmp_path / "s"), "--host", "192.0.2.1", "--port", "0"], "cannot listen"),
    ):
        assert run(["serve", *arguments]) == 2, arguments
        assert word in capsys.readouterr().err


def test_a_self_made_certificate_is_made_once_and_tls_is_required(serve, tmp_path):
    process, host, port = serve("--user", "alpha:pw", "--tls-required")
    certificate = tmp_path / "space/.iqdata-space/tls/certificate.pem"
    key = certificate.with_name("key.pem")
    before = certificate.read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    with ftplib.FTP(timeout=20) as plain:
        plain.connect(host, port)
        with pytest.raises(ftplib.error_perm, match="SSL/TLS required"):
            plain.login("alpha", "pw")
    context = ssl.create_default_context(cafile=str(certificate))
    with ftplib.FTP_TLS(context=context, timeout=20) as client:
        client.connect(host, port)
        client.login("alpha", "pw")
        with pytest.raises(ftplib.error_perm, match="data channel"):
            client.nlst()
        client.prot_p()
        content = os.urandom(3_000_000)
        client.storbinary("STOR train_data/a.bin", io.BytesIO(content))
        got = []
        client.retrbinary("RETR train_data/a.bin", got.append)
        assert b"".join(got) == content
        assert client.sock.version() in ("TLSv1.2", "TLSv1.3")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with ftplib.FTP_TLS(context=old, timeout=20) as client:
        client.connect(host, port)
        with pytest.raises((OSError, EOFError)):
            client.login("alpha", "pw")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    serve("--user", "alpha:pw", "--tls")
    assert certificate.read_bytes() == before


def test_people_read_where_to_connect_and_what_happens(tmp_path):
    process = subprocess.Popen(
        command("serve", "--root", tmp_path / "space", "--port", 0, "--user", "alpha:pw"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        port = int(next(line for line in lines if "ftp://" in line).rpartition(":")[2].rstrip("/\n"))
        with ftplib.FTP(timeout=20) as client:
            client.connect("127.0.0.1", port)
            client.login("alpha", "pw")
            client.storbinary("STOR train_data/my.target.csv", io.BytesIO(b"1,2\n"))
            for line in process.stdout:
                lines.append(line)
                if "damaged" in line:
                    break
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    text = "".join(lines) + out
    assert "ftp://alpha@127.0.0.1:" in text
    assert "uploaded train_data/my.target.csv (4 B)" in text
    assert "stopped" in out
