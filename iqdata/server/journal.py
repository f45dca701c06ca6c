"""What must not be forgotten over a crash: which uploads wait for extraction, and which were extracted already.

SQLite in the space's private folder. Refuses to extract or to log: `autoextract` does, in the order that makes a line
appear exactly once.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from iqdata.server.jobs import Identity, Job, LogLine, Placed, from_json, to_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job BLOB NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    line BLOB
);
CREATE TABLE IF NOT EXISTS archives (
    home BLOB NOT NULL,
    path BLOB NOT NULL,
    inode INTEGER NOT NULL,
    parent_inode INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    print TEXT NOT NULL,
    PRIMARY KEY (home, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS archives_by_inode ON archives (home, inode);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Journal:
    """One connection, shared by threads under a lock; every call is its own transaction."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A killed process loses nothing that was committed; only a power cut may lose the last moments, and what it
        # loses is found again by the look at every home when the space starts.
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        path.chmod(0o600)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def close(self) -> None:
        """Close the database; whatever was committed stays."""
        with self._lock:
            self._database.close()

    def add(self, job: Job) -> None:
        """Remember a job that has to be done."""
        with self._transaction() as database:
            database.execute("INSERT INTO jobs (id, job) VALUES (?, ?)", (job.id, to_json(job)))

    def start(self, job: Job) -> int:
        """Count one more start of a job and return which one it is."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET starts = starts + 1 WHERE id = ?", (job.id,))
            row = database.execute("SELECT starts FROM jobs WHERE id = ?", (job.id,)).fetchone()
            return int(row[0]) if row else 1

    def finish(
        self, job: Job, line: LogLine, identity: Identity | None, placed: tuple[Placed, ...] = ()
    ) -> None:
        """Remember what came out and that this upload is dealt with; the line is still to be written."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET line = ? WHERE id = ?", (to_json(line), job.id))
            if identity is not None:
                _know(database, job.home, job.archive, identity)
            for member in placed:
                _know(database, job.home, member.path, member.identity)

    def forget(self, job: Job) -> None:
        """Drop a job whose line stands in the log."""
        with self._transaction() as database:
            database.execute("DELETE FROM jobs WHERE id = ?", (job.id,))

    def open_jobs(self) -> list[tuple[Job, LogLine | None]]:
        """Return the jobs that a former run left, oldest first, with their line when only that is missing."""
        with self._lock:
            rows = self._database.execute("SELECT job, line FROM jobs ORDER BY number").fetchall()
        return [(from_json(job, Job), from_json(line, LogLine) if line else None) for job, line in rows]

    def know(self, home: str, path: str, identity: Identity) -> None:
        """Record that the upload at `path` is dealt with."""
        with self._transaction() as database:
            _know(database, home, path, identity)

    def known(self, home: str, path: str) -> Identity | None:
        """Return the upload that was last dealt with at `path`."""
        with self._lock:
            row = self._database.execute(
                "SELECT inode, parent_inode, size_bytes, mtime_ns, ctime_ns, print FROM archives WHERE home = ? AND path = ?",
                (os.fsencode(home), os.fsencode(path)),
            ).fetchone()
        return _identity(row) if row else None

    def known_by_inode(self, home: str, inode: int) -> list[tuple[str, Identity]]:
        """Return the uploads dealt with that had this inode, with their paths then."""
        with self._lock:
            rows = self._database.execute(
                "SELECT path, inode, parent_inode, size_bytes, mtime_ns, ctime_ns, print FROM archives WHERE home = ? AND inode = ?",
                (os.fsencode(home), inode),
            ).fetchall()
        return [(os.fsdecode(row[0]), _identity(row[1:])) for row in rows]

    def redate(self, home: str, path: str, mtime_ns: int) -> None:
        """Take over a new date of an upload that was dealt with: dating a file is not uploading it."""
        with self._transaction() as database:
            database.execute(
                "UPDATE archives SET mtime_ns = ? WHERE home = ? AND path = ?",
                (mtime_ns, os.fsencode(home), os.fsencode(path)),
            )

    def drop(self, home: str, path: str) -> None:
        """Drop what is known about a path at which nothing stands any more."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM archives WHERE home = ? AND path = ?", (os.fsencode(home), os.fsencode(path))
            )

    def forget_missing(self, home: str, is_there: Callable[[str], bool]) -> None:
        """Drop what is known about archives that are no longer there."""
        with self._transaction() as database:
            key = os.fsencode(home)
            rows = database.execute("SELECT path FROM archives WHERE home = ?", (key,)).fetchall()
            gone = [(key, path) for (path,) in rows if not is_there(os.fsdecode(path))]
            database.executemany("DELETE FROM archives WHERE home = ? AND path = ?", gone)

    def first_time(self, what: str) -> bool:
        """Tell whether this is asked for the first time in the life of the journal."""
        with self._transaction() as database:
            added = database.execute("INSERT OR IGNORE INTO facts VALUES (?, '')", (what,))
            return added.rowcount == 1


def _know(database: sqlite3.Connection, home: str, path: str, identity: Identity) -> None:
    database.execute(
        "INSERT OR REPLACE INTO archives VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            os.fsencode(home),
            os.fsencode(path),
            identity.inode,
            identity.parent_inode,
            identity.size_bytes,
            identity.mtime_ns,
            identity.ctime_ns,
            identity.print,
        ),
    )


def _identity(row: tuple[int, int, int, int, int, str]) -> Identity:
    return Identity(
        inode=row[0], parent_inode=row[1], size_bytes=row[2], mtime_ns=row[3], ctime_ns=row[4], print=row[5]
    )
