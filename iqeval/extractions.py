"""What is known of archives in a work root: which were extracted, into what, and how it ended.

Reads what `iqdata` has recorded (`iqdata.manifest`), and for a team's home in a space its log of extractions. Loaded
outside the sandbox only: a child gets the same as a file.
"""

import json
import os
from pathlib import Path

_STATE_FOLDER, _LOG = ".iqdata", "extractions.jsonl"
FOR_CHILD = "extractions.json"
_MOST_PATHS = 200_000

Known = dict[str, dict[str, object]]
"""Archive → status, error, time, and the paths that it left."""


def known_extractions(space: Path) -> Known:
    """Return what is recorded for a work root; empty where nothing is."""
    found: Known = {}
    if not (space / _STATE_FOLDER).is_dir():
        return found
    import sqlite3

    from iqdata.manifest import extractions, produced_by, read_only

    _from_log(space / _STATE_FOLDER / _LOG, found)
    left = _MOST_PATHS
    try:
        with read_only(space) as database:
            if database is not None:
                for archive, record in extractions(database).items():
                    paths = [item.path for item in produced_by(database, archive)] if left > 0 else []
                    left -= len(paths)
                    found[str(archive)] = {
                        "status": record.status,
                        "error": record.error,
                        "finished_at": record.finished_at,
                        "paths": paths,
                    }
    except sqlite3.Error:
        return found  # a state of another version says nothing here
    return found


def _from_log(path: Path, found: Known) -> None:
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            archive = str(entry["archive"]).lstrip("/")
            found[archive] = {
                "status": str(entry["status"]),
                "error": entry.get("error"),
                "finished_at": entry.get("time"),
                "paths": [],
            }
        except (ValueError, KeyError, TypeError):
            continue


def write_for_child(space: Path, path: Path) -> Path:
    """Write what is known into a file for the child, which does not see `.iqdata`, and return the file."""
    found = known_extractions(space)
    path.write_text(json.dumps(found))
    os.chmod(path, 0o644)  # noqa: PTH101  # Path.chmod follows the same rules
    return path
