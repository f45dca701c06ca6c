"""`output.answer.json` → `result.json`: the second half of a server's evaluation, from the file alone.

Refuses to trust the file: it may come from anywhere.
"""

import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from iqeval.errors import SuiteError
from iqeval.journal import Ended, Line
from iqeval.outcome import Outcome, Problem
from iqeval.outputs import PREDICTIONS, REPORT, RESULT, Replacing, write_no_result
from iqeval.questions import Json, SuiteFacts
from iqeval.record import CategoryResult, Mode, RunRecord
from iqeval.results import write_report, write_result
from iqeval.scoring import Judged, question_rows, score_category
from iqeval.suites import describe, load_config, survey
from iqeval.wire import prediction_fault


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What the file holds of a category."""

    suites: dict[str, list[Json]]

    def lines(self, suite: str) -> Iterator[tuple[int, Line]]:
        for index, prediction in enumerate(self.suites.get(suite, ())):
            yield index, Line(digest="", elapsed_ms=0.0, prediction=prediction, problem=None)

    def in_order(self, suite: str) -> Iterator[list[Json]]:
        yield from cast("list[list[Json]]", self.suites.get(suite, []))  # their shape has been checked

    def by_position(self, suite: str) -> bool:
        return False


def score(config: Path, *, work: Path | None = None, answers: Path | None = None) -> RunRecord:
    """Score the predictions in a work root and write `result.json` and `report.json` there.

    Raises:
        SuiteError: the config or the file of predictions cannot be read; `result.json` is then `{}`.
    """
    since, now = time.monotonic(), datetime.now(UTC)
    config = config.absolute()
    folder = (work or Path()).absolute()
    answer_root = (answers or config.parent).absolute()
    for name in (RESULT, REPORT):
        (folder / name).unlink(missing_ok=True)
    try:
        parsed = load_config(config)
        categories = _read(folder / PREDICTIONS)
    except SuiteError:
        if folder.is_dir():
            write_no_result(folder)
        raise
    warnings: list[str] = []
    results: list[CategoryResult] = []
    judged = Judged()
    given: dict[str, _Given] = {}
    for category, (ended, mine) in categories.items():
        given[category] = mine
        facts: dict[str, SuiteFacts] = {}
        for suite in mine.suites:
            try:
                facts[suite] = survey(config.parent, suite)
            except SuiteError as exc:
                warnings.append(f"no sub-scores: {exc}")
        results.append(
            score_category(
                category, tuple(mine.suites), ended, mine,
                facts=facts, data_root=config.parent, answer_root=answer_root, judged=judged, warn=warnings.append,
            )
        )  # fmt: skip
    record = RunRecord(
        mode=Mode.SCORE,
        out=str(folder),
        categories=tuple(results),
        config=str(config),
        config_version=parsed.version,
        work=str(folder),
        warnings=tuple(warnings),
        started_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        elapsed_s=time.monotonic() - since,
    )
    suites = {category: tuple(mine.suites) for category, mine in given.items()}
    rows = question_rows(
        results, suites, given, data_root=config.parent, answer_root=answer_root, judged=judged
    )
    with Replacing() as files:
        write_result(files.open(folder / RESULT), {result.category: result.published for result in results})
        write_report(files.open(folder / REPORT), record, rows)
    return record


def _read(path: Path) -> dict[str, tuple[Ended, _Given]]:
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as exc:
        raise SuiteError(f"{path}: no such file; `iqeval run --server` makes it") from exc
    except UnicodeDecodeError as exc:
        raise SuiteError(f"{path}: not UTF-8: {exc.reason} at byte {exc.start}") from exc
    except json.JSONDecodeError as exc:
        raise SuiteError(f"{path}, line {exc.lineno}: not JSON: {exc.msg}") from exc
    except (OSError, RecursionError) as exc:
        raise SuiteError(f"{path}: cannot be read: {exc}") from exc
    if not isinstance(found, dict):
        raise SuiteError(f"{path}: expected an object (category → predictions), found {describe(found)}")
    categories = {}
    for category, entry in found.items():
        if not isinstance(entry, dict):
            raise SuiteError(f"{path}, {category}: expected an object with pass, found {describe(entry)}")
        categories[category] = _category(path, category, entry)
    return categories


def _category(path: Path, category: str, entry: dict[str, Json]) -> tuple[Ended, _Given]:
    nothing = _Given(suites={})
    passed = entry.get("pass")
    if passed == -1:
        return Ended(outcome=Outcome.NO_MODEL, problem=None), nothing
    if passed != 1:
        message = str(entry.get("message") or "the run gave no reason")
        return _failed(message), nothing
    suites = entry.get("predict_suites")
    if not isinstance(suites, dict):
        raise SuiteError(
            f"{path}, {category}.predict_suites: expected an object (suite → list), found {describe(suites)}"
        )
    for suite, predictions in suites.items():
        if suite.startswith("/") or ".." in suite.split("/") or "\0" in suite:
            raise SuiteError(
                f"{path}, {category}.predict_suites: the suite {suite!r} leads out of the data folder"
            )
        if not isinstance(predictions, list):
            problem = f"predict_suites.{suite}: expected a list, found {describe(predictions)}"
            return Ended(
                outcome=Outcome.BAD_ANSWER, problem=Problem(outcome=Outcome.BAD_ANSWER, text=problem)
            ), nothing
        for index, prediction in enumerate(predictions):
            fault = prediction_fault(prediction)
            if fault is not None:
                text = f"predict_suites.{suite}[{index}]: {fault}"
                return Ended(
                    outcome=Outcome.BAD_ANSWER, problem=Problem(outcome=Outcome.BAD_ANSWER, text=text)
                ), nothing
    return Ended(outcome=Outcome.OK, problem=None), _Given(suites=suites)


def _failed(message: str) -> Ended:
    """Return the failure that a run wrote down; its first word is the outcome where the run was ours."""
    word = message.split(maxsplit=1)[0] if message.split() else ""
    outcome = next(
        (outcome for outcome in Outcome if outcome.value == word and outcome.published_pass == 0),
        Outcome.MODEL_ERROR,
    )
    return Ended(outcome=outcome, problem=Problem(outcome=outcome, text=message, where="recorded"))
