"""Reads `config.json`, question files and answer files into types.

A message names the file, the path inside it, what was found and what was expected. Refuses to guess: a file that is
not what it has to be is an error of the data, never of the model.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

from iqeval.errors import SuiteError
from iqeval.jsonstream import elements, members
from iqeval.questions import Config, Json, Question, SuiteFacts, id_key

_IMAGE = re.compile(r"!\[[^\]]*\]\(\s*<?([^)\s>]+)")
_HTML_IMAGE = re.compile(r"<img\b[^>]*?\bsrc\s*=\s*[\"']([^\"']+)", re.IGNORECASE)
_COMPARE_UP_TO = 200_000
"""Suites with more questions are not searched for duplicates: that alone would take more memory than the run."""


def describe(value: Json) -> str:
    """Return what a JSON value is, for a message."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    name = names.get(type(value), "a number")
    text = json.dumps(value, ensure_ascii=False)
    return f"{name} ({text if len(text) <= 40 else text[:40] + '…'})"


def load_config(path: Path) -> Config:
    """Read `config.json`.

    Raises:
        SuiteError: not there, not JSON, no `test_suites`, or suites that are no list of names.
    """
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as exc:
        raise SuiteError(f"{path}: no such file; it names the suites of each category") from exc
    except IsADirectoryError as exc:
        raise SuiteError(
            f"{path}: a folder; expected the file config.json (try {path / 'config.json'})"
        ) from exc
    except UnicodeDecodeError as exc:
        raise SuiteError(f"{path}: not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise SuiteError(f"{path}, line {exc.lineno}: not JSON: {exc.msg}") from exc
    except OSError as exc:
        raise SuiteError(f"{path}: cannot be read: {exc.strerror}") from exc
    if not isinstance(found, dict):
        raise SuiteError(f"{path}: expected an object with test_suites, found {describe(found)}")
    suites = found.get("test_suites")
    if not isinstance(suites, dict):
        was = describe(suites) if "test_suites" in found else "nothing"
        raise SuiteError(f"{path}, test_suites: expected an object (category → list of suites), found {was}")
    categories: dict[str, tuple[str, ...]] = {}
    for category, names in suites.items():
        if names is None:
            names = []
        if not isinstance(names, list):
            raise SuiteError(
                f"{path}, test_suites.{category}: expected a list of suite names, found {describe(names)}"
            )
        for place, name in enumerate(names):
            if not isinstance(name, str) or not name:
                raise SuiteError(
                    f"{path}, test_suites.{category}[{place}]: expected a suite name, found {describe(name)}"
                )
            if name.startswith("/") or ".." in name.split("/") or "\0" in name:
                raise SuiteError(
                    f"{path}, test_suites.{category}[{place}]: {name!r} leads out of the data folder"
                )
        categories[category] = tuple(dict.fromkeys(names))
    version = found.get("version")
    return Config(categories=categories, version=None if version is None else str(version))


def question_path(data_root: Path, suite: str) -> Path:
    """Return where a suite's questions are."""
    return data_root / f"{suite}.json"


def answer_path(answer_root: Path, suite: str) -> Path:
    """Return where a suite's answers are."""
    return answer_root / f"{suite}.answer.json"


def read_questions(path: Path) -> Iterator[Question]:
    """Yield a suite's questions, as stored, one at a time.

    Raises:
        SuiteError: file, question and field are named.
    """
    for index, found in enumerate(elements(path)):
        if not isinstance(found, dict):
            raise SuiteError(f"{path}, [{index}]: expected a question (an object), found {describe(found)}")
        if "id" not in found:
            raise SuiteError(f"{path}, [{index}].id: expected a number or a text, found nothing")
        if isinstance(found["id"], (dict, list, bool)) or found["id"] is None:
            raise SuiteError(
                f"{path}, [{index}].id: expected a number or a text, found {describe(found['id'])}"
            )
        if not isinstance(found.get("stem", ""), str):
            raise SuiteError(f"{path}, [{index}].stem: expected a text, found {describe(found['stem'])}")
        if not isinstance(found.get("options", []), list):
            raise SuiteError(
                f"{path}, [{index}].options: expected a list, found {describe(found['options'])}"
            )
        yield found


def survey(data_root: Path, suite: str) -> SuiteFacts:
    """Read a suite once from end to end and return what the run has to know before it starts.

    Raises:
        SuiteError: it cannot be used, or an image that it shows is not there.
    """
    path = question_path(data_root, suite)
    count = repeated = 0
    ids: set[str] | None = set()
    same: dict[int, list[str]] | None = {}
    stems: dict[str, str] = {}
    images: dict[str, int] = {}
    for question in read_questions(path):
        if ids is not None and same is not None:
            key = id_key(question["id"])
            if key in ids:
                repeated += 1
            ids.add(key)
            stems[key] = str(question.get("stem", ""))
            same.setdefault(content_hash(question), []).append(key)
        for reference in images_of(question):
            images.setdefault(reference, count)
        count += 1
        if count > _COMPARE_UP_TO:
            ids = same = None
            stems = {}
    for reference, index in images.items():
        if not (data_root / reference).is_file():
            raise SuiteError(
                f"{path}, [{index}]: shows the image {reference!r}, and {data_root / reference} is not there"
            )
    groups = [tuple(keys) for keys in same.values() if len(keys) > 1] if same is not None else []
    return SuiteFacts(
        name=suite,
        count=count,
        digest=file_digest(path),
        images=tuple(images),
        duplicate_groups=None if same is None else len(groups),
        duplicate_questions=sum(map(len, groups)),
        same=tuple(groups),
        repeated_ids=repeated,
        contents=frozenset(same or ()),
        stems=stems,
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(question: Question) -> int:
    """Return a number that equal stems and options have in common, within one process."""
    options = question.get("options")
    return hash((str(question.get("stem")), *(map(str, options) if isinstance(options, list) else ())))


def images_of(question: Question) -> list[str]:
    """Return the local images that a question's stem and options show, relative to the data root."""
    options = question.get("options")
    texts = [question.get("stem"), *(options if isinstance(options, list) else ())]
    found = []
    for text in texts:
        if isinstance(text, str) and ("![" in text or "<" in text):
            found += [
                reference
                for reference in (*_IMAGE.findall(text), *_HTML_IMAGE.findall(text))
                if _is_local(reference)
            ]
    return found


def _is_local(reference: str) -> bool:
    return (
        "://" not in reference
        and not reference.startswith(("data:", "/", "#"))
        and ".." not in reference.split("/")
    )


class Answers:
    """The answers of one suite: id → answer. Equal answers are held once, so a million of them stay small."""

    def __init__(self, path: Path) -> None:
        """Read an answer file.

        Raises:
            SuiteError: file and key are named.
        """
        self.path = path
        self._values: list[Json] = []
        self._places: dict[str, int] = {}
        self._which = array("I")
        known: dict[str, int] = {}
        for key, found in members(path):
            if not isinstance(found, dict):
                raise SuiteError(f"{path}, {key!r}: expected an object with answer, found {describe(found)}")
            if "answer" not in found:
                raise SuiteError(f"{path}, {key!r}.answer: expected [number] or a text, found nothing")
            text = repr(found["answer"])
            place = known.setdefault(text, len(self._values))
            if place == len(self._values):
                self._values.append(found["answer"])
            if key in self._places:  # a key given twice: the last one counts, as in any JSON reader
                self._which[self._places[key]] = place
                continue
            self._places[key] = len(self._which)
            self._which.append(place)

    def __len__(self) -> int:
        return len(self._which)

    def place(self, key: str) -> int | None:
        """Return the position of an id's answer, or None where it has none."""
        return self._places.get(key)

    def value(self, place: int) -> Json:
        """Return the answer at a position."""
        return self._values[self._which[place]]
