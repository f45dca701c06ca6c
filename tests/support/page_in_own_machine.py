"""Follows a page about a server from top to bottom in a machine of its own, then uses what came out; see ownmachine.py."""

import contextlib
import ftplib
import io
import json
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.agents import log_of, wait_for
from tests.servers import ROOT

SPACE = Path("/srv/space")
OUTPUT = Path("/srv/output")
# How each server is started once it is configured: the page leaves that to the package.
PAGES = {
    "vsftpd": ("/etc/vsftpd.conf", "mkdir -p /run/vsftpd/empty; exec vsftpd -obackground=NO /etc/vsftpd.conf", 21),
    "proftpd": ("/etc/proftpd/conf.d/space.conf", "mkdir -p /run/proftpd; exec proftpd -n -c /etc/proftpd/proftpd.conf", 21),
    "pureftpd": ("", "", 21),
    "openssh": ("/etc/ssh/sshd_config.d/space.conf", "mkdir -p /run/sshd; ssh-keygen -A; exec /usr/sbin/sshd -D -e", 22),
}  # fmt: skip


def blocks(page: str) -> list[tuple[str, str]]:
    text = (ROOT / f"docs/space-{page}.md").read_text()
    return re.findall(r"^```(\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def shell(text: str, *, stdin: str = "") -> None:
    done = subprocess.run(["bash", "-euc", text], input=stdin, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{text}\n{done.stdout}{done.stderr}")


def prepare(page: str) -> None:
    """Do what installing the package would have done."""
    if page == "proftpd":
        shell(
            "id proftpd || useradd --system --gid nogroup --home-dir /run/proftpd --shell /usr/sbin/nologin proftpd"
        )
        if not Path("/etc/proftpd/proftpd.conf").exists():
            shell(
                "cp /usr/share/proftpd/templates/proftpd.conf /etc/proftpd/; touch /etc/proftpd/modules.conf"
            )
        Path("/var/log/proftpd").mkdir(exist_ok=True)
        Path("/etc/proftpd/conf.d").mkdir(exist_ok=True)
    elif page == "openssh":
        shell("id sshd || useradd --system --gid nogroup --home-dir /run/sshd --shell /usr/sbin/nologin sshd")
        Path("/etc/ssh/sshd_config.d").mkdir(parents=True, exist_ok=True)
        if not Path("/etc/ssh/sshd_config").exists():
            shell("cp /usr/share/openssh/sshd_config /etc/ssh/")


class Follow:
    """One page, block by block."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.config, self.start, self.port = PAGES[page]
        self.background: list[subprocess.Popen[bytes]] = []
        self.members: list[str] = []

    def run(self) -> None:
        """Do what the page says; the part about members of a group is kept for later."""
        for language, text in blocks(self.page):
            if language in (self.page, "sshd"):
                if self.config:
                    Path(self.config).write_text(text)
                    self.go(self.start)
                else:
                    self.go(f"exec {text}")
            elif language.endswith("-account"):
                for name in ("alpha", "beta"):
                    # ftpasswd asks the terminal for a password, unless it is told otherwise.
                    lines = text.replace("alpha", name).replace("--sha512", "--sha512 --stdin")
                    shell(lines, stdin=f"pw-{name}\npw-{name}\n")
            elif text.startswith("iqdata agent"):
                self.go(text)
            elif "homes/beta" in text:
                self.members.append(text)
            else:
                shell(text, stdin="pw-alpha\npw-alpha\n")
        if self.page in ("vsftpd", "openssh"):
            shell("passwd beta", stdin="pw-beta\npw-beta\n")
        wait_for(lambda: b"Watching" in OUTPUT.read_bytes() and self.answers())

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as probe:
            return bool(probe.recv(1))
        return False

    def go(self, command: str) -> None:
        with OUTPUT.open("ab") as out:
            self.background.append(subprocess.Popen(["bash", "-c", command], stdout=out, stderr=out))


def archive(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        info = tarfile.TarInfo(name)
        info.size = 1
        packed.addfile(info, io.BytesIO(b"1"))
    return buffer.getvalue()


class Ftp:
    def __init__(self, name: str) -> None:
        self.client = ftplib.FTP(timeout=20)
        self.client.connect("127.0.0.1", 21)
        self.client.login(name, f"pw-{name}")

    def put(self, path: str, content: bytes) -> bool:
        try:
            self.client.storbinary(f"STOR {path}", io.BytesIO(content))
        except ftplib.error_perm:
            return False
        return True

    def rename(self, source: str, target: str) -> None:
        self.client.rename(source, target)

    def read(self, path: str) -> bytes:
        got: list[bytes] = []
        self.client.retrbinary(f"RETR {path}", got.append)
        return b"".join(got)

    def lists(self, path: str) -> bool:
        try:
            self.client.cwd(path)
        except ftplib.error_perm:
            return False
        return True


class Sftp:
    def __init__(self, name: str) -> None:
        self.name = name
        key = Path(f"/srv/key-{name}")
        if not key.exists():
            shell(
                f"ssh-keygen -q -t ed25519 -N '' -f {key}; cp {key}.pub /etc/ssh/teams/{name}; chmod 644 /etc/ssh/teams/{name}"
            )
        self.options = [
            "-i",
            str(key),
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-oBatchMode=yes",
            "-q",
        ]

    def batch(self, *lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sftp", *self.options, "-b", "-", f"{self.name}@127.0.0.1"],
            input="\n".join(lines) + "\n", text=True, capture_output=True, check=False,
        )  # fmt: skip

    def put(self, path: str, content: bytes) -> bool:
        Path("/srv/part").write_bytes(content)
        return self.batch(f"put /srv/part {path}").returncode == 0

    def rename(self, source: str, target: str) -> None:
        done = self.batch(f"rename {source} {target}")
        assert done.returncode == 0, done.stderr

    def read(self, path: str) -> bytes:
        done = self.batch(f"get {path} /srv/got")
        assert done.returncode == 0, done.stderr
        return Path("/srv/got").read_bytes()

    def lists(self, path: str) -> bool:
        return self.batch(f"ls {path}").returncode == 0


def main() -> None:
    page = sys.argv[1]
    prepare(page)
    follow = Follow(page)
    try:
        follow.run()
        sys.stdout.write(json.dumps(use(page, follow)) + "\n")
    except BaseException:
        sys.stderr.write(OUTPUT.read_text() if OUTPUT.exists() else "")
        raise


def use(page: str, follow: Follow) -> dict[str, object]:
    client: type[Ftp | Sftp] = Sftp if page == "openssh" else Ftp
    alpha = client("alpha")
    home = SPACE / "homes/alpha"
    assert alpha.put("/train_data/a.tar.gz", archive("d/x.csv"))
    wait_for(lambda: len(log_of(home)) >= 1)
    assert alpha.put("/train_data/part", archive("d/y.csv"))
    alpha.rename("/train_data/part", "/train_data/b.tar.gz")
    wait_for(lambda: len(log_of(home)) >= 2)
    found: dict[str, object] = {
        "log": [[line["archive"], line["status"], line["trigger"]] for line in log_of(home)],
        "log over the server": alpha.read("/.iqdata/extractions.jsonl").count(b"\n"),
        "members": [alpha.read(f"/train_data/d/{name}.csv").decode() for name in "xy"],
        "owner is the archive's": (home / "train_data/d/x.csv").stat().st_uid == (home / "train_data/a.tar.gz").stat().st_uid != 0,
        "log is written by the space alone": not alpha.put("/.iqdata/extractions.jsonl", b"") and not alpha.put("/.iqdata/new", b""),
        "jail": not alpha.lists("/../beta") and not alpha.lists("/homes"),
    }  # fmt: skip
    beta = client("beta")
    found["beta before"] = [beta.lists("/group_data"), beta.put("/group_data/x", b"1")]
    for text in follow.members:
        shell(text)
    beta = client("beta")
    found["beta as a member"] = [beta.lists("/group_data"), beta.put("/group_data/x", b"1")]
    return found


if __name__ == "__main__":
    main()
