"""Where passwords are found and kept, and that none is ever shown."""

import json
import stat

import pytest

from iqdata import credentials
from iqdata.credentials import Passwords, account, forget, keep, password_file
from iqdata.errors import ConfigError
from iqdata.location import Location

SPACE = Location.parse("ftp://team@space.example.org:2121/some/folder")


def nobody(_question: str) -> None:
    """Be no person."""


class FakeKeyring:
    """A store in memory with the interface of the keyring package."""

    class errors:  # noqa: N801  # as the package spells it
        class KeyringError(Exception):
            pass

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        self.kept[service, name] = value

    def delete_password(self, service: str, name: str) -> None:
        if self.kept.pop((service, name), None) is None:
            raise self.errors.KeyringError


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    monkeypatch.setattr(credentials, "_keyring", lambda: None)


def netrc(home, text: str, mode: int = 0o600) -> None:
    path = home / ".netrc"
    path.write_text(text)
    path.chmod(mode)


def find(home, *, env=None, location=SPACE, prompt=nobody):
    return Passwords(location, env=env or {}, home=home, prompt=prompt).get()


def test_the_order(tmp_path, monkeypatch):
    keyring = FakeKeyring()
    monkeypatch.setattr(credentials, "_keyring", lambda: None)
    keep(SPACE, "from file", env={}, home=tmp_path)
    netrc(tmp_path, "machine space.example.org login team password from-netrc\n")
    monkeypatch.setattr(credentials, "_keyring", lambda: keyring)
    keyring.set_password("iqdata", account(SPACE), "from keyring")
    inside = Location.parse("ftp://team:from-url@space.example.org:2121/")
    prompt = {"prompt": lambda _question: "from prompt"}
    assert find(tmp_path, env={"IQDATA_PASSWORD": "from env"}, location=inside, **prompt) == "from env"
    assert find(tmp_path, location=inside, **prompt) == "from-url"
    assert find(tmp_path, **prompt) == "from keyring"
    keyring.kept.clear()
    assert find(tmp_path, **prompt) == "from-netrc"
    (tmp_path / ".netrc").unlink()
    assert find(tmp_path, **prompt) == "from file"
    forget(SPACE, env={}, home=tmp_path)
    assert find(tmp_path, **prompt) == "from prompt"
    assert find(tmp_path) is None


def test_a_prompt_comes_once(tmp_path):
    asked = []
    passwords = Passwords(
        SPACE, env={}, home=tmp_path, prompt=lambda question: asked.append(question) or "typed"
    )
    assert [passwords.get(), passwords.get()] == ["typed", "typed"]
    assert asked == ["Password of team@space.example.org:2121: "]


def test_the_file_is_private_and_forgets(tmp_path):
    where = keep(SPACE, "s3cret", env={}, home=tmp_path)
    path = password_file({}, tmp_path)
    assert str(path) in where
    assert "s3cret" not in where
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 in (0, 0o055)
    other = Location.parse("ftp://other@space.example.org:2121/")
    keep(other, "pw2", env={}, home=tmp_path)
    assert find(tmp_path) == "s3cret"
    assert forget(SPACE, env={}, home=tmp_path) == [str(path)]
    assert forget(SPACE, env={}, home=tmp_path) == []
    assert find(tmp_path) is None
    assert find(tmp_path, location=other) == "pw2"
    assert list(path.parent.iterdir()) == [path]


def test_the_folder_follows_xdg(tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    keep(SPACE, "pw", env=env, home=tmp_path / "home")
    assert (tmp_path / "xdg" / "iqdata" / "passwords.json").is_file()
    assert find(tmp_path / "home", env=env) == "pw"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_file_that_others_can_read_is_not_used(tmp_path, mode):
    keep(SPACE, "s3cret", env={}, home=tmp_path)
    password_file({}, tmp_path).chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        find(tmp_path)
    netrc(tmp_path, "machine space.example.org login team password x\n", mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        find(tmp_path)


@pytest.mark.parametrize(
    "text", ["machine space.example.org login team passwrd s3cret\n", "s3cret\n", "machine"]
)
def test_a_damaged_netrc_is_said_without_quoting_it(tmp_path, text):
    netrc(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        find(tmp_path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", ["not json s3cret", "[]", '"s3cret"'])
def test_a_damaged_file_is_said_without_quoting_it(tmp_path, text):
    keep(SPACE, "x", env={}, home=tmp_path)
    path = password_file({}, tmp_path)
    path.write_text(text)
    with pytest.raises(ConfigError, match="iqdata login") as caught:
        find(tmp_path)
    assert "s3cret" not in str(caught.value)


def test_netrc_of_another_user_or_host_does_not_count(tmp_path):
    netrc(
        tmp_path,
        "machine space.example.org login somebody password x\nmachine elsewhere login team password y\n",
    )
    assert find(tmp_path) is None


def test_one_account_for_all_folders_and_kinds_of_encryption():
    same = ["ftp://team@h:2121/", "ftp://team@h:2121/a/b", "ftpes://team@h:2121/", "ftp://team:pw@h:2121/"]
    assert {account(Location.parse(url)) for url in same} == {"team@h:2121"}
    assert account(Location.parse("sftp://team@[::1]/")) == "team@[::1]:22"


def test_the_keyring_is_used_where_there_is_one(tmp_path, monkeypatch):
    keyring = FakeKeyring()
    monkeypatch.setattr(credentials, "_keyring", lambda: keyring)
    assert keep(SPACE, "pw", env={}, home=tmp_path) == "the system keyring"
    assert not password_file({}, tmp_path).exists()
    assert find(tmp_path) == "pw"
    assert forget(SPACE, env={}, home=tmp_path) == ["the system keyring"]
    assert find(tmp_path) is None


def test_a_keyring_that_fails_is_gone_around(tmp_path, monkeypatch):
    class Locked(FakeKeyring):
        def set_password(self, service: str, name: str, value: str) -> None:
            raise self.errors.KeyringError

        def get_password(self, service: str, name: str) -> str | None:
            raise self.errors.KeyringError

        def delete_password(self, service: str, name: str) -> None:
            raise self.errors.KeyringError

    monkeypatch.setattr(credentials, "_keyring", Locked)
    assert "passwords.json" in keep(SPACE, "pw", env={}, home=tmp_path)
    assert find(tmp_path) == "pw"
    assert json.loads(password_file({}, tmp_path).read_text()) == {"team@space.example.org:2121": "pw"}


def test_passwords_do_not_show(tmp_path):
    location = Location.parse("ftp://team:s3cret@h/")
    passwords = Passwords(location, env={"IQDATA_PASSWORD": "s3cret"}, home=tmp_path)
    passwords.get()
    for shown in (repr(location), str(location), repr(passwords), str(passwords), account(location)):
        assert "s3cret" not in shown
