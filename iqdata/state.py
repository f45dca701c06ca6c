"""What both sides last agreed on, and which archive the space has extracted: SQLite in `.iqdata/`, one run at a time.

Refuses to lead reality: a row is written only after what it says has been seen to be so.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from iqdata import manifest
from iqdata.actions import Agreed
from iqdata.errors import Busy, ConfigError
from iqdata.paths import RelPath
from iqdata.tree import Entry, Kind, Tree

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS base (
    space TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,                -- file, folder
    here INTEGER NOT NULL,             -- 1 where the local side had it
    local_size INTEGER, local_mtime_ns INTEGER, local_inode INTEGER,
    there INTEGER NOT NULL,            -- 1 where the space had it
    remote_size INTEGER, remote_mtime_ns INTEGER,
    PRIMARY KEY (space, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS published (
    space TEXT NOT NULL,
    archive TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,  -- of the local archive that was published
    status TEXT NOT NULL,              -- as in preview's JSON once its extraction has ended, else "awaited"
    error TEXT,
    PRIMARY KEY (space, archive)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS left_there (
    space TEXT NOT NULL,
    archive TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER,
    PRIMARY KEY (space, archive, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    archive TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,  -- of the local archive that was read
    status TEXT NOT NULL, error TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS member (
    archive TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL, size_bytes INTEGER, mtime_ns INTEGER,
    PRIMARY KEY (archive, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leftover (
    space TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL, size_bytes INTEGER NOT NULL, mtime_ns INTEGER,
    seen_at REAL NOT NULL,             -- when a run first saw it so
    PRIMARY KEY (space, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profile (space TEXT PRIMARY KEY, json TEXT NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID;
"""

SENDING = "sending"
"""An archive's status while it may or may not have its real name in the space."""

RESENDING = "sending again"
"""The same where it stands there already, unchanged, and goes again because another archive overwrote its members."""

AWAITED = "awaited"
"""Its status once it has, until its extraction has been seen to end."""


class Published:
    """What is known of an archive in the space: the local identity that was sent and how its extraction ended."""

    __slots__ = ("error", "mtime_ns", "size_bytes", "status")

    def __init__(self, *, size_bytes: int, mtime_ns: int, status: str, error: str | None) -> None:
        self.size_bytes = size_bytes
        self.mtime_ns = mtime_ns
        self.status = status
        self.error = error

    def is_of(self, entry: Entry) -> bool:
        """Tell whether it speaks of the local archive as it is now."""
        return entry.size_bytes == self.size_bytes and entry.mtime_ns == self.mtime_ns


