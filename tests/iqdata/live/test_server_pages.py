"""The pages about other servers: their configuration and commands, run against the real programs."""

import contextlib
import ftplib
import io
import pwd
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.agents import agent, await_lines
from tests.servers import (
    ROOT,
    UNPACKED,
    environment,
    free_port,
    need_root,
    program,
    reachable,
    started,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]

DOCS = ROOT / "docs"
ACCOUNT = "daemon"  # stands in for the pages' system user `ftpspace`


def block(page: str, language: str) -> str:
    """Return the one block of a page in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 1, (page, language)
    return found[0]


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        info = tarfile.TarInfo("d/x.csv")
        info.size = 1
        packed.addfile(info, io.BytesIO(b"1"))
    return buffer.getvalue()


@pytest.fixture
def space(tmp_path):
    """The homes of the pages, with alpha's areas, owned as the pages say."""
    reachable(tmp_path)
    root = tmp_path / "space"
    home = root / "homes/alpha"
    for area in ("train_data", "group_data"):
        (home / area).mkdir(parents=True)
    for path in (home, home / "train_data", home / "group_data"):
        shutil.chown(path, ACCOUNT)
    return root


def here(text: str, space: Path, folder: Path) -> str:
    """Return a page's text with its places moved below the test's own."""
    uid = pwd.getpwnam(ACCOUNT)
    text = text.replace("$(id -u ftpspace)", str(uid.pw_uid)).replace("$(id -g ftpspace)", str(uid.pw_gid))
    for name in ("/etc/proftpd", "/etc/pure-ftpd", "/etc/ssh/teams"):
        text = text.replace(name, str(folder))
    return text.replace("/srv/space", str(space)).replace("ftpspace", ACCOUNT)


def upload_and_look(
    space: Path, port: int, folder: Path, *, user: str, password: str, base: str = ""
) -> None:
    with agent(space, "--layout", "homes", log=folder / "agent.log"), ftplib.FTP(timeout=20) as client:
        client.connect("127.0.0.1", port)
        client.login(user, password)
        client.storbinary(f"STOR {base}/train_data/a.tar.gz", io.BytesIO(archive()))
        (line,) = await_lines(space / "homes/alpha", 1)
        assert (line["archive"], line["status"]) == ("train_data/a.tar.gz", "ok")
        log = []
        client.retrbinary(f"RETR {base}/.iqdata/extractions.jsonl", log.append)
        assert b'"status":"ok"' in b"".join(log)
        member = space / "homes/alpha/train_data/d/x.csv"
        assert member.read_bytes() == b"1"
        assert member.stat().st_uid == pwd.getpwnam(ACCOUNT).pw_uid
        client.cwd(f"{base}/train_data")
        assert "d" in client.nlst()
        client.delete("a.tar.gz")
        shutil.chown(space / "homes/alpha/group_data", "root")
        (space / "homes/alpha/group_data").chmod(0o700)
        with pytest.raises(ftplib.error_perm):
            client.storbinary(f"STOR {base}/group_data/a.tar.gz", io.BytesIO(archive()))
        with pytest.raises(ftplib.error_perm):
            client.delete(f"{base}/.iqdata/extractions.jsonl")


