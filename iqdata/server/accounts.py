"""Who has an account in a space, and who shares whose `group_data`: SQLite in the root, memory-hard password hashes.

Refuses to keep a password in any readable form. `iqdata user` and `iqdata group` change it while the server runs.
"""

import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import argon2

from iqdata.errors import ConfigError
from iqdata.server.layout import Layout, check_account_name
from iqdata.server.permissions import Standing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY,
    hash TEXT,
    enabled INTEGER NOT NULL DEFAULT 1,
    quota_bytes INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE REFERENCES users (name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
    team TEXT PRIMARY KEY REFERENCES users (name) ON DELETE CASCADE,
    grp TEXT NOT NULL REFERENCES groups (name) ON DELETE CASCADE
) WITHOUT ROWID;
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account.

    Attributes:
        hash: of its password; None when the password is only known to the command line that serves.
    """

    name: str
    enabled: bool = True
    hash: str | None = None
    group: str | None = None
    owner: str | None = None
    quota_bytes: int | None = None

    @property
    def standing(self) -> Standing:
        """What it is in the space."""
        return Standing(team=self.name, group=self.group, owner=self.owner)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group: its owner's `group_data` is every member's."""

    name: str
    owner: str
    members: tuple[str, ...] = ()


class Accounts:
    """The accounts of one root. Every call opens the database anew, so that any thread and any process may call."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.private / "accounts.sqlite"
        self._layout = layout
        fresh = not self._path.exists()
        with self._database() as database:
            database.executescript(_SCHEMA)
        if fresh:
            self._path.chmod(0o600)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        try:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            # executescript commits on its own; then there is nothing left to commit.
            if database.in_transaction:
                database.execute("COMMIT")
        except sqlite3.Error as exc:
            raise ConfigError(f"the accounts in {self._path} cannot be used: {exc}") from exc
        finally:
            database.close()

    # --- users

    def add(self, name: str, password: str | None, *, quota_bytes: int | None = None) -> None:
        """Add an account.

        Raises:
            ConfigError: the name cannot be used or is taken.
        """
        check_account_name(name)
        digest = _hash(password) if password is not None else None
        with self._database() as database:
            taken = database.execute(
                "SELECT name FROM users WHERE name = ? COLLATE NOCASE", (name,)
            ).fetchone()
            if taken:
                raise ConfigError(
                    f"there is an account {taken[0]!r} already; `iqdata user passwd {taken[0]}` changes its password"
                )
            database.execute("INSERT INTO users VALUES (?, ?, 1, ?)", (name, digest, quota_bytes))

    def ensure(self, name: str) -> None:
        """Make sure that an account whose password comes with the command line is known."""
        check_account_name(name)
        with self._database() as database:
            database.execute("INSERT OR IGNORE INTO users VALUES (?, NULL, 1, NULL)", (name,))

    def set_password(self, name: str, password: str) -> None:
        """Change a password; an account that is disabled stays so."""
        digest = _hash(password)
        with self._database() as database:
            _must_be(database.execute("UPDATE users SET hash = ? WHERE name = ?", (digest, name)), name)

    def set_enabled(self, name: str, *, enabled: bool) -> None:
        """Let an account log in, or not; running sessions of a disabled one end within seconds."""
        with self._database() as database:
            _must_be(
                database.execute("UPDATE users SET enabled = ? WHERE name = ?", (int(enabled), name)), name
            )

    def set_quota(self, name: str, quota_bytes: int | None) -> None:
        """Change what a team may hold; None takes the space's own limit."""
        with self._database() as database:
            _must_be(
                database.execute("UPDATE users SET quota_bytes = ? WHERE name = ?", (quota_bytes, name)), name
            )

    def remove(self, name: str) -> None:
        """Remove an account; its files stay.

        Raises:
            ConfigError: there is none, or it owns a group.
        """
        with self._database() as database:
            owned = database.execute("SELECT name FROM groups WHERE owner = ?", (name,)).fetchone()
            if owned:
                raise ConfigError(
                    f"{name} owns group {owned[0]}; remove the group first: iqdata group remove {owned[0]}"
                )
            _must_be(database.execute("DELETE FROM users WHERE name = ?", (name,)), name)

    def all(self) -> Mapping[str, Account]:
        """Return every account by name."""
        with self._database() as database:
            return {account.name: account for account in _accounts(database)}

    def get(self, name: str) -> Account | None:
        """Return one account."""
        with self._database() as database:
            return next(_accounts(database, name), None)

    def need(self, name: str) -> Account:
        """Return one account.

        Raises:
            ConfigError: there is none.
        """
        account = self.get(name)
        if account is None:
            raise ConfigError(_unknown(name))
        return account

    # --- groups

    def create_group(self, group: str, owner: str) -> None:
        """Make a group that shares the owner's `group_data`."""
        check_account_name(group, what="group")
        with self._database() as database:
            _need_user(database, owner)
            if database.execute("SELECT 1 FROM groups WHERE name = ?", (group,)).fetchone():
                raise ConfigError(f"there is a group {group!r} already")
            owned = database.execute("SELECT name FROM groups WHERE owner = ?", (owner,)).fetchone()
            if owned:
                raise ConfigError(f"{owner} owns group {owned[0]} already; an account owns one group")
            joined = database.execute("SELECT grp FROM members WHERE team = ?", (owner,)).fetchone()
            if joined:
                raise ConfigError(
                    f"{owner} is a member of group {joined[0]}; it must leave before it can own one"
                )
            database.execute("INSERT INTO groups VALUES (?, ?)", (group, owner))

    def join(self, group: str, team: str) -> None:
        """Make a team a member: its `/group_data` is the owner's from now on."""
        with self._database() as database:
            _need_user(database, team)
            owner = _need_group(database, group)
            if owner == team:
                raise ConfigError(f"{team} owns group {group} and needs not join it")
            owned = database.execute("SELECT name FROM groups WHERE owner = ?", (team,)).fetchone()
            if owned:
                raise ConfigError(f"{team} owns group {owned[0]} and cannot be a member of another")
            joined = database.execute("SELECT grp FROM members WHERE team = ?", (team,)).fetchone()
            if joined:
                raise ConfigError(f"{team} is a member of group {joined[0]}; a team is in one group")
            database.execute("INSERT INTO members VALUES (?, ?)", (team, group))

    def leave(self, group: str, team: str) -> None:
        """End a membership; the team sees its own `group_data` again."""
        with self._database() as database:
            _need_group(database, group)
            if not database.execute("DELETE FROM members WHERE team = ? AND grp = ?", (team, group)).rowcount:
                raise ConfigError(f"{team} is no member of group {group}")

    def remove_group(self, group: str) -> None:
        """End a group; nobody's files move."""
        with self._database() as database:
            _need_group(database, group)
            database.execute("DELETE FROM groups WHERE name = ?", (group,))

    def groups(self) -> list[Group]:
        """Return every group with its members."""
        with self._database() as database:
            members: dict[str, list[str]] = {}
            for team, group in database.execute("SELECT team, grp FROM members ORDER BY team"):
                members.setdefault(group, []).append(team)
            return [
                Group(name=name, owner=owner, members=tuple(members.get(name, ())))
                for name, owner in database.execute("SELECT name, owner FROM groups ORDER BY name")
            ]


