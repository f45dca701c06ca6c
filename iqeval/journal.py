"""What a run has learnt so far, in a file that only grows: each answer as it comes, each category when it ends.

It is also where predictions live: in memory there is a number for each, so a million of them stay small. A killed run
leaves a valid journal, save for a last line that is cut and is not read. Refuses to judge answers.
"""

import contextlib
import dataclasses
import json
import os
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from iqeval.outcome import Outcome, Problem
from iqeval.protocol import question_json

VERSION = 1
FOLDER = ".iqeval"
FILE = "journal.jsonl"

_KEPT_LINES = 50_000
_KEPT_BYTES = 512
"""So many entries of so many bytes are also kept as they came; the others are read from the file again."""

_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One question's entry."""

    digest: str
    elapsed_ms: float
    prediction: object
    problem: Problem | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a category ended; `content` is the hash of the suites it was asked."""

    outcome: Outcome
    problem: Problem | None
    whole_run: bool = False
    content: str = ""


class Journal:
    """The answers of one run, on disk."""

    def __init__(self, path: Path, identity: dict[str, object]) -> None:
        self.path = path
        self._identity = identity
        self._lock = threading.Lock()
        self._places: dict[tuple[str, str], array[int]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._whole: dict[tuple[str, str], str] = {}
        self.ended: dict[str, Ended] = {}
        self._descriptor = -1
        self._size = 0
        self._kept: dict[int, Line] = {}

    @classmethod
    def begin(cls, path: Path, identity: dict[str, object]) -> Self:
        """Start a journal, in place of whatever was there."""
        journal = cls(path, identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        journal._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        journal._append({"journal": VERSION, **identity})
        return journal

    @classmethod
    def reopen(cls, path: Path, identity: dict[str, object]) -> tuple[Self | None, str]:
        """Go on with a journal; returns None and the reason where there is none for this model and these settings."""
        journal = cls(path, identity)
        try:
            journal._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None, "there is no journal of an earlier run"
        reason = journal._read_all()
        if reason:
            os.close(journal._descriptor)
            return None, reason
        return journal, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- writing ------------------------------------------------------------------------------------------------

    def answer(
        self, category: str, suite: str, index: int, digest: str, elapsed_ms: float, prediction: object
    ) -> None:
        """Keep one answer.

        Raises:
            ValueError: it has no strict JSON form.
        """
        text = _compact.encode(prediction)
        line = Line(digest=digest, elapsed_ms=elapsed_ms, prediction=prediction, problem=None)
        self._put(category, suite, index, f'"h":"{digest}","ms":{elapsed_ms:.4f},"p":{text}', line)

    def problem(self, category: str, suite: str, index: int, digest: str, problem: Problem) -> None:
        """Keep a question that failed in a category that goes on."""
        line = Line(digest=digest, elapsed_ms=0.0, prediction=None, problem=problem)
        self._put(
            category, suite, index, f'"h":"{digest}","x":{_compact.encode(problem_to_json(problem))}', line
        )

    def whole(self, category: str, suite: str, content: str) -> None:
        """Keep that a suite given whole, of this content, was answered whole."""
        with self._lock:
            number = self._number(category, suite)
            self._whole[(category, suite)] = content
            self._append({"whole": number, "content": content})

    def end(self, category: str, ended: Ended) -> None:
        """Keep how a category ended."""
        with self._lock:
            self.ended[category] = ended
            problem = None if ended.problem is None else problem_to_json(ended.problem)
            self._append(
                {
                    "end": category,
                    "outcome": ended.outcome.value,
                    "problem": problem,
                    "whole_run": ended.whole_run,
                    "content": ended.content,
                }
            )

    def _number(self, category: str, suite: str) -> int:
        key = (category, suite)
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._places.setdefault(key, array("q"))
            self._append({"suite": self._numbers[key], "category": category, "name": suite})
        return self._numbers[key]

    def _put(self, category: str, suite: str, index: int, rest: str, line: Line) -> None:
        with self._lock:
            number = self._number(category, suite)
            self._set_place(self._places[(category, suite)], index, self._size)
            if len(self._kept) < _KEPT_LINES and len(rest) <= _KEPT_BYTES:
                self._kept[self._size] = line
            self._write(f'{{"t":{number},"i":{index},{rest}}}\n'.encode("utf-8", "backslashreplace"))

    def _set_place(self, places: "array[int]", index: int, place: int) -> None:
        while len(places) <= index:
            places.append(-1)
        places[index] = place

    def _append(self, entry: dict[str, object]) -> None:
        self._write(_compact.encode(entry).encode("utf-8", "backslashreplace") + b"\n")

    def _write(self, line: bytes) -> None:
        done = 0
        while done < len(line):
            done += os.pwrite(self._descriptor, line[done:], self._size + done)
        self._size += len(line)

    # --- reading ------------------------------------------------------------------------------------------------

    def _read_all(self) -> str:
        """Read a journal from an earlier run; returns why it cannot be used, or an empty text."""
        at = 0
        names: dict[int, tuple[str, str]] = {}
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # cut by the end of the run that wrote it
                try:
                    entry = json.loads(line)
                    if at == 0:
                        told = {key: value for key, value in entry.items() if key != "journal"}
                        if entry.get("journal") != VERSION:
                            return "the journal is of another version"
                        changed = [key for key, value in self._identity.items() if told.get(key) != value]
                        if changed:
                            return f"the journal is of a run with another {' and '.join(changed)}"
                    elif "t" in entry:
                        self._set_place(self._places[names[entry["t"]]], int(entry["i"]), at)
                    elif "suite" in entry:
                        names[entry["suite"]] = key = (str(entry["category"]), str(entry["name"]))
                        self._numbers[key] = entry["suite"]
                        self._places[key] = array("q")
                    elif "whole" in entry:
                        self._whole[names[entry["whole"]]] = str(entry["content"])
                    elif "end" in entry:
                        self.ended[str(entry["end"])] = Ended(
                            outcome=Outcome(entry["outcome"]),
                            problem=problem_from_json(entry["problem"]),
                            whole_run=bool(entry["whole_run"]),
                            content=str(entry["content"]),
                        )
                except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                    return f"the journal is damaged at byte {at}"
                at += len(line)
        if at == 0:
            return "the journal of the earlier run is empty"
        os.ftruncate(self._descriptor, at)
        self._size = at
        return ""

    def _line(self, place: int) -> Line:
        kept = self._kept.get(place)
        if kept is not None:
            return kept
        block = os.pread(self._descriptor, 4096, place)
        while (end := block.find(b"\n")) < 0:
            block += os.pread(self._descriptor, 1 << 20, place + len(block))
        entry = json.loads(block[:end])
        return Line(
            digest=entry["h"],
            elapsed_ms=entry.get("ms", 0.0),
            prediction=entry.get("p"),
            problem=problem_from_json(entry.get("x")),
        )

    def lines(self, category: str, suite: str) -> Iterator[tuple[int, Line]]:
        """Yield what is known of a suite's questions, in order."""
        for index, place in enumerate(self._places.get((category, suite), ())):
            if place >= 0:
                yield index, self._line(place)

    def answered(
        self,
        category: str,
        suite: str,
        questions: Iterable[object],
        digest: Callable[[str], str],
        *,
        content: str,
    ) -> bytes:
        """Return a byte a question: 1 where its answer is here, and is to the same question; forget the others.

        Args:
            category: the category.
            suite: the suite.
            questions: those of the suite now.
            digest: the hash by which a question is known again.
            content: the suite's hash now; a suite that was given whole is known whole, or not at all.
        """
        key = (category, suite)
        places = self._places.get(key)
        if places is None:
            return b""
        if key in self._whole:
            if self._whole[key] == content:
                return b"\1"
            del self._whole[key]
        found = bytearray()
        for index, question in enumerate(questions):
            place = places[index] if index < len(places) else -1
            same = False
            if place >= 0:
                with contextlib.suppress(ValueError, KeyError):
                    same = self._line(place).digest == digest(question_json(question))
                if not same:
                    places[index] = -1
            found.append(same)
        del places[len(found) :]
        return bytes(found)

    def is_whole(self, category: str, suite: str) -> bool:
        """Tell whether a suite was given, and answered, as a whole."""
        return (category, suite) in self._whole


def problem_to_json(problem: Problem) -> dict[str, object]:
    """Return a problem as JSON."""
    return {
        "outcome": problem.outcome.value,
        "text": problem.text,
        "where": problem.where,
        "category": problem.category,
        "suite": problem.suite,
        "index": problem.index,
        "question_id": problem.question_id,
        "printed": problem.printed,
        "stack": problem.stack,
    }


def problem_from_json(found: dict[str, object] | None) -> Problem | None:
    """Return a problem from its JSON."""
    if found is None:
        return None
    index = found["index"]
    return Problem(
        outcome=Outcome(found["outcome"]),
        text=str(found["text"]),
        where=str(found["where"]),
        category=str(found["category"]),
        suite=str(found["suite"]),
        index=index if isinstance(index, int) else None,
        question_id=found["question_id"],
        printed=str(found["printed"]),
        stack=str(found["stack"]),
    )
