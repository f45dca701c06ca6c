"""`login`, `logout` and `doctor` as a user meets them, against real servers."""

import io
import json
import stat
import sys

import pytest

from iqdata import credentials
from iqdata.cli import run
from iqdata.errors import ConnectFailed, LoginRefused
from iqdata.server.space import EmbeddedSpace
from iqdata.transports.connect import connect
from iqdata.transports.ssh import SshOptions, fingerprint_of
from tests import servers


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own, without a keyring and without passwords in the environment."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("IQDATA_PASSWORD", raising=False)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(credentials, "_keyring", lambda: None)
    return folder


@pytest.fixture
def command(capsys, monkeypatch, tmp_path, home):
    """Run a command line and return its code, output and errors."""

    def run_it(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = run(["-C", str(tmp_path), *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run_it


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    users = {"owner": "pw-owner", "member": "pw-member"}
    with EmbeddedSpace(
        tmp_path_factory.mktemp("space"), users=users, groups={"g": ("owner", "member")}
    ) as one:
        yield one


class TestLogin:
    def test_kept_used_and_forgotten(self, command, space, home):
        url = space.url("owner")
        code, _, err = command("--space", url, "ls")
        assert code == 3
        assert "iqdata login" in err
        code, out, _ = command("--space", url, "login", typed="pw-owner\n")
        assert code == 0
        assert "pw-owner" not in out
        kept = home / ".config" / "iqdata" / "passwords.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        code, out, _ = command("--space", url, "ls")
        assert code == 0
        assert "train_data/" in out
        code, out, _ = command("--space", url, "logout")
        assert (code, "forgotten" in out) == (0, True)
        assert "pw-owner" not in kept.read_text()
        assert command("--space", url, "logout")[0] == 0
        assert command("--space", url, "ls")[0] == 3

    def test_a_wrong_one_is_not_kept(self, command, space, home):
        code, out, err = command("--space", space.url("owner"), "login", typed="wrong-word\n")
        assert code == 3
        assert "wrong-word" not in out + err
        assert not (home / ".config").exists()

    def test_without_a_check(self, command, home):
        url = f"ftp://team@127.0.0.1:{servers.free_port()}/"
        assert command("--space", url, "login", typed="pw\n")[0] == 3
        code, out, _ = command("--space", url, "--json", "login", "--no-check", typed="pw\n")
        assert code == 0
        assert json.loads(out)["checked"] is False

    @pytest.mark.parametrize("url", ["file:///tmp", "ftp://127.0.0.1/"])
    def test_spaces_that_have_none(self, command, url):
        assert command("--space", url, "login", typed="pw\n")[0] == 2

    def test_nothing_typed(self, command, space):
        assert command("--space", space.url("owner"), "login")[0] == 2


class TestDoctor:
    def test_an_owner(self, command, space, monkeypatch):
        monkeypatch.setenv("IQDATA_PASSWORD", "pw-owner")
        code, out, _ = command("--space", space.url("owner"), "--json", "doctor")
        lines = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        checks = {line["name"]: line for line in lines if line["event"] == "check"}
        assert checks["group_data: writing"]["status"] == "ok"
        assert checks["extraction"]["detail"].startswith("on upload and on rename")
        assert lines[-1] == {"event": "summary", "ok": len(lines) - 1, "warning": 0, "failed": 0}

    def test_a_member(self, command, space, monkeypatch):
        monkeypatch.setenv("IQDATA_PASSWORD", "pw-member")
        code, out, _ = command("--space", space.url("member"), "doctor")
        assert code == 0
        assert "only the group's owner may list and change it" in out
        assert "no problems, 1 note" in out

    def test_it_leaves_nothing(self, command, tmp_path, monkeypatch):
        (tmp_path / "server").mkdir()
        with servers.vsftpd(tmp_path / "server", settings="max_per_ip=3\n") as running:
            for area in ("train_data", "group_data"):
                (running.root / area).mkdir()
            (running.root / "train_data").chmod(0o777)
            (running.root / "group_data").chmod(0o755)
            monkeypatch.setenv("IQDATA_PASSWORD", running.password)
            before = sorted(running.root.rglob("*"))
            code, out, _ = command("--space", running.url, "doctor")
            assert sorted(running.root.rglob("*")) == before
        assert code == 1
        assert "3 at once; the next was refused" in out
        assert "FAIL  group_data: writing" in out
        assert "extraction           none (as tried out)" in out
        assert "1 problem" in out

    def test_a_wrong_password_and_no_server(self, command, space, monkeypatch):
        monkeypatch.setenv("IQDATA_PASSWORD", "wrong-word")
        code, out, err = command("--space", space.url("owner"), "doctor")
        assert (code, out) == (3, "")
        assert "wrong-word" not in err
        code, _, err = command("--space", f"ftp://t@127.0.0.1:{servers.free_port()}/", "doctor")
        assert code == 3
        assert "nothing listens there" in err


class TestHostKeys:
    @pytest.fixture
    def running(self, tmp_path):
        (tmp_path / "server").mkdir()
        with servers.openssh(tmp_path / "server") as one:
            yield one

    def options(self, running, home, **changes) -> SshOptions:
        values = {
            "known_hosts": (home / ".ssh" / "known_hosts",),
            "key_files": (running.client_key,),
            "agent": False,
        }
        return SshOptions(**(values | changes))

    def test_an_unknown_one_is_refused_and_can_be_accepted(self, command, running, home):
        options = self.options(running, home)
        with pytest.raises(ConnectFailed, match="--accept-host-key SHA256:") as caught:
            connect(running.location, ssh=options)
        fingerprint = "SHA256:" + str(caught.value).rpartition("--accept-host-key SHA256:")[2].split("`")[0]
        wrong = command("--space", running.url, "login", "--accept-host-key", "SHA256:" + "x" * 43)
        assert wrong[0] == 3
        assert not (home / ".ssh" / "known_hosts").exists()
        code, out, _ = command("--space", running.url, "login", "--accept-host-key", fingerprint)
        assert (code, "accepted" in out) == (0, True)
        connect(running.location, ssh=options).close()

    def test_a_changed_one_is_refused_loudly(self, running, home, tmp_path):
        import paramiko

        other = paramiko.Ed25519Key.from_private_key_file(str(running.client_key))
        (home / ".ssh").mkdir()
        line = f"[127.0.0.1]:{running.location.port} {other.get_name()} {other.get_base64()}\n"
        (home / ".ssh" / "known_hosts").write_text(line)
        with pytest.raises(ConnectFailed, match="KEY HAS CHANGED") as caught:
            connect(running.location, ssh=self.options(running, home))
        assert fingerprint_of(other) not in str(caught.value)
        assert not caught.value.retryable

    def test_no_key_that_opens_it(self, running, home):
        known = servers.ssh_options(running).known_hosts
        with pytest.raises(LoginRefused, match="publickey"):
            connect(
                running.location,
                password="pw",
                ssh=self.options(running, home, known_hosts=known, key_files=()),
            )
