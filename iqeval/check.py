"""Looks at a model as the evaluation will: reads its folder, then loads it in the sandbox and asks a few questions.

Says everything at once, with lines. Refuses to score: three questions tell nothing.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from iqeval import events
from iqeval.errors import SuiteError
from iqeval.findings import Finding, Level, error, warning
from iqeval.outcome import Outcome
from iqeval.outputs import REPORT
from iqeval.pack import Packing, plan_pack
from iqeval.questions import Json
from iqeval.record import RunRecord
from iqeval.run import run
from iqeval.sandbox.choose import scratch_folder
from iqeval.settings import Settings
from iqeval.suites import images_of, load_config, question_path, read_questions

PER_SUITE = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found; `record` is the trial run, None where the model cannot be loaded at all."""

    findings: tuple[Finding, ...]
    record: RunRecord | None

    @property
    def errors(self) -> int:
        """How many findings stop an evaluation."""
        return sum(finding.level is Level.ERROR for finding in self.findings)


def check(
    model: Path, config: Path, settings: Settings, *, on_event: events.Listener = events.ignore
) -> Checked:
    """Return all that is wrong with a model.

    Args:
        model: the model's folder.
        config: suites of which a few questions are asked.
        settings: how to run the trial; its output folder is not used.
        on_event: told what happens.

    Raises:
        SuiteError: the config cannot be read.
        SandboxUnavailable: no sandbox works where one is required.
    """
    plan = plan_pack(model, Packing(space=settings.work))
    findings = list(plan.findings)
    if any(
        finding.level is Level.ERROR and "syntax" not in finding.text
        for finding in plan.errors
        if finding.path == "entry.json" or finding.path == "."
    ):
        return Checked(findings=tuple(findings), record=None)
    with scratch_folder() as scratch:
        trial = _few_questions(config, scratch / "data")
        out = scratch / "out"
        given = dataclasses.replace(
            settings, out=out, server=True, sandbox=settings.sandbox_wanted, resume=False
        )
        record = run(model, trial, given, on_event=on_event)
        rows = json.loads((out / REPORT).read_text("utf-8"))["questions"]
        questions = _options_by_place(trial)
    findings += _run_findings(record)
    findings += _shape_findings(rows, questions)
    return Checked(findings=tuple(findings), record=record)


def _few_questions(config: Path, folder: Path) -> Path:
    """Copy the first questions of each suite, and no answers, into a folder of their own."""
    parsed = load_config(config)
    folder.mkdir()
    for suite in {suite for suites in parsed.categories.values() for suite in suites}:
        few = list(itertools.islice(read_questions(question_path(config.parent, suite)), PER_SUITE))
        target = question_path(folder, suite)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(few), "utf-8")
        for reference in {reference for question in few for reference in images_of(question)}:
            source = config.parent / reference
            if not source.is_file():
                raise SuiteError(
                    f"{question_path(config.parent, suite)}: shows the image {reference!r}, and {source} is not there"
                )
            place = folder / reference
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
    categories = {name: list(suites) for name, suites in parsed.categories.items()}
    path = folder / "config.json"
    path.write_text(json.dumps({"test_suites": categories}), "utf-8")
    return path


def _options_by_place(config: Path) -> dict[tuple[str, int], Sequence[Json]]:
    found: dict[tuple[str, int], Sequence[Json]] = {}
    for suites in load_config(config).categories.values():
        for suite in suites:
            for index, question in enumerate(read_questions(question_path(config.parent, suite))):
                options = question.get("options")
                found[(suite, index)] = options if isinstance(options, list) else ()
    return found


def _run_findings(record: RunRecord) -> Iterator[Finding]:
    told: set[str] = set()
    for result in record.categories:
        if result.outcome is Outcome.NO_MODEL:
            yield warning(result.category, "there is no model for this category; it is skipped")
        elif result.problem is not None and result.problem.text not in told:
            told.add(result.problem.text)
            yield error(result.category, result.message)
    if record.categories and all(result.outcome is Outcome.NO_MODEL for result in record.categories):
        yield error("entry.json", "no category has a model: nothing would be scored")


def _shape_findings(
    rows: Sequence[dict[str, Json]], options: dict[tuple[str, int], Sequence[Json]]
) -> Iterator[Finding]:
    """Yield answers whose form can never be right, once for each kind of mistake."""
    told: set[str] = set()
    for row in rows:
        prediction = row["prediction"]
        if not isinstance(prediction, list) or len(prediction) < 2:
            continue
        given, index = prediction[1], row["index"]
        choices = options.get((str(row["suite"]), index if isinstance(index, int) else -1), ())
        fault = _shape_fault(given, choices)
        if str(prediction[0]) != str(row["id"]):
            fault = f"answered with the id {prediction[0]!r}"
        if fault is not None and fault not in told:
            told.add(fault)
            yield warning(str(row["suite"]), f"question {row['id']}: {fault}")


def _shape_fault(given: Json, choices: Sequence[Json]) -> str | None:
    shown = json.dumps(given, ensure_ascii=False)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    if not choices:
        return (
            None
            if isinstance(given, str)
            else f"there are no options, so the answer is a text; {shown} never counts"
        )
    if not isinstance(given, list) or not all(isinstance(item, (int, float)) for item in given):
        return f"an option is answered as [number]; {shown} never counts"
    if any(not 1 <= item <= len(choices) for item in given):
        return f"options are counted from 1 to {len(choices)}; {shown} never counts"
    return None
