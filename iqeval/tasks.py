"""What there is to do, as values: tasks, dealt out to jobs, and how they end. A job can travel to another machine.

Refuses to do any of it: `evaluate` does.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from pathlib import Path

from iqeval.outcome import Outcome, Problem
from iqeval.protocol import Form
from iqeval.questions import Config
from iqeval.sandbox.base import Limits, View, Wanted
from iqeval.sandbox.choose import Enforced


class OnError(enum.Enum):
    """What a question that fails does to its category."""

    FAIL = "fail"
    CONTINUE = "continue"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A suite of a category, or a part of it: questions `start` to `stop`.

    A model that takes suites whole cannot be given a part: the first part then stands for all of it.
    """

    category: str
    suite: str
    start: int = 0
    stop: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one child at a time works through; values only, so that it can travel to another machine.

    Attributes:
        categories: all categories of the config, in order: the model is asked for an object for each.
        answered: (category, suite) → a byte a question, 1 where the answer is known from an earlier run.
    """

    entry: str
    categories: tuple[str, ...]
    tasks: tuple[Task, ...]
    data_root: Path
    view: View
    limits: Limits
    sandbox: Wanted = Wanted.AUTO
    on_error: OnError = OnError.FAIL
    seed: int | None = None
    sys_path: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    extra_env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    answered: Mapping[tuple[str, str], bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CategoryEnd:
    """How a category ended in one job; `at` orders the failures of a category that several jobs share."""

    category: str
    outcome: Outcome
    problem: Problem | None = None
    at: tuple[int, int] = (0, 0)
    whole_run: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """What became of a job."""

    ends: tuple[CategoryEnd, ...]
    enforced: Enforced | None
    form: Form | None
    models: Mapping[str, str | None]
    memory_bytes: int = 0
    starts: int = 0


def plan_tasks(
    config: Config, categories: Sequence[str], counts: Mapping[str, int], *, jobs: int, split: bool
) -> list[tuple[Task, ...]]:
    """Deal suites, or parts of them, out to as many children as there are to be; one child keeps the published order."""
    suites = [(category, suite) for category in categories for suite in config.categories[category]]
    if jobs <= 1:
        return [tuple(Task(category=category, suite=suite) for category, suite in suites)]
    groups: list[list[Task]] = [[] for _ in range(jobs)]
    if split:
        for number, (category, suite) in enumerate(suites):
            count = counts[suite]
            edges = [count * part // jobs for part in range(jobs + 1)]
            for part in range(jobs):
                stop = None if part == jobs - 1 else edges[part + 1]
                if edges[part] < edges[part + 1] or count == part == 0:
                    groups[(number + part) % jobs].append(
                        Task(category=category, suite=suite, start=edges[part], stop=stop)
                    )
    else:
        # Whole categories, the largest first, each to whoever has least to do.
        sizes = {
            category: sum(counts[suite] for suite in config.categories[category]) for category in categories
        }
        load = [0] * jobs
        for category in sorted(categories, key=lambda name: -sizes[name]):
            lightest = load.index(min(load))
            load[lightest] += sizes[category] + 1
            groups[lightest] += [
                Task(category=category, suite=suite) for suite in config.categories[category]
            ]
    return [tuple(group) for group in groups if group]
