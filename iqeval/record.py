"""All that a run leaves behind, as values: what was run, under what conditions, how each category ended.

Refuses to read or write files, and to hold questions: those go through, one by one, in `results`.
"""

import dataclasses
import enum
from collections.abc import Mapping

from iqeval.outcome import Fault, Outcome, Problem
from iqeval.score import NOTHING, Count

REPORT_SCHEMA = 1
"""The version of `report.json`; it rises when a field changes its meaning or goes."""


class Mode(enum.Enum):
    """What was done."""

    CLIENT = "client"
    SERVER = "server"
    SCORE = "score"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """One suite: what it held and how it was met.

    Attributes:
        answered: questions with a prediction.
        errors: questions that failed in a category that went on.
        answers_digest: SHA-256 of the answer file.
        count: the score; None where nothing was scored.
        kinds: sub-scores by the questions' own category.
    """

    name: str
    digest: str | None
    questions: int | None
    answered: int
    errors: int = 0
    count: Count | None = None
    kinds: Mapping[str, Count] = dataclasses.field(default_factory=dict)
    answers_digest: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CategoryResult:
    """One category: how it ended, and its score."""

    category: str
    outcome: Outcome
    problem: Problem | None = None
    model: str | None = None
    suites: tuple[SuiteResult, ...] = ()
    scored: bool = False

    @property
    def count(self) -> Count:
        """All suites together: right of all answers, as published (a micro average)."""
        total = NOTHING
        for suite in self.suites:
            if suite.count is not None:
                total = total.plus(suite.count)
        return total

    @property
    def kinds(self) -> dict[str, Count]:
        """Sub-scores of all suites together."""
        found: dict[str, Count] = {}
        for suite in self.suites:
            for kind, count in suite.kinds.items():
                found[kind] = found.get(kind, NOTHING).plus(count)
        return found

    @property
    def fault(self) -> Fault:
        """Whose fault the outcome is."""
        return self.outcome.fault

    @property
    def published(self) -> dict[str, object]:
        """The category's part of `result.json`."""
        passed = self.outcome.published_pass
        if passed == -1:
            return {"pass": -1, "score": -1, "message": None}
        if passed == 0:
            return {"pass": 0, "score": -1, "message": self.message}
        return {"pass": 1, "score": self.count.score, "message": None}

    @property
    def message(self) -> str:
        """What went wrong, as text; empty where nothing did."""
        return self.problem.message if self.problem is not None else ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFacts:
    """What the model was kept from."""

    kind: str
    refused: tuple[str, ...] = ()
    open_doors: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    note: str = ""
    sentence: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A whole run.

    Attributes:
        could_not_start: the model could not be loaded at all.
        resumed: how many answers came from an earlier run's journal.
        warnings: sentences about the data.
    """

    mode: Mode
    out: str
    categories: tuple[CategoryResult, ...]
    could_not_start: bool = False
    model: str | None = None
    model_digest: str | None = None
    form: str | None = None
    config: str = ""
    config_version: str | None = None
    work: str = ""
    sandbox: SandboxFacts | None = None
    limits: Mapping[str, object] = dataclasses.field(default_factory=dict)
    on_error: str = "fail"
    seed: int | None = None
    jobs: int = 1
    starts: int = 0
    resumed: int = 0
    memory_bytes: int = 0
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    host: Mapping[str, object] = dataclasses.field(default_factory=dict)
    started_at: str = ""
    elapsed_s: float = 0.0

    @property
    def failed(self) -> tuple[CategoryResult, ...]:
        """The categories that were not scored though there was a model."""
        return tuple(result for result in self.categories if result.outcome.published_pass == 0)

    @property
    def exit_code(self) -> int:
        """0 all scored or without a model, 1 a category failed, 2 the run could not start."""
        if self.could_not_start:
            return 2
        return 1 if self.failed else 0
