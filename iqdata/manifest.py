"""Which archive produced which paths, when and how it ended: tables in `.iqdata/state.sqlite` of a workspace.

The contract between the two packages: `iqdata` writes, `iqeval.resolve` reads. Refuses to judge or to extract.
"""

import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from iqdata.paths import RelPath

STATE_FOLDER = ".iqdata"
STATE_FILE = "state.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS extraction (
    archive TEXT PRIMARY KEY,          -- path in the workspace, with its area
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    tool TEXT,                         -- tar, 7z
    status TEXT NOT NULL,              -- as in preview's JSON, or "running"
    error TEXT,
    finished_at TEXT NOT NULL          -- UTC, ISO 8601
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS produced (
    archive TEXT NOT NULL REFERENCES extraction(archive) ON DELETE CASCADE,
    path TEXT NOT NULL,                -- path in the workspace
    kind TEXT NOT NULL,                -- file, directory, symlink, hardlink
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER,
    PRIMARY KEY (archive, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS produced_by_path ON produced(path);
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProducedPath:
    """One path that an archive left in the workspace."""

    path: RelPath
    kind: str
    size_bytes: int
    mtime_ns: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRecord:
    """How the last extraction of one archive ended; `size_bytes` and `mtime_ns` are the archive's own."""

    archive: RelPath
    size_bytes: int
    mtime_ns: int
    tool: str | None
    status: str
    error: str | None
    finished_at: str


def state_path(workspace: Path) -> Path:
    """Return where a workspace keeps its state."""
    return workspace / STATE_FOLDER / STATE_FILE


def ensure_tables(database: sqlite3.Connection) -> None:
    """Create the tables where they are missing."""
    database.executescript(_SCHEMA)


def record(
    database: sqlite3.Connection, extraction: ExtractionRecord, produced: Iterable[ProducedPath]
) -> None:
    """Replace what is known of an archive, in the caller's transaction."""
    database.execute("DELETE FROM produced WHERE archive = ?", (extraction.archive,))
    database.execute(
        "INSERT OR REPLACE INTO extraction VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            extraction.archive,
            extraction.size_bytes,
            extraction.mtime_ns,
            extraction.tool,
            extraction.status,
            extraction.error,
            extraction.finished_at,
        ),
    )
    database.executemany(
        "INSERT OR REPLACE INTO produced VALUES (?, ?, ?, ?, ?)",
        (
            (extraction.archive, _storable(item.path), item.kind, item.size_bytes, item.mtime_ns)
            for item in produced
        ),
    )


def _storable(path: RelPath) -> str:
    """Return a path as SQLite can hold it: bytes that are no UTF-8 are escaped, so such a path is told but not found."""
    return (
        path
        if path.isascii()
        else path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


def forget(database: sqlite3.Connection, archive: RelPath) -> None:
    """Drop what is known of an archive, in the caller's transaction."""
    database.execute("DELETE FROM produced WHERE archive = ?", (archive,))
    database.execute("DELETE FROM extraction WHERE archive = ?", (archive,))


def extractions(database: sqlite3.Connection) -> dict[RelPath, ExtractionRecord]:
    """Return the last extraction of every archive."""
    rows = database.execute(
        "SELECT archive, size_bytes, mtime_ns, tool, status, error, finished_at FROM extraction"
    )
    return {
        RelPath(row[0]): ExtractionRecord(
            archive=RelPath(row[0]),
            size_bytes=row[1],
            mtime_ns=row[2],
            tool=row[3],
            status=row[4],
            error=row[5],
            finished_at=row[6],
        )
        for row in rows
    }


def produced_by(database: sqlite3.Connection, archive: RelPath) -> Iterator[ProducedPath]:
    """Yield what an archive's last extraction left."""
    rows = database.execute(
        "SELECT path, kind, size_bytes, mtime_ns FROM produced WHERE archive = ? ORDER BY path", (archive,)
    )
    for path, kind, size_bytes, mtime_ns in rows:
        yield ProducedPath(path=RelPath(path), kind=kind, size_bytes=size_bytes, mtime_ns=mtime_ns)


def sources_of(database: sqlite3.Connection, path: RelPath) -> list[RelPath]:
    """Return the archives whose last extraction produced `path`."""
    rows = database.execute("SELECT archive FROM produced WHERE path = ? ORDER BY archive", (path,))
    return [RelPath(row[0]) for row in rows]


@contextmanager
def read_only(workspace: Path) -> Iterator[sqlite3.Connection | None]:
    """Open a workspace's state for reading, or yield None where there is none or it is no state of ours."""
    path = state_path(workspace)
    if not path.is_file():
        yield None
        return
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        database.execute("SELECT 1 FROM extraction LIMIT 1")
    except sqlite3.Error:
        yield None
        return
    with closing(database):
        yield database


@contextmanager
def writable(workspace: Path) -> Iterator[sqlite3.Connection]:
    """Open a workspace's state for writing, creating it, as one transaction that commits when the block ends well."""
    path = state_path(workspace)
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA foreign_keys = OFF")
        ensure_tables(database)
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")
