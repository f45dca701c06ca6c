"""Where answers go as they come: into the journal, or into a list that travels back from another machine.

Refuses to judge them.
"""

import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from iqeval import events
from iqeval.evaluate import run_job
from iqeval.journal import Journal
from iqeval.outcome import Problem
from iqeval.questions import SuiteFacts
from iqeval.sandbox.choose import Enforced
from iqeval.tasks import Job, JobEnd, Task

if TYPE_CHECKING:
    from iqeval.record import SandboxFacts

_LOG_BYTES = 10 << 20


def sandbox_facts(enforced: Enforced) -> "SandboxFacts":
    """Return what was enforced, as the record keeps it."""
    from iqeval.record import SandboxFacts  # the first child starts before records are of use

    return SandboxFacts(
        kind=enforced.kind.value,
        refused=tuple(dict.fromkeys(enforced.refused)),
        open_doors=enforced.open_doors,
        passed_over=enforced.passed_over,
        note=enforced.note,
        sentence=enforced.sentence,
    )


class JournalRecorder:
    """Puts what comes into the journal and tells who listens."""

    def __init__(self, journal: Journal, facts: Mapping[str, SuiteFacts], tell: events.Listener) -> None:
        self._journal = journal
        self._facts = facts
        self._tell = tell
        self._told = False

    def answer(self, task: Task, index: int, digest: str, elapsed_ms: float, prediction: object) -> None:
        """Keep one answer."""
        self._journal.answer(task.category, task.suite, index, digest, elapsed_ms, prediction)
        self._tell(events.Asked(category=task.category, failed=False))

    def problem(self, task: Task, index: int, digest: str, problem: Problem) -> None:
        """Keep a question that failed in a category that goes on."""
        self._journal.problem(task.category, task.suite, index, digest, problem)
        self._tell(events.Asked(category=task.category, failed=True))

    def whole(self, task: Task, count: int) -> None:
        """Keep that a suite given whole was answered whole."""
        self._journal.whole(task.category, task.suite, self._facts[task.suite].digest)

    def started(self, enforced: Enforced) -> None:
        """Note what the first child is kept from."""
        if not self._told:
            self._told = True
            self._tell(events.Confined(sandbox=sandbox_facts(enforced)))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a job on another machine would have told a recorder."""

    name: str
    arguments: tuple[object, ...]

    def give(self, recorder: JournalRecorder) -> None:
        """Tell a recorder what this says."""
        getattr(recorder, self.name)(*self.arguments)


class _Collector:
    """A recorder that keeps everything until it can be sent back."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def answer(self, task: Task, index: int, digest: str, elapsed_ms: float, prediction: object) -> None:
        """Keep one answer."""
        self.entries.append(Entry(name="answer", arguments=(task, index, digest, elapsed_ms, prediction)))

    def problem(self, task: Task, index: int, digest: str, problem: Problem) -> None:
        """Keep a question that failed in a category that goes on."""
        self.entries.append(Entry(name="problem", arguments=(task, index, digest, problem)))

    def whole(self, task: Task, count: int) -> None:
        """Keep that a suite given whole was answered whole."""
        self.entries.append(Entry(name="whole", arguments=(task, count)))

    def started(self, enforced: Enforced) -> None:
        """The job's end carries it."""


def run_elsewhere(job: Job) -> tuple[JobEnd, list[Entry]]:
    """Work through a job on whatever machine this runs on, and return all that came of it."""
    collector = _Collector()
    end = run_job(job, collector)
    return end, collector.entries


class BoundedLog:
    """The file for what the model prints: made when there is something to put there, and of limited size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _LOG_BYTES
        self._lock = threading.Lock()

    def __enter__(self) -> "BoundedLog":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, block: bytes) -> int:
        """Keep a block, as far as there is room."""
        with self._lock:
            if self._left > 0:
                part = block[: self._left]
                self._left -= len(part)
                with self._path.open("ab") as stream:
                    stream.write(part)
                    if self._left <= 0:
                        stream.write(b"\n[more was printed and not kept]\n")
        return len(block)