def shell(command: str, *, stdin: str = "") -> None:
    for line in command.strip().splitlines():
        name, _, rest = line.partition(" ")
        done = subprocess.run(
            f"{program(name)} {rest}",
            shell=True,
            input=stdin,
            text=True,
            capture_output=True,
            env=environment(),
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_proftpd(space, tmp_path):
    need_root("ProFTPD")
    ftpasswd = shutil.which("perl")
    assert ftpasswd, "ftpasswd is a Perl script"
    shell(
        here(block("space-proftpd.md", "proftpd-account"), space, tmp_path).replace(
            "--sha512", "--sha512 --stdin"
        ),
        stdin="pw\n",
    )
    (tmp_path / "space.passwd").chmod(0o600)
    shutil.chown(tmp_path / "space.passwd", "root")
    port = free_port()
    modules = UNPACKED / "usr/lib/proftpd"
    config = tmp_path / "proftpd.conf"
    # What the package's own configuration sets up around the page's part.
    config.write_text(
        f"""ModulePath {modules if modules.is_dir() else "/usr/lib/proftpd"}
ServerType standalone
DefaultServer on
DefaultAddress 127.0.0.1
Port {port}
User {ACCOUNT}
Group {ACCOUNT}
PidFile {tmp_path}/pid
ScoreboardFile {tmp_path}/scoreboard
DelayEngine off
WtmpLog off
TransferLog none
SystemLog {tmp_path}/system.log
AuthPAM off
{here(block("space-proftpd.md", "proftpd"), space, tmp_path)}"""
    )
    with started([program("proftpd"), "-n", "-q", "-c", str(config)], port=port, log=tmp_path / "log"):
        upload_and_look(space, port, tmp_path, user="alpha", password="pw")


def test_pureftpd(space, tmp_path):
    need_root("Pure-FTPd")
    shell(here(block("space-pureftpd.md", "pureftpd-account"), space, tmp_path), stdin="pw\npw\n")
    port = free_port()
    command = here(block("space-pureftpd.md", "pureftpd"), space, tmp_path).split()
    arguments = ["--bind", f"127.0.0.1,{port}", "--pidfile", str(tmp_path / "pid")]
    with started([program(command[0]), *command[1:], *arguments], port=port, log=tmp_path / "log"):
        upload_and_look(space, port, tmp_path, user="alpha", password="pw")


def test_vsftpd(space, tmp_path):
    """Its accounts are the machine's, so that the test logs in as the anonymous one instead; all else is the page's."""
    need_root("vsftpd")
    config = tmp_path / "vsftpd.conf"
    config.write_text(block("space-vsftpd.md", "vsftpd"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "passwords").write_text("pw\n")
    port = free_port()
    (space / "homes/alpha").chmod(0o755)
    shutil.chown(space / "homes/alpha", "root")
    instead = {
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "local_enable": "NO",
        "anonymous_enable": "YES",
        "ftp_username": ACCOUNT,
        "anon_root": space / "homes/alpha",
        "secure_email_list_enable": "YES",
        "email_password_file": tmp_path / "passwords",
        "anon_upload_enable": "YES",
        "anon_mkdir_write_enable": "YES",
        "anon_other_write_enable": "YES",
        "anon_world_readable_only": "NO",
        "anon_umask": "022",
        "secure_chroot_dir": tmp_path / "empty",
        "vsftpd_log_file": tmp_path / "vsftpd.log",
        "xferlog_file": tmp_path / "xfer.log",
        "background": "NO",
        "seccomp_sandbox": "NO",
    }
    arguments = [f"-o{name}={value}" for name, value in instead.items()]
    with started([program("vsftpd"), str(config), *arguments], port=port, log=tmp_path / "log"):
        upload_and_look(space, port, tmp_path, user="anonymous", password="pw")


def test_openssh_takes_the_page_s_part(tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config = tmp_path / "sshd_config"
    config.write_text(f"HostKey {key}\n{block('space-openssh.md', 'sshd')}")
    Path("/run/sshd").mkdir(exist_ok=True)
    user = ["-C", "user=root,host=localhost,addr=127.0.0.1"]
    done = subprocess.run(
        [program("sshd"), "-T", "-f", str(config), *user], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", ["iqdata-agent.service", "iqdata-serve.service"])
def test_units_run_commands_that_exist(unit, capsys):
    from iqdata.cli import run

    text = (DOCS / unit).read_text()
    (command,) = re.findall(r"^ExecStart=/opt/iqdata/bin/iqdata (.*)$", text, re.MULTILINE)
    with contextlib.suppress(SystemExit):
        assert run([command.split()[0], "--help"]) == 0
    offered = capsys.readouterr().out
    for option in re.findall(r"--[a-z-]+", command):
        assert option in offered
