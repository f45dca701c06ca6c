"""Scores what the journal holds and writes the results, when the model is gone. Refuses to ask anything."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from iqeval import events
from iqeval.journal import Ended, Journal
from iqeval.outcome import Outcome
from iqeval.outputs import PREDICTIONS, REPORT, RESULT, Replacing
from iqeval.questions import Config, SuiteFacts
from iqeval.record import CategoryResult, RunRecord
from iqeval.results import write_predictions, write_report, write_result
from iqeval.scoring import Judged, Predictions, question_rows, score_category


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """Every category's result, with what is needed to write it down.

    Attributes:
        could_not_start: nothing was asked, because of what fails every category alike.
        answer_root: where answer files are; None where nothing is scored.
    """

    results: tuple[CategoryResult, ...]
    could_not_start: bool
    predictions: Mapping[str, Predictions]
    judged: Judged
    answer_root: Path | None


def conclude(
    journal: Journal,
    config: Config,
    facts: Mapping[str, SuiteFacts],
    models: Mapping[str, str | None],
    *,
    data_root: Path,
    answer_root: Path | None,
    on_event: events.Listener,
    warn: Callable[[str], None],
) -> Conclusion:
    """Score every category.

    Args:
        journal: the answers, and how each category ended.
        config: the categories.
        facts: suite → what is known of it.
        models: category → the model's class name.
        data_root: where the questions are.
        answer_root: where the answers are; None scores nothing.
        on_event: told of each category.
        warn: given what is odd about answers.
    """
    everything = [ended for ended in journal.ended.values() if ended.whole_run and ended.problem is not None]
    named = list(config.asked)
    if any(ended.problem is not None and ended.problem.where == "global_pre_run" for ended in everything):
        named = list(config.categories)  # as published: then also those without suites
    results: list[CategoryResult] = []
    predictions: dict[str, Predictions] = {}
    judged = Judged()
    for category in named:
        ended = journal.ended.get(category)
        if ended is None and everything:
            problem = everything[0].problem
            ended = Ended(
                outcome=everything[0].outcome,
                problem=problem and dataclasses.replace(problem, category=category),
            )
        if ended is None:
            continue
        given = Predictions(journal=journal, category=category)
        predictions[category] = given
        result = score_category(
            category,
            config.categories[category],
            ended,
            given,
            facts=facts,
            data_root=data_root,
            answer_root=answer_root,
            model=models.get(category),
            judged=judged,
            warn=warn,
        )
        results.append(result)
        on_event(events.Finished(result=result))
    could_not = any(
        ended.problem is not None and ended.problem.where != "global_pre_run" for ended in everything
    ) and all(result.outcome is not Outcome.OK for result in results)
    return Conclusion(
        results=tuple(results),
        could_not_start=could_not,
        predictions=predictions,
        judged=judged,
        answer_root=answer_root,
    )


def write_conclusion(
    out: Path, conclusion: Conclusion, record: RunRecord, config: Config, *, data_root: Path
) -> None:
    """Write the two published files, `result.json` where there is a score or a reason for none, and the report."""
    with Replacing() as files:
        write_predictions(files.open(out / PREDICTIONS), _prediction_rows(conclusion, config))
        if conclusion.answer_root is not None or conclusion.could_not_start:
            published = {result.category: result.published for result in conclusion.results}
            write_result(files.open(out / RESULT), published)
        rows = question_rows(
            conclusion.results,
            config.categories,
            conclusion.predictions,
            data_root=data_root,
            answer_root=conclusion.answer_root,
            judged=conclusion.judged,
        )
        write_report(files.open(out / REPORT), record, rows)


def write_refusal(out: Path, record: RunRecord) -> None:
    """Write all three files for a run that could not begin."""
    failed = record.categories
    with Replacing() as files:
        rows = ((result.category, 0, result.message, None) for result in failed)
        write_predictions(files.open(out / PREDICTIONS), rows)
        write_result(files.open(out / RESULT), {result.category: result.published for result in failed})
        write_report(files.open(out / REPORT), record, ())


def _prediction_rows(
    conclusion: Conclusion, config: Config
) -> Iterator[tuple[str, int, str | None, Mapping[str, Iterable[object]] | None]]:
    for result in conclusion.results:
        ended_ok = result.outcome is Outcome.OK or (
            result.problem is not None and result.problem.where == "scoring"
        )
        if ended_ok:
            given = conclusion.predictions[result.category]
            suites = {suite: given.in_order(suite) for suite in config.categories[result.category]}
            yield result.category, 1, None, suites
        else:
            yield result.category, result.outcome.published_pass, result.message or None, None