class State:
    """The open database of one workspace, seen from one space: another space has rows of its own."""

    def __init__(self, database: sqlite3.Connection, space: str) -> None:
        self.database = database
        self.space = space

    # --- the base
    def base(self, here: Tree | None = None, there: Tree | None = None) -> dict[RelPath, Agreed]:
        """Return every path both sides agreed on.

        Args:
            here: the local side now. Where the base has the same entry it is the same object: a tree of a million paths is
                not held twice.
            there: the space now, likewise.
        """
        rows = self.database.execute(
            "SELECT path, kind, here, local_size, local_mtime_ns, local_inode, there, remote_size, remote_mtime_ns"
            " FROM base WHERE space = ?",
            (self.space,),
        )
        kinds = {kind.value: kind for kind in Kind}
        locals_, remotes = here or {}, there or {}
        found = {}
        for path, kind_name, had_here, size, mtime, inode, had_there, remote_size, remote_mtime in rows:
            kind = kinds[kind_name]
            local = remote = None
            if had_here:
                local = Entry(kind, size or 0, mtime, inode)
                now = locals_.get(path)
                if now == local:
                    local = now
            if had_there:
                remote = Entry(kind, remote_size or 0, remote_mtime)
                now = remotes.get(path)
                if now == remote:
                    remote = now
            found[RelPath(path)] = Agreed(local, remote)
        return found

    def agree(self, rows: Mapping[RelPath, Agreed]) -> None:
        """Record what both sides have been seen to agree on."""
        self.database.executemany(
            "INSERT OR REPLACE INTO base VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    self.space,
                    path,
                    (agreed.local or agreed.remote or _NOTHING).kind.value,
                    agreed.local is not None,
                    agreed.local and agreed.local.size_bytes,
                    agreed.local and agreed.local.mtime_ns,
                    agreed.local and agreed.local.identity,
                    agreed.remote is not None,
                    agreed.remote and agreed.remote.size_bytes,
                    agreed.remote and agreed.remote.mtime_ns,
                )
                for path, agreed in rows.items()
            ),
        )

    def forget(self, paths: Iterable[RelPath]) -> None:
        """Drop paths that are gone on both sides."""
        self.database.executemany(
            "DELETE FROM base WHERE space = ? AND path = ?", ((self.space, path) for path in paths)
        )

    # --- archives in the space
    def published(self) -> dict[RelPath, Published]:
        """Return what was published, by archive."""
        rows = self.database.execute(
            "SELECT archive, size_bytes, mtime_ns, status, error FROM published WHERE space = ?",
            (self.space,),
        )
        return {
            RelPath(archive): Published(size_bytes=size, mtime_ns=mtime, status=status, error=error)
            for archive, size, mtime, status, error in rows
        }

    def publish(self, archive: RelPath, entry: Entry, *, status: str, error: str | None = None) -> None:
        """Record that an archive was given its real name in the space, and how its extraction stands."""
        self.database.execute(
            "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?, ?)",
            (self.space, archive, entry.size_bytes, entry.mtime_ns or 0, status, error),
        )

    def unpublish(self, archive: RelPath) -> None:
        """Drop what is known of an archive that is gone."""
        for table in ("published", "left_there"):
            self.database.execute(
                f"DELETE FROM {table} WHERE space = ? AND archive = ?",  # noqa: S608  # a constant table name
                (self.space, archive),
            )

    def leave(self, archive: RelPath, members: Mapping[RelPath, Entry]) -> None:
        """Record what a confirmed extraction left in the space."""
        self.database.execute("DELETE FROM left_there WHERE space = ? AND archive = ?", (self.space, archive))
        self.database.executemany(
            "INSERT INTO left_there VALUES (?, ?, ?, ?, ?, ?)",
            (
                (self.space, archive, path, entry.kind.value, entry.size_bytes, entry.mtime_ns)
                for path, entry in members.items()
            ),
        )

    def left_there(self) -> dict[RelPath, dict[RelPath, Entry]]:
        """Return what each archive's last confirmed extraction left in the space."""
        found: dict[RelPath, dict[RelPath, Entry]] = {}
        rows = self.database.execute(
            "SELECT archive, path, kind, size_bytes, mtime_ns FROM left_there WHERE space = ?", (self.space,)
        )
        for archive, path, kind, size, mtime in rows:
            found.setdefault(RelPath(archive), {})[RelPath(path)] = Entry(Kind(kind), size, mtime)
        return found

    # --- contents of local archives, read once per version
    def contents(self, archive: RelPath, entry: Entry) -> tuple[str, str | None, dict[RelPath, Entry]] | None:
        """Return (status, error, members) of an archive as it is now, or None when it has not been read."""
        row = self.database.execute(
            "SELECT status, error FROM contents WHERE archive = ? AND size_bytes = ? AND mtime_ns = ?",
            (archive, entry.size_bytes, entry.mtime_ns),
        ).fetchone()
        if row is None:
            return None
        members = self.database.execute(
            "SELECT path, kind, size_bytes, mtime_ns FROM member WHERE archive = ?", (archive,)
        )
        return (
            row[0],
            row[1],
            {RelPath(path): Entry(Kind(kind), size, mtime) for path, kind, size, mtime in members},
        )

    def keep_contents(
        self,
        archive: RelPath,
        entry: Entry,
        *,
        status: str,
        error: str | None,
        members: Mapping[RelPath, Entry],
    ) -> None:
        """Remember what an archive holds, for as long as its size and date stay."""
        self.database.execute(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?)",
            (archive, entry.size_bytes, entry.mtime_ns, status, error),
        )
        self.database.execute("DELETE FROM member WHERE archive = ?", (archive,))
        self.database.executemany(
            "INSERT INTO member VALUES (?, ?, ?, ?, ?)",
            (
                (archive, path, item.kind.value, item.size_bytes, item.mtime_ns)
                for path, item in members.items()
            ),
        )

    # --- temporary names seen in the space
    def leftovers(self) -> dict[RelPath, tuple[Entry, float]]:
        """Return the temporary names that earlier runs saw in the space, and since when each looks as it does."""
        rows = self.database.execute(
            "SELECT path, kind, size_bytes, mtime_ns, seen_at FROM leftover WHERE space = ?", (self.space,)
        )
        return {
            RelPath(path): (Entry(Kind(kind), size, mtime), seen) for path, kind, size, mtime, seen in rows
        }

    def keep_leftovers(self, found: Mapping[RelPath, tuple[Entry, float]]) -> None:
        """Replace what is known of them."""
        self.database.execute("DELETE FROM leftover WHERE space = ?", (self.space,))
        self.database.executemany(
            "INSERT INTO leftover VALUES (?, ?, ?, ?, ?, ?)",
            (
                (self.space, path, entry.kind.value, entry.size_bytes, entry.mtime_ns, seen)
                for path, (entry, seen) in found.items()
            ),
        )

    # --- the space's profile
    def profile(self) -> tuple[str, float] | None:
        """Return the cached profile as JSON and when it was seen (seconds since 1970), or None."""
        row = self.database.execute(
            "SELECT json, seen_at FROM profile WHERE space = ?", (self.space,)
        ).fetchone()
        return (row[0], row[1]) if row else None

    def keep_profile(self, json: str, *, seen_at: float) -> None:
        """Cache what the space was observed to do."""
        self.database.execute("INSERT OR REPLACE INTO profile VALUES (?, ?, ?)", (self.space, json, seen_at))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the block's changes one step: all of them or none."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")


_NOTHING = Entry(Kind.FILE)


@contextmanager
def open_state(workspace: Path, *, space: str, writable: bool = True) -> Iterator[State]:
    """Open a workspace's state, and hold its lock while it may be written.

    The lock is the kernel's and dies with its process; a reader (`status`, `--dry-run`) needs none.

    Raises:
        Busy: another run holds the workspace.
        ConfigError: the state cannot be opened.
    """
    folder = workspace / manifest.STATE_FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise ConfigError(f"{folder} cannot be written: {exc.strerror}") from exc
    try:
        if writable:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(
                    f"another run works in {workspace}; wait for it to end (nothing was changed)"
                ) from None
        try:
            database = sqlite3.connect(
                manifest.state_path(workspace), timeout=30, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as exc:
            raise ConfigError(f"{manifest.state_path(workspace)} cannot be opened: {exc}") from exc
        with closing(database):
            try:
                database.execute("PRAGMA journal_mode = WAL")
                # Lost rows after a power cut cost a comparison, never a file; waiting for the disk costs every run.
                database.execute("PRAGMA synchronous = NORMAL")
                database.executescript(_SCHEMA)
                manifest.ensure_tables(database)
            except sqlite3.Error as exc:
                raise ConfigError(
                    f"{manifest.state_path(workspace)} is no state of ours ({exc}); move it away and run again:"
                    " a missing state is rebuilt, and nothing is deleted without one"
                ) from exc
            yield State(database, space)
    finally:
        os.close(lock)
