"""Brings predictions, answers and questions together: a category's result, and a row for each question.

Reads answer files; the sandboxed child can import nothing from here, nor is this ever loaded while it forks.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from iqeval.errors import SuiteError
from iqeval.journal import Ended, Journal, Line
from iqeval.outcome import Outcome, Problem
from iqeval.questions import Json, SuiteFacts, id_key
from iqeval.record import CategoryResult, SuiteResult
from iqeval.score import NoSuchAnswer, Verdicts, by_kind, contradictions, judge
from iqeval.suites import Answers, answer_path, file_digest, question_path, read_questions

_KEPT_ANSWERS = 50_000


class Given(Protocol):
    """The predictions of a category, wherever they are kept."""

    def lines(self, suite: str) -> Iterator[tuple[int, Line]]:
        """Yield position and entry, in order."""
        ...

    def in_order(self, suite: str) -> Iterator[list[Json]]:
        """Yield the predictions of a suite, in order; questions that failed have none."""
        ...

    def by_position(self, suite: str) -> bool:
        """Tell whether an entry's position is its question's."""
        ...


class Judged:
    """Answers and verdicts of suites that were scored, so that small ones need not be read again for the table."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Answers, Verdicts]] = {}

    def keep(self, category: str, suite: str, key: Answers, verdicts: Verdicts) -> None:
        """Keep what was read, unless it is large."""
        if len(key) <= _KEPT_ANSWERS:
            self._kept[(category, suite)] = (key, verdicts)

    def get(self, category: str, suite: str, given: Given, answer_root: Path) -> tuple[Answers, Verdicts]:
        """Return a suite's answers and verdicts, read again where they were not kept."""
        found = self._kept.get((category, suite))
        if found is None:
            key = Answers(answer_path(answer_root, suite))
            found = key, judge(given.in_order(suite), key)
        return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a journal holds of a category."""

    journal: Journal
    category: str

    def lines(self, suite: str) -> Iterator[tuple[int, Line]]:
        """Yield position and entry, in order."""
        return self.journal.lines(self.category, suite)

    def in_order(self, suite: str) -> Iterator[list[Json]]:
        """Yield the predictions of a suite, in order; questions that failed have none."""
        for _, line in self.lines(suite):
            if line.problem is None:
                yield cast("list[Json]", line.prediction)  # its shape was checked when it came

    def by_position(self, suite: str) -> bool:
        """Tell whether an entry's position is its question's: not where the suite was given whole."""
        return not self.journal.is_whole(self.category, suite)


def score_category(
    category: str,
    suites: Sequence[str],
    ended: Ended,
    given: Given,
    *,
    facts: Mapping[str, SuiteFacts],
    data_root: Path,
    answer_root: Path | None,
    model: str | None = None,
    judged: Judged,
    warn: Callable[[str], None],
) -> CategoryResult:
    """Score what a category's model answered; without an answer folder, only count what there is."""
    found: list[SuiteResult] = []
    problem, outcome = ended.problem, ended.outcome
    scored = outcome is Outcome.OK and answer_root is not None
    for suite in suites:
        known = facts.get(suite)
        answered = errors = 0
        for _, line in given.lines(suite):
            answered += line.problem is None
            errors += line.problem is not None
        result = SuiteResult(
            name=suite,
            digest=known.digest if known else None,
            questions=known.count if known else None,
            answered=answered,
            errors=errors,
        )
        if outcome is Outcome.OK and answer_root is not None:
            try:
                key = Answers(answer_path(answer_root, suite))
                verdicts = judge(given.in_order(suite), key)
                result = _scored(result, key, verdicts, known, data_root, warn)
                judged.keep(category, suite, key, verdicts)
            except SuiteError as exc:
                outcome, problem = (
                    Outcome.DATA_ERROR,
                    Problem(outcome=Outcome.DATA_ERROR, text=str(exc), where="scoring"),
                )
            except NoSuchAnswer as exc:
                outcome, problem = (
                    Outcome.BAD_ANSWER,
                    Problem(outcome=Outcome.BAD_ANSWER, text=str(exc), where="scoring"),
                )
            if problem is not None:
                problem, scored = dataclasses.replace(problem, category=category, suite=suite), False
        found.append(result)
    return CategoryResult(
        category=category, outcome=outcome, problem=problem, model=model, suites=tuple(found), scored=scored
    )


def _scored(
    result: SuiteResult,
    key: Answers,
    verdicts: Verdicts,
    facts: SuiteFacts | None,
    data_root: Path,
    warn: Callable[[str], None],
) -> SuiteResult:
    kinds = {}
    if facts is not None:
        questions = read_questions(question_path(data_root, result.name))
        pairs = ((id_key(question["id"]), str(question.get("category", ""))) for question in questions)
        kinds = by_kind(pairs, key, verdicts)
        unlike = list(contradictions(facts.same, key))
        if unlike:
            shown = ", ".join("/".join(group) for group in unlike[:3])
            warn(
                f"{result.name}: {len(unlike)} groups of equal questions have different answers (ids {shown}"
                f"{', …' if len(unlike) > 3 else ''}); no model can get them all right"
            )
        if facts.count != len(key):
            warn(
                f"{result.name}: {facts.count} questions and {len(key)} answers; the score is out of the answers"
            )
    return dataclasses.replace(
        result, count=verdicts.count, kinds=kinds, answers_digest=file_digest(key.path)
    )


def question_rows(
    results: Iterable[CategoryResult],
    suites: Mapping[str, Sequence[str]],
    predictions: Mapping[str, Given],
    *,
    data_root: Path,
    answer_root: Path | None,
    judged: Judged,
) -> Iterator[dict[str, object]]:
    """Yield a row for each question; expected answers only where there is an answer folder."""
    for result in results:
        if result.category not in predictions:
            continue
        for suite in suites[result.category]:
            try:
                yield from _suite_rows(
                    result, suite, predictions[result.category], data_root, answer_root, judged
                )
            except SuiteError:
                continue  # the category's own problem says it


def _suite_rows(
    result: CategoryResult,
    suite: str,
    given: Given,
    data_root: Path,
    answer_root: Path | None,
    judged: Judged,
) -> Iterator[dict[str, object]]:
    key = verdicts = None
    if answer_root is not None and result.scored:
        key, verdicts = judged.get(result.category, suite, given, answer_root)
    whole = not given.by_position(suite)
    by_id: dict[str, Line] = {}
    if whole:
        for _, line in given.lines(suite):
            by_id.setdefault(
                id_key(cast("list[Json]", line.prediction)[0]), line
            )  # its shape was checked when it came
    lines = iter(()) if whole else given.lines(suite)
    nothing: tuple[int, Line | None] = (-1, None)
    place, entry = next(lines, nothing)
    for index, question in enumerate(read_questions(question_path(data_root, suite))):
        mine: Line | None = None
        if whole:
            mine = by_id.get(id_key(question["id"]))
        elif place == index:
            mine, (place, entry) = entry, next(lines, nothing)
        row: dict[str, object] = {
            "category": result.category,
            "suite": suite,
            "index": index,
            "id": question["id"],
            "kind": question.get("category"),
            "prediction": None if mine is None else mine.prediction,
            "ms": None if mine is None else round(mine.elapsed_ms, 3),
            "error": None if mine is None or mine.problem is None else mine.problem.message,
        }
        if key is not None and verdicts is not None:
            at = key.place(id_key(question["id"]))
            row["expected"] = None if at is None else key.value(at)
            row["right"] = at is not None and verdicts.right(at)
            row["near"] = at is not None and verdicts.near(at)
        yield row
