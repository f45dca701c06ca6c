"""Sets jobs to work: here one after the other, in threads side by side, or on an executor; and says how all of it ended.

Refuses to know what is asked: it moves jobs and their ends.
"""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from iqeval.evaluate import run_job
from iqeval.journal import Ended
from iqeval.outcome import Outcome, Problem
from iqeval.recorder import JournalRecorder, run_elsewhere
from iqeval.sandbox.choose import Enforced, Opening
from iqeval.sandbox.session import Log
from iqeval.tasks import CategoryEnd, Job, JobEnd

if TYPE_CHECKING:
    from concurrent.futures import Executor


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What became of all jobs together.

    Attributes:
        ends: how each category ended in each job that worked on it.
        models: category → the model's class name, or None.
        form: which of the two published functions the entry module has.
    """

    ends: tuple[CategoryEnd, ...] = ()
    models: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    form: str | None = None
    enforced: Enforced | None = None
    starts: int = 0
    memory_bytes: int = 0

    def plus(self, end: JobEnd) -> Self:
        """Return this with one job more."""
        return dataclasses.replace(
            self,
            ends=self.ends + end.ends,
            models={**self.models, **end.models},
            form=self.form or (end.form.value if end.form else None),
            enforced=end.enforced or self.enforced,
            starts=self.starts + end.starts,
            memory_bytes=max(self.memory_bytes, end.memory_bytes),
        )

    def ended(self, category: str, content: str) -> Ended:
        """Return how a category ended: as its earliest failure says, which is what one child alone would have met first."""
        worst = min((end for end in self.ends if end.category == category), key=_order, default=None)
        if worst is not None:
            return Ended(
                outcome=worst.outcome, problem=worst.problem, whole_run=worst.whole_run, content=content
            )
        problem = Problem(
            outcome=Outcome.INTERNAL,
            text="the evaluator did not come to this category",
            category=category,
        )
        return Ended(outcome=Outcome.INTERNAL, problem=problem, content=content)


def run_jobs(
    jobs: Sequence[Job],
    recorder: JournalRecorder,
    *,
    log: Log,
    first: Opening | None = None,
    executor: "Executor | None" = None,
) -> Course:
    """Work through all jobs.

    Args:
        jobs: what there is to do, side by side.
        recorder: gets answers and failures.
        log: gets what the children print.
        first: the first job's child, where it is already on its way.
        executor: where to work, instead of threads of this process.

    Raises:
        SandboxUnavailable: none of the sandboxes that may be used works here.
    """
    if executor is not None:
        found = _on_executor(executor, jobs, recorder)
    elif len(jobs) == 1:
        found = [run_job(jobs[0], recorder, log=log, first=first)]
    else:
        found = _in_threads(jobs, recorder, log, first)
    course = Course()
    for end in found:
        course = course.plus(end)
    return course


def _in_threads(
    jobs: Sequence[Job], recorder: JournalRecorder, log: Log, first: Opening | None
) -> list[JobEnd]:
    from concurrent.futures import ThreadPoolExecutor  # with logging behind it: only where it is used

    stop = threading.Event()
    with ThreadPoolExecutor(len(jobs)) as pool:
        waiting = [
            pool.submit(
                run_job,
                job,
                recorder,
                cancelled=stop.is_set,
                log=log,
                first=first if number == 0 else None,
            )
            for number, job in enumerate(jobs)
        ]
        try:
            return [future.result() for future in waiting]
        except BaseException:
            stop.set()
            raise


def _on_executor(executor: "Executor", jobs: Sequence[Job], recorder: JournalRecorder) -> list[JobEnd]:
    waiting = [executor.submit(run_elsewhere, job) for job in jobs]
    found = []
    for future in waiting:
        end, entries = future.result()
        for entry in entries:
            entry.give(recorder)
        if end.enforced is not None:
            recorder.started(end.enforced)
        found.append(end)
    return found


def _order(end: CategoryEnd) -> tuple[int, tuple[int, int]]:
    return (0 if end.outcome not in (Outcome.OK, Outcome.NO_MODEL) else 1, end.at)
