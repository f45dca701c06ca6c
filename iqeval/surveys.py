"""What a run has to know of its suites before it asks, and what people should know of them. Reads questions, never answers."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from iqeval import events
from iqeval.errors import SuiteError
from iqeval.leakage import leaks
from iqeval.outcome import Outcome, Problem
from iqeval.questions import Config, SuiteFacts
from iqeval.settings import Places
from iqeval.suites import answer_path, question_path, survey

_LARGE_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """The suites of a config, each read once.

    Attributes:
        facts: suite → what is known of it.
        broken: category → why its data cannot be used.
        warnings: what is odd about the data, in sentences.
    """

    facts: Mapping[str, SuiteFacts]
    broken: Mapping[str, Problem]
    warnings: tuple[str, ...]

    def total(self, config: Config, category: str) -> int:
        """Return how many questions a category has."""
        return sum(self.facts[suite].count for suite in config.categories[category])

    def content(self, config: Config, category: str) -> str:
        """Return what a category's suites hold, as a text that changes with it."""
        return " ".join(self.facts[suite].digest for suite in config.categories[category])

    @property
    def images(self) -> tuple[str, ...]:
        """The images that questions show, relative to the data root."""
        return tuple(image for facts in self.facts.values() for image in facts.images)


def survey_all(config: Config, places: Places, *, scored: bool, on_event: events.Listener) -> Surveyed:
    """Read every suite once; what cannot be used is the data's fault and fails its category alone.

    Args:
        config: which suites.
        places: where they lie.
        scored: whether the answer files are needed.
        on_event: told that it will take a while, where it will.
    """
    facts: dict[str, SuiteFacts] = {}
    broken: dict[str, Problem] = {}
    warnings: list[str] = []
    _say_if_large(config, places.data_root, on_event)
    for category in config.asked:
        for suite in config.categories[category]:
            try:
                if suite not in facts:
                    facts[suite] = survey(places.data_root, suite)
                    warnings += _oddities(facts[suite])
                answers = answer_path(places.answer_root, suite)
                if scored and not answers.is_file():
                    raise SuiteError(f"{answers}: no such file; the suite cannot be scored")
            except SuiteError as exc:
                problem = Problem(outcome=Outcome.DATA_ERROR, text=str(exc), suite=suite, category=category)
                broken.setdefault(category, problem)
    read_by_models = [places.work / "train_data", places.work / "group_data", places.model]
    warnings += leaks(
        [folder for folder in read_by_models if folder.is_dir()],
        facts.values(),
        shown_from=places.work,
        leave_out={places.data_root, places.answer_root},
    )
    return Surveyed(facts=facts, broken=broken, warnings=tuple(warnings))


def _say_if_large(config: Config, data_root: Path, on_event: events.Listener) -> None:
    suites = {suite for names in config.categories.values() for suite in names}
    paths = [question_path(data_root, suite) for suite in suites]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    if size >= _LARGE_BYTES:
        on_event(events.Note(text=f"reading {size >> 20} MB of questions"))


def _oddities(facts: SuiteFacts) -> list[str]:
    found = []
    if facts.duplicate_groups:
        found.append(
            f"{facts.name}: {facts.duplicate_questions} of {facts.count} questions occur more than once"
            f" ({facts.duplicate_groups} groups with the same stem and options)"
        )
    if facts.repeated_ids:
        found.append(
            f"{facts.name}: {facts.repeated_ids} questions repeat an id; the first answer to an id counts"
        )
    return found
