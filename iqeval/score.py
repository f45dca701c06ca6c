"""Predictions and answers → scores, as the published SDK counts, with what it does not tell beside it.

Exact: a prediction counts when it equals the answer as a JSON value; the denominator is the number of answers in the answer
file; the first prediction for an id counts. Refuses to be lenient in the score: near misses are counted apart.

Source: published SDK, `eval_result.py`, commit 7177702; observed on the published questions.
"""

import dataclasses
import math
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from typing import Protocol

from iqeval.questions import Json, id_key

_UNSEEN, _WRONG, _NEAR, _RIGHT = 0, 1, 2, 3
_DEEPEST, _LONGEST = 10, 10_000  # beyond these it is no short answer, and looking closer would only cost time


class Key(Protocol):
    """The answers of a suite: see `suites.Answers`."""

    def __len__(self) -> int: ...

    def place(self, key: str) -> int | None:
        """Return the position of an id's answer, or None."""
        ...

    def value(self, place: int) -> Json:
        """Return the answer at a position."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Bounds of a share."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many of how many.

    Attributes:
        total: answers in the answer file.
        answered: ids that have an answer and got a prediction.
        near: wrong ones that would be right unwrapped, trimmed or as text.
        open_near: those of them whose answer is a text.
    """

    total: int
    answered: int
    correct: int
    near: int = 0
    open_near: int = 0
    open_total: int = 0
    open_correct: int = 0

    @property
    def score(self) -> float:
        """Correct / total; 0.0 of nothing. Source: the published SDK."""
        return self.correct / (self.total or 1)

    @property
    def lenient(self) -> float:
        """The same with near misses counted as right; never mixed into `score`."""
        return (self.correct + self.near) / (self.total or 1)

    @property
    def interval(self) -> Interval:
        """The Wilson interval of the score, 95 %."""
        return wilson(self.correct, self.total)

    def plus(self, other: "Count") -> "Count":
        """Return both together."""
        return Count(
            total=self.total + other.total,
            answered=self.answered + other.answered,
            correct=self.correct + other.correct,
            near=self.near + other.near,
            open_near=self.open_near + other.open_near,
            open_total=self.open_total + other.open_total,
            open_correct=self.open_correct + other.open_correct,
        )


NOTHING = Count(total=0, answered=0, correct=0)


class NoSuchAnswer(Exception):
    """A prediction for an id that the answer file does not have."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """How each answer of a suite was met, by its position in the answer file."""

    count: Count
    marks: bytes

    def right(self, place: int) -> bool:
        """Tell whether the answer at a position was met."""
        return self.marks[place] == _RIGHT

    def near(self, place: int) -> bool:
        """Tell whether it was nearly met."""
        return self.marks[place] == _NEAR

    def seen(self, place: int) -> bool:
        """Tell whether there was a prediction for it."""
        return self.marks[place] != _UNSEEN


def wilson(correct: int, total: int, z: float = 1.959963984540054) -> Interval:
    """Return the Wilson score interval of a share; all of [0, 1] where there is nothing to go by."""
    if total == 0:
        return Interval(low=0.0, high=1.0)
    share = correct / total
    weight = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / weight
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / weight
    return Interval(
        low=max(0.0, middle - half) if correct else 0.0,
        high=min(1.0, middle + half) if correct < total else 1.0,
    )


def lenient_form(value: Json, *, depth: int = 0) -> str:
    """Return what a reader would take a short answer for: unwrapped, trimmed, numbers as text."""
    if depth > _DEEPEST:
        return "…"
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        if len(value) > _LONGEST:
            return value
        return " ".join(unicodedata.normalize("NFKC", value).split())
    if isinstance(value, list):
        return "[" + ",".join(lenient_form(item, depth=depth + 1) for item in value) + "]"
    return repr(value)


def judge(predictions: Iterable[list[Json]], key: Key) -> Verdicts:
    """Score one suite.

    Args:
        predictions: `[id, answer, …]`, in the order in which the model gave them; those without an id do not count.
        key: the suite's answers.

    Raises:
        NoSuchAnswer: an id that has no answer.
    """
    marks = bytearray(len(key))
    answered = correct = near = open_near = open_correct = 0
    for prediction in predictions:
        question_id = prediction[0]
        if question_id is None:
            continue
        place = key.place(id_key(question_id))
        if place is None:
            raise NoSuchAnswer(f"a prediction for the id {question_id!r}, which {_name(key)} does not have")
        if marks[place] != _UNSEEN:
            continue
        answered += 1
        given, wanted = prediction[1], key.value(place)
        is_open = isinstance(wanted, str)
        if given == wanted:
            marks[place] = _RIGHT
            correct += 1
            open_correct += is_open
        elif lenient_form(given) == lenient_form(wanted):
            marks[place] = _NEAR
            near += 1
            open_near += is_open
        else:
            marks[place] = _WRONG
    open_total = sum(isinstance(key.value(place), str) for place in range(len(key)))
    return Verdicts(
        count=Count(
            total=len(key),
            answered=answered,
            correct=correct,
            near=near,
            open_near=open_near,
            open_total=open_total,
            open_correct=open_correct,
        ),
        marks=bytes(marks),
    )


def by_kind(kinds: Iterable[tuple[str, str]], key: Key, verdicts: Verdicts) -> dict[str, Count]:
    """Return sub-scores by the questions' own categories.

    Args:
        kinds: (id, category) of each question of the suite.
        key: the suite's answers.
        verdicts: how each was met.
    """
    numbers: dict[str, array[int]] = {}
    for question_id, kind in kinds:
        place = key.place(question_id)
        if place is None:
            continue
        row = numbers.setdefault(kind, array("q", [0, 0, 0, 0, 0, 0, 0]))
        is_open = isinstance(key.value(place), str)
        mark = verdicts.marks[place]
        row[0] += 1
        row[1] += mark != _UNSEEN
        row[2] += mark == _RIGHT
        row[3] += mark == _NEAR
        row[4] += mark == _NEAR and is_open
        row[5] += is_open
        row[6] += mark == _RIGHT and is_open
    return {
        kind: Count(
            total=row[0],
            answered=row[1],
            correct=row[2],
            near=row[3],
            open_near=row[4],
            open_total=row[5],
            open_correct=row[6],
        )
        for kind, row in numbers.items()
    }


def contradictions(same: Iterable[tuple[str, ...]], key: Key) -> Iterator[tuple[str, ...]]:
    """Yield the groups of equal questions whose answers differ."""
    for ids in same:
        places = [place for question_id in ids if (place := key.place(question_id)) is not None]
        if any(key.value(place) != key.value(places[0]) for place in places[1:]):
            yield ids


def _name(key: Key) -> str:
    path = getattr(key, "path", None)
    return "the answer file" if path is None else f"{path}"