_SELECT = """
SELECT users.name, users.enabled, users.hash, users.quota_bytes,
       coalesce(owned.name, joined.name), coalesce(owned.owner, joined.owner)
FROM users
LEFT JOIN groups AS owned ON owned.owner = users.name
LEFT JOIN members ON members.team = users.name
LEFT JOIN groups AS joined ON joined.name = members.grp
"""


def _accounts(database: sqlite3.Connection, name: str | None = None) -> Iterator[Account]:
    where, arguments = ("WHERE users.name = ?", (name,)) if name is not None else ("ORDER BY users.name", ())
    rows = database.execute(f"{_SELECT} {where}", arguments)
    for user, enabled, digest, quota_bytes, group, owner in rows.fetchall():
        yield Account(
            name=user,
            enabled=bool(enabled),
            hash=digest,
            quota_bytes=quota_bytes,
            group=group,
            owner=owner or user,
        )


def _hash(password: str) -> str:
    if not password:
        raise ConfigError("an empty password is refused")
    return argon2.PasswordHasher().hash(password)


def verify(digest: str, password: str) -> bool:
    """Tell whether a password belongs to a hash; takes tens of milliseconds and 64 MiB on purpose."""
    try:
        return argon2.PasswordHasher().verify(digest, password)
    except argon2.exceptions.VerificationError:
        return False
    except argon2.exceptions.InvalidHashError:
        return False


def _unknown(name: str) -> str:
    return f"there is no account {name!r}; `iqdata user list` shows them, `iqdata user add {name}` makes it"


def _must_be(changed: sqlite3.Cursor, name: str) -> None:
    if changed.rowcount != 1:
        raise ConfigError(_unknown(name))


def _need_user(database: sqlite3.Connection, name: str) -> None:
    if not database.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
        raise ConfigError(_unknown(name))


def _need_group(database: sqlite3.Connection, group: str) -> str:
    row = database.execute("SELECT owner FROM groups WHERE name = ?", (group,)).fetchone()
    if row is None:
        raise ConfigError(f"there is no group {group!r}; `iqdata group list` shows them")
    return str(row[0])
