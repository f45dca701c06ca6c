"""Accounts and groups in the database."""

import pytest

from iqdata.errors import ConfigError
from iqdata.server.accounts import Accounts, verify
from iqdata.server.layout import Layout


@pytest.fixture
def accounts(tmp_path):
    layout = Layout(root=tmp_path / "space")
    layout.prepare()
    return Accounts(layout)


def test_an_account_lives(accounts):
    accounts.add("alpha", "pw", quota_bytes=5)
    account = accounts.get("alpha")
    assert account.quota_bytes == 5
    assert verify(account.hash, "pw")
    assert not verify(account.hash, "other")
    accounts.set_password("alpha", "new")
    assert verify(accounts.get("alpha").hash, "new")
    accounts.set_enabled("alpha", enabled=False)
    assert not accounts.get("alpha").enabled
    accounts.remove("alpha")
    assert accounts.get("alpha") is None


def test_hashes_are_memory_hard_and_the_file_is_private(accounts):
    accounts.add("alpha", "pw")
    assert accounts.get("alpha").hash.startswith("$argon2id$")
    assert accounts._path.stat().st_mode & 0o077 == 0
    assert b"pw" not in accounts._path.read_bytes().replace(b"$argon2id", b"")[-40:]


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "a\n", "anonymous", "x" * 65, "ä"])
def test_names_that_cannot_be_folders_are_refused(accounts, name):
    with pytest.raises(ConfigError):
        accounts.add(name, "pw")


def test_a_name_that_differs_in_case_only_is_taken(accounts):
    accounts.add("alpha", "pw")
    with pytest.raises(ConfigError, match="alpha"):
        accounts.add("Alpha", "pw")


def test_an_empty_password_is_refused(accounts):
    with pytest.raises(ConfigError, match="empty"):
        accounts.add("alpha", "")


def test_groups(accounts):
    for name in ("alpha", "beta", "gamma"):
        accounts.add(name, "pw")
    accounts.create_group("g", "alpha")
    accounts.join("g", "beta")
    assert accounts.get("beta").standing.is_member
    assert accounts.get("beta").owner == "alpha"
    assert not accounts.get("alpha").standing.is_member
    assert accounts.get("gamma").owner == "gamma"
    assert [(group.name, group.owner, group.members) for group in accounts.groups()] == [
        ("g", "alpha", ("beta",))
    ]
    for wrong in (
        lambda: accounts.create_group("g", "gamma"),
        lambda: accounts.create_group("h", "alpha"),
        lambda: accounts.create_group("h", "beta"),
        lambda: accounts.create_group("h", "nobody"),
        lambda: accounts.join("g", "alpha"),
        lambda: accounts.join("g", "beta"),
        lambda: accounts.join("none", "gamma"),
        lambda: accounts.leave("g", "gamma"),
        lambda: accounts.remove("alpha"),
        lambda: accounts.remove_group("none"),
    ):
        with pytest.raises(ConfigError):
            wrong()
    accounts.leave("g", "beta")
    assert not accounts.get("beta").standing.is_member
    accounts.join("g", "gamma")
    accounts.remove("gamma")
    assert accounts.groups()[0].members == ()
    accounts.remove_group("g")
    accounts.remove("alpha")
