"""Runs a model on the suites of a config and scores it: read, ask, score, write.

The recipe alone: `jobs` says what a child sees, `evaluate` starts children and asks, `surveys` reads the suites, `dispatch`
sets jobs to work, `journal` keeps answers, `conclude` scores and writes. Refuses to let the model near any of them: results
are written by this process, after the model is gone.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from iqeval import events
from iqeval import journal as journals
from iqeval.dispatch import Course, run_jobs
from iqeval.entry import Entry, model_digest, read_entry
from iqeval.errors import EntryError, SuiteError, UsageError
from iqeval.evaluate import digest_of, start_child
from iqeval.jobs import job_for, with_images
from iqeval.journal import Ended, Journal
from iqeval.outcome import Outcome, Problem
from iqeval.outputs import LOG, remove_old, write_no_result
from iqeval.recorder import BoundedLog, JournalRecorder, sandbox_facts
from iqeval.sandbox.choose import Opening, scratch_folder
from iqeval.settings import Places, Settings
from iqeval.suites import load_config, question_path, read_questions
from iqeval.tasks import Job, plan_tasks

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from iqeval.record import CategoryResult, RunRecord
    from iqeval.surveys import Surveyed

__all__ = ["Settings", "run"]


def run(
    model: Path,
    config: Path,
    settings: Settings | None = None,
    *,
    executor: "Executor | None" = None,
    on_event: events.Listener = events.ignore,
    env: Mapping[str, str] | None = None,
) -> "RunRecord":
    """Run a model and write `output.answer.json`, `result.json` (not in server mode) and `report.json`.

    Args:
        model: the model's folder, with its `entry.json`.
        config: the file that names the suites; questions lie beside it.
        settings: how to run; the defaults of the command line where it is left out.
        executor: where the children are started, instead of threads of this process; jobs are plain values and name files
            by path, so any executor whose workers see the same disk will do.
        on_event: told what happens, from whatever thread it happens in.
        env: the environment of which a child gets the harmless part; None is this process's own.

    Raises:
        SuiteError: the config cannot be read.
        UsageError: folders or options that do not fit.
        SandboxUnavailable: no sandbox works where one is required.
    """
    settings = settings or Settings()
    places = Places.of(model, config, settings)
    return _Run(places, settings, executor, on_event, os.environ if env is None else env).run()


class _Run:
    def __init__(
        self,
        places: Places,
        settings: Settings,
        executor: "Executor | None",
        on_event: events.Listener,
        env: Mapping[str, str],
    ) -> None:
        self.places = places
        self.settings = settings
        self.executor = executor
        self.on_event = on_event
        self.env = env
        self.started_at = datetime.now(UTC)
        self.since = time.monotonic()
        self.warnings: list[str] = []
        self.digest: str | None = None
        self.resumed = 0

    def run(self) -> "RunRecord":
        places = self.places
        if places.work == Path("/"):
            raise UsageError(
                "the work root is /; give the folder that holds train_data and group_data with -w"
            )
        for folder in (places.work, places.out):
            folder.mkdir(parents=True, exist_ok=True)
        remove_old(places.out)
        try:
            self.config = load_config(places.config)
        except SuiteError:
            write_no_result(places.out)
            raise
        try:
            entry = read_entry(places.model)
        except EntryError as exc:
            return self._not_started(Problem(outcome=Outcome.START_FAILED, text=str(exc)))
        self.digest = model_digest(entry.folder)
        with self._journal(entry) as journal, ExitStack() as stack:
            # The log is made when there is something to put there, the child is started before the suites are read: both
            # come up while this process reads, and loads what it needs only then.
            log = stack.enter_context(BoundedLog(places.out / LOG))
            job = self._job(entry, stack.enter_context(scratch_folder()))
            first = self._first_child(job, log)
            if first is not None:
                stack.callback(first.close)
            from iqeval.conclude import conclude, write_conclusion
            from iqeval.surveys import survey_all

            surveyed = survey_all(
                self.config, places, scored=not self.settings.server, on_event=self.on_event
            )
            self.warnings += surveyed.warnings
            seeing = with_images(job, surveyed.images)
            if seeing is not job and first is not None:
                first.close()  # it was started without the images that the questions show
                first = None
            course = self._ask(journal, surveyed, seeing, first, log)
            stack.close()
            conclusion = conclude(
                journal,
                self.config,
                surveyed.facts,
                course.models,
                data_root=places.data_root,
                answer_root=None if self.settings.server else places.answer_root,
                on_event=self.on_event,
                warn=self.warnings.append,
            )
            record = self._record(conclusion.results, course, could_not_start=conclusion.could_not_start)
            write_conclusion(places.out, conclusion, record, self.config, data_root=places.data_root)
            return record

    # --- before it is asked -------------------------------------------------------------------------------------

    def _journal(self, entry: Entry) -> Journal:
        path = self.places.out / journals.FOLDER / journals.FILE
        identity: dict[str, object] = {
            "model": self.digest,
            "entry": entry.module,
            "seed": self.settings.seed,
            "on_error": self.settings.on_error.value,
        }
        if self.settings.resume:
            found, reason = Journal.reopen(path, identity)
            if found is not None:
                return found
            self.on_event(events.Note(text=f"nothing to resume: {reason}; starting from the first question"))
        return Journal.begin(path, identity)

    def _job(self, entry: Entry, scratch: Path) -> Job:
        from iqeval.extractions import FOR_CHILD, write_for_child

        known = write_for_child(self.places.work, scratch / FOR_CHILD)
        return job_for(entry, self.config, self.places, self.settings, extractions=known, env=self.env)

    def _first_child(self, job: Job, log: BoundedLog) -> Opening | None:
        """Start a child, unless it may turn out that there is nothing to ask here."""
        if self.settings.resume or self.executor is not None or not self.config.asked:
            return None
        return start_child(job, log=log)

    # --- ask ----------------------------------------------------------------------------------------------------

    def _ask(
        self, journal: Journal, surveyed: "Surveyed", job: Job, first: Opening | None, log: BoundedLog
    ) -> Course:
        totals = {
            category: surveyed.total(self.config, category)
            for category in self.config.asked
            if category not in surveyed.broken
        }
        for category, problem in surveyed.broken.items():
            journal.ended[category] = Ended(outcome=Outcome.DATA_ERROR, problem=problem)
        answered = self._answered(journal, surveyed, totals)
        self.resumed = sum(sum(known) for known in answered.values())
        self.on_event(events.Planned(totals=totals, known=self.resumed))
        left = [category for category in totals if category not in journal.ended]
        if not left and (self.config.asked or not self.config.categories):
            return Course()
        counts = {suite: facts.count for suite, facts in surveyed.facts.items()}
        groups = plan_tasks(self.config, left, counts, jobs=self.settings.jobs, split=self.settings.split)
        course = run_jobs(
            [dataclasses.replace(job, tasks=tasks, answered=answered) for tasks in groups],
            JournalRecorder(journal, surveyed.facts, self.on_event),
            log=log,
            first=first,
            executor=self.executor,
        )
        for category in left:
            journal.end(category, course.ended(category, surveyed.content(self.config, category)))
        return course

    def _answered(
        self, journal: Journal, surveyed: "Surveyed", totals: Mapping[str, int]
    ) -> dict[tuple[str, str], bytes]:
        if not self.settings.resume:
            return {}
        found = {}
        for category, ended in list(journal.ended.items()):
            stale = category in totals and ended.content != surveyed.content(self.config, category)
            if ended.outcome is Outcome.INTERNAL or stale:
                del journal.ended[category]
        for category in totals:
            for suite in self.config.categories[category]:
                questions = read_questions(question_path(self.places.data_root, suite))
                known = journal.answered(
                    category, suite, questions, digest_of, content=surveyed.facts[suite].digest
                )
                if known:
                    found[(category, suite)] = known
        return found

    # --- record -------------------------------------------------------------------------------------------------

    def _record(
        self, results: "tuple[CategoryResult, ...]", course: Course, *, could_not_start: bool
    ) -> "RunRecord":
        from iqdata import __version__
        from iqeval.record import Mode, RunRecord

        settings, places = self.settings, self.places
        limits = settings.limits
        return RunRecord(
            mode=Mode.SERVER if settings.server else Mode.CLIENT,
            out=str(places.out),
            categories=results,
            could_not_start=could_not_start,
            model=str(places.model),
            model_digest=self.digest,
            form=course.form,
            config=str(places.config),
            config_version=self.config.version,
            work=str(places.work),
            sandbox=None if course.enforced is None else sandbox_facts(course.enforced),
            limits={field.name: getattr(limits, field.name) for field in dataclasses.fields(limits)},
            on_error=settings.on_error.value,
            seed=settings.seed,
            jobs=settings.jobs,
            starts=course.starts,
            resumed=self.resumed,
            memory_bytes=course.memory_bytes,
            warnings=tuple(self.warnings),
            versions={"iqeval": __version__, "python": ".".join(map(str, sys.version_info[:3]))},
            host={"system": os.uname().sysname, "machine": os.uname().machine, "cpus": os.cpu_count()},
            started_at=self.started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            elapsed_s=time.monotonic() - self.since,
        )

    def _not_started(self, problem: Problem) -> "RunRecord":
        """Record a run that could not begin: every category with suites has failed, in all three files."""
        from iqeval.conclude import write_refusal
        from iqeval.record import CategoryResult

        results = tuple(
            CategoryResult(
                category=category,
                outcome=problem.outcome,
                problem=dataclasses.replace(problem, category=category),
            )
            for category in self.config.asked
        )
        record = self._record(results, Course(), could_not_start=True)
        write_refusal(self.places.out, record)
        return record
