"""Looks whether data that a model reads hold the questions it is asked: a high score then says nothing.

Compares stems and options of JSON files with those of the suites. Bounded in files and bytes, and silent about what it
did not look at; refuses to decide: it is a warning.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from iqeval.errors import SuiteError
from iqeval.jsonstream import elements, members
from iqeval.questions import Json, SuiteFacts, id_key
from iqeval.suites import content_hash

_MOST_FILES = 200
_MOST_BYTES = 64 << 20
_MOST_TOTAL_BYTES = 256 << 20
_FROM = 5
_LEAST_WORDS = 3
_WORD = re.compile(r"[^\s,;?()\\_]+")


def leaks(
    folders: Iterable[Path],
    facts: Iterable[SuiteFacts],
    *,
    shown_from: Path,
    leave_out: Collection[Path] = (),
) -> Iterator[str]:
    """Yield a sentence for each file that holds questions of a suite.

    Args:
        folders: where to look.
        facts: the suites that are asked.
        shown_from: the folder from which paths are named.
        leave_out: folders not to look into: the suites' own.
    """
    suites = [suite for suite in facts if suite.contents]
    if not suites:
        return
    for path in _json_files(folders, leave_out):
        try:
            entries = list(_entries(path))
        except SuiteError:
            continue  # neither a list nor an object of questions
        for suite in suites:
            shared = len(_shared(entries, suite))
            if shared >= min(_FROM, suite.count):
                name = os.path.relpath(path, shown_from)
                yield (
                    f"{name} holds {shared} of the {suite.count} questions of {suite.name};"
                    " a model that has learnt from it is not tested by them"
                )


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Json]]]:
    """Yield id and question of whatever in a file looks like one: a list as suites are, or an object by id."""
    with path.open("rb") as stream:
        is_list = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    pairs = ((None, value) for value in elements(path)) if is_list else members(path)
    for key, value in pairs:
        if isinstance(value, dict) and isinstance(value.get("stem"), str):
            yield id_key(value.get("id", key)), value


def _shared(entries: list[tuple[str, dict[str, Json]]], suite: SuiteFacts) -> set[str]:
    """Return the ids of entries that are questions of a suite.

    Published training data have the suites' ids, and stems in which the unknown is filled in.
    """
    found = set()
    for key, entry in entries:
        stem = suite.stems.get(key)
        if content_hash(entry) in suite.contents or (
            stem is not None and _is_filled_in(stem, str(entry["stem"]))
        ):
            found.add(key)
    return found


def _is_filled_in(asked: str, given: str) -> bool:
    """Tell whether all that is known in a question stands in another, in the same order."""
    wanted = _WORD.findall(asked)
    there = iter(_WORD.findall(given))
    return len(wanted) >= _LEAST_WORDS and all(word in there for word in wanted)


def _json_files(folders: Iterable[Path], leave_out: Collection[Path]) -> Iterator[Path]:
    looked, total = 0, 0
    for folder in folders:
        for where, inner, names in os.walk(folder):
            inner[:] = sorted(name for name in inner if Path(where, name) not in leave_out)
            if Path(where) in leave_out:
                continue
            for name in sorted(names):
                if not name.endswith(".json"):
                    continue
                path = Path(where, name)
                try:
                    size = path.stat().st_size
                except OSError:
                    continue
                if size > _MOST_BYTES:
                    continue
                looked, total = looked + 1, total + size
                if looked > _MOST_FILES or total > _MOST_TOTAL_BYTES:
                    return
                yield path
