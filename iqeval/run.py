"""Runs a model on the suites of a config and scores it: read, ask, score, write.

The parts: `suites` reads, `evaluate` asks through sandboxed children, `journal` keeps, `score` counts, `results` writes.
Refuses to let the model near any of them: results are written by this process, after the model is gone.
"""

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from iqeval import events
from iqeval import journal as journals
from iqeval.entry import Entry, model_digest, read_entry
from iqeval.errors import EntryError, SuiteError, UsageError
from iqeval.evaluate import digest_of, run_job
from iqeval.journal import Ended, Journal
from iqeval.leakage import leaks
from iqeval.outcome import Outcome, Problem
from iqeval.questions import SuiteFacts
from iqeval.record import CategoryResult, Mode, RunRecord
from iqeval.recorder import BoundedLog, JournalRecorder, run_elsewhere, sandbox_facts
from iqeval.results import (
    LOG,
    OUTPUTS,
    PREDICTIONS,
    REPORT,
    RESULT,
    remove_old,
    write_predictions,
    write_report,
    write_result,
)
from iqeval.sandbox.base import PACKAGE, Limits, View, Wanted
from iqeval.sandbox.choose import Enforced, scratch_folder
from iqeval.scoring import Judged, Predictions, question_rows, score_category
from iqeval.suites import answer_path, load_config, question_path, read_questions, survey
from iqeval.tasks import CategoryEnd, Job, JobEnd, OnError, plan_tasks

if TYPE_CHECKING:
    from concurrent.futures import Executor

_LARGE_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run.

    Attributes:
        answers: the folder with the answer files; None is the config's own.
        out: where results go; None is the work root.
        server: no answers anywhere near; a sandbox is required; nothing is scored.
        jobs: how many children side by side.
        split: whether a suite may be cut into parts (for models that are asked question by question).
        readable: folders that the model may read besides its own and the areas.
    """

    work: Path | None = None
    answers: Path | None = None
    out: Path | None = None
    server: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)
    sandbox: Wanted | None = None
    network: bool = False
    jobs: int = 1
    split: bool = False
    on_error: OnError = OnError.FAIL
    resume: bool = False
    seed: int | None = None
    readable: tuple[Path, ...] = ()

    @property
    def sandbox_wanted(self) -> Wanted:
        """Which sandboxes may be used: those asked for, or all, or in server mode the real ones."""
        return self.sandbox or (Wanted.REQUIRE if self.server else Wanted.AUTO)


def run(
    model: Path,
    config: Path,
    settings: Settings | None = None,
    *,
    executor: "Executor | None" = None,
    on_event: events.Listener = events.ignore,
    env: Mapping[str, str] | None = None,
) -> RunRecord:
    """Run a model and write `output.answer.json`, `result.json` (not in server mode) and `report.json`.

    Args:
        model: the model's folder, with its `entry.json`.
        settings: how to run; the defaults of the command line where it is left out.
        config: the file that names the suites; questions lie beside it.
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
    return _Run(model, config, settings, executor, on_event, os.environ if env is None else env).run()


class _Run:
    def __init__(
        self,
        model: Path,
        config: Path,
        settings: Settings,
        executor: "Executor | None",
        on_event: events.Listener,
        env: Mapping[str, str],
    ) -> None:
        self.settings = settings
        self.executor = executor
        self.on_event = on_event
        self.env = env
        self.started_at = datetime.now(UTC)
        self.since = time.monotonic()
        # All paths mean what they mean to the caller, before any folder is changed.
        self.model = model.absolute()
        self.config_path = config.absolute()
        self.data_root = self.config_path.parent
        self.answer_root = (settings.answers or self.data_root).absolute()
        self.work = Path(os.path.normpath((settings.work or Path()).absolute()))
        self.out = (settings.out or self.work).absolute()
        self.warnings: list[str] = []
        self.enforced: Enforced | None = None
        self.resumed = 0

    def run(self) -> RunRecord:
        if self.work == Path("/"):
            raise UsageError(
                "the work root is /; give the folder that holds train_data and group_data with -w"
            )
        for folder in (self.work, self.out):
            folder.mkdir(parents=True, exist_ok=True)
        remove_old(self.out)
        try:
            self.config = load_config(self.config_path)
        except SuiteError:
            write_result(self.out / RESULT, {})
            raise
        try:
            entry = read_entry(Path(os.path.normpath(self.model)))
        except EntryError as exc:
            return self._not_started(Problem(outcome=Outcome.START_FAILED, text=str(exc)))
        self.entry = entry
        self.facts, broken = self._survey()
        self.digest = model_digest(entry.folder)
        self._warn_about_leaks()
        with self._journal(entry) as journal:
            totals = {
                category: sum(self.facts[suite].count for suite in self.config.categories[category])
                for category in self.config.asked
                if category not in broken
            }
            for category, problem in broken.items():
                journal.ended[category] = Ended(outcome=Outcome.DATA_ERROR, problem=problem)
            answered = self._answered(journal, totals)
            self.resumed = sum(sum(known) for known in answered.values())
            self.on_event(events.Planned(totals=totals, known=self.resumed))
            ends = self._ask(journal, answered, totals)
            return self._finish(journal, ends)

    # --- read ---------------------------------------------------------------------------------------------------

    def _survey(self) -> tuple[dict[str, SuiteFacts], dict[str, Problem]]:
        """Read every suite once; what cannot be used is the data's fault and fails its category alone."""
        facts: dict[str, SuiteFacts] = {}
        broken: dict[str, Problem] = {}
        self._say_if_large()
        for category in self.config.asked:
            for suite in self.config.categories[category]:
                try:
                    if suite not in facts:
                        facts[suite] = survey(self.data_root, suite)
                    if not self.settings.server and not answer_path(self.answer_root, suite).is_file():
                        raise SuiteError(
                            f"{answer_path(self.answer_root, suite)}: no such file; the suite cannot be scored"
                        )
                except SuiteError as exc:
                    broken.setdefault(
                        category,
                        Problem(outcome=Outcome.DATA_ERROR, text=str(exc), suite=suite, category=category),
                    )
                    continue
                self._warn_about(facts[suite])
        return facts, broken

    def _say_if_large(self) -> None:
        suites = {suite for names in self.config.categories.values() for suite in names}
        paths = [question_path(self.data_root, suite) for suite in suites]
        size = sum(path.stat().st_size for path in paths if path.is_file())
        if size >= _LARGE_BYTES:
            self.on_event(events.Note(text=f"reading {size >> 20} MB of questions"))

    def _warn_about(self, facts: SuiteFacts) -> None:
        if facts.duplicate_groups:
            self.warnings.append(
                f"{facts.name}: {facts.duplicate_questions} of {facts.count} questions occur more than once"
                f" ({facts.duplicate_groups} groups with the same stem and options)"
            )
        if facts.repeated_ids:
            self.warnings.append(
                f"{facts.name}: {facts.repeated_ids} questions repeat an id; the first answer to an id counts"
            )

    def _warn_about_leaks(self) -> None:
        own = {self.data_root, self.answer_root}
        folders = [self.work / "train_data", self.work / "group_data", self.model]
        places = [folder for folder in folders if folder.is_dir()]
        for text in leaks(places, self.facts.values(), shown_from=self.work, leave_out=own):
            self.warnings.append(text)

    def _journal(self, entry: Entry) -> Journal:
        path = self.out / journals.FOLDER / journals.FILE
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

    def _answered(self, journal: Journal, totals: Mapping[str, int]) -> dict[tuple[str, str], bytes]:
        if not self.settings.resume:
            return {}
        found = {}
        for category, ended in list(journal.ended.items()):
            stale = category in totals and ended.content != self._content_of(category)
            if ended.outcome is Outcome.INTERNAL or stale:
                del journal.ended[category]
        for category in totals:
            for suite in self.config.categories[category]:
                questions = read_questions(question_path(self.data_root, suite))
                known = journal.answered(
                    category, suite, questions, digest_of, content=self.facts[suite].digest
                )
                if known:
                    found[(category, suite)] = known
        return found

    def _content_of(self, category: str) -> str:
        return " ".join(self.facts[suite].digest for suite in self.config.categories[category])

    # --- ask ----------------------------------------------------------------------------------------------------

    def _ask(
        self, journal: Journal, answered: Mapping[tuple[str, str], bytes], totals: Mapping[str, int]
    ) -> "_Ends":
        left = [category for category in totals if category not in journal.ended]
        ends = _Ends(models={}, form=None, starts=0, memory_bytes=0)
        if not left and (self.config.asked or not self.config.categories):
            return ends
        with scratch_folder() as scratch:
            jobs = self._jobs(left, answered, self._extractions(scratch))
            stop = threading.Event()
            with BoundedLog(self.out / LOG) as log:
                recorder = JournalRecorder(journal, self.facts, self.on_event)
                if self.executor is not None:
                    found = self._on_executor(self.executor, jobs, recorder)
                elif len(jobs) == 1:
                    found = [run_job(jobs[0], recorder, log=log)]
                else:
                    from concurrent.futures import (
                        ThreadPoolExecutor,  # with logging behind it: only where it is used
                    )

                    with ThreadPoolExecutor(len(jobs)) as pool:
                        waiting = [
                            pool.submit(run_job, job, recorder, cancelled=stop.is_set, log=log)
                            for job in jobs
                        ]
                        try:
                            found = [future.result() for future in waiting]
                        except BaseException:
                            stop.set()
                            raise
        by_category: dict[str, list[CategoryEnd]] = {}
        for end in found:
            ends = ends.plus(end)
            self.enforced = end.enforced or self.enforced
            for category_end in end.ends:
                by_category.setdefault(category_end.category, []).append(category_end)
        for category in left:
            content = self._content_of(category)
            worst = min(by_category.get(category, []), key=_order, default=None)
            if worst is None:
                problem = Problem(
                    outcome=Outcome.INTERNAL,
                    text="the evaluator did not come to this category",
                    category=category,
                )
                journal.end(category, Ended(outcome=Outcome.INTERNAL, problem=problem, content=content))
            else:
                ended = Ended(
                    outcome=worst.outcome, problem=worst.problem, whole_run=worst.whole_run, content=content
                )
                journal.end(category, ended)
        return ends

    def _extractions(self, scratch: Path) -> Path:
        """Write what is known of extractions for the child, which does not see `.iqdata`."""
        from iqeval.extractions import FOR_CHILD, write_for_child

        return write_for_child(self.work, scratch / FOR_CHILD)

    def _on_executor(
        self, executor: "Executor", jobs: Sequence[Job], recorder: JournalRecorder
    ) -> list[JobEnd]:
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

    def _jobs(
        self, categories: Sequence[str], answered: Mapping[tuple[str, str], bytes], extractions: Path
    ) -> list[Job]:
        settings = self.settings
        media = self._media()
        read = [*settings.readable, *media]
        extra_env = {"IQEVAL_DATA_ROOT": str(self.data_root)} if media else {}
        read.append(extractions)
        extra_env["IQEVAL_EXTRACTIONS"] = str(extractions)
        if settings.seed is not None:
            extra_env["PYTHONHASHSEED"] = str(settings.seed % 4294967296)
        view = View(
            work=self.work,
            model=self.entry.folder,
            read=tuple(Path(os.path.normpath(path.absolute())) for path in read),
            hidden=self._hidden(),
            network=settings.network,
        )
        counts = {suite: facts.count for suite, facts in self.facts.items()}
        groups = plan_tasks(self.config, categories, counts, jobs=settings.jobs, split=settings.split)
        return [
            Job(
                entry=self.entry.module,
                categories=tuple(self.config.categories),
                tasks=tasks,
                data_root=self.data_root,
                view=view,
                limits=settings.limits,
                sandbox=settings.sandbox_wanted,
                on_error=settings.on_error,
                seed=settings.seed,
                env=dict(self.env),
                extra_env=extra_env,
                answered=dict(answered),
            )
            for tasks in groups
        ]

    def _media(self) -> list[Path]:
        """Return what shows the questions' images: their folders, or the files alone where other things lie beside them."""
        images = [self.data_root / image for facts in self.facts.values() for image in facts.images]
        mixed = {
            folder: folder == self.data_root
            or any(path.is_dir() or path.suffix == ".json" for path in folder.iterdir())
            for folder in {image.parent for image in images}
        }
        return sorted({image if mixed[image.parent] else image.parent for image in images})

    def _hidden(self) -> tuple[Path, ...]:
        """Return what must stay invisible even where it lies in a folder that the model may read."""
        suites = {suite for names in self.config.categories.values() for suite in names}
        found = [answer_path(root, suite) for root in {self.data_root, self.answer_root} for suite in suites]
        for root in {self.data_root, self.answer_root}:
            found += root.glob("*.answer.json")
        found += [self.out / name for name in (*OUTPUTS, journals.FOLDER)]
        found += [PACKAGE / "suite", self.work / ".iqdata"]
        return tuple(dict.fromkeys(found))

    # --- score and write ----------------------------------------------------------------------------------------

    def _finish(self, journal: Journal, ends: "_Ends") -> RunRecord:
        everything = [
            ended for ended in journal.ended.values() if ended.whole_run and ended.problem is not None
        ]
        named = list(self.config.asked)
        if any(ended.problem is not None and ended.problem.where == "global_pre_run" for ended in everything):
            named = list(self.config.categories)  # as published: then also those without suites
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
                self.config.categories[category],
                ended,
                given,
                facts=self.facts,
                data_root=self.data_root,
                answer_root=None if self.settings.server else self.answer_root,
                model=ends.models.get(category),
                judged=judged,
                warn=self.warnings.append,
            )
            results.append(result)
            self.on_event(events.Finished(result=result))
        self._write_predictions(results, predictions)
        could_not = any(
            ended.whole_run and ended.problem is not None and ended.problem.where != "global_pre_run"
            for ended in everything
        ) and all(result.outcome is not Outcome.OK for result in results)
        record = self._record(results, ends, could_not_start=could_not)
        if not self.settings.server or could_not:
            write_result(self.out / RESULT, {result.category: result.published for result in results})
        rows = question_rows(
            results,
            self.config.categories,
            predictions,
            data_root=self.data_root,
            answer_root=None if self.settings.server else self.answer_root,
            judged=judged,
        )
        write_report(self.out / REPORT, record, rows)
        return record

    def _write_predictions(
        self, results: Sequence[CategoryResult], predictions: Mapping[str, Predictions]
    ) -> None:
        def category_rows() -> Iterator[tuple[str, int, str | None, Mapping[str, Iterable[object]] | None]]:
            for result in results:
                ended_ok = result.outcome is Outcome.OK or (
                    result.problem is not None and result.problem.where == "scoring"
                )
                suites = None
                if ended_ok:
                    given = predictions[result.category]
                    suites = {
                        suite: given.in_order(suite) for suite in self.config.categories[result.category]
                    }
                passed = 1 if ended_ok else result.outcome.published_pass
                yield result.category, passed, result.message or None if not ended_ok else None, suites

        write_predictions(self.out / PREDICTIONS, category_rows())

    def _record(
        self, results: Sequence[CategoryResult], ends: "_Ends", *, could_not_start: bool
    ) -> RunRecord:
        from iqdata import __version__

        limits = self.settings.limits
        return RunRecord(
            mode=Mode.SERVER if self.settings.server else Mode.CLIENT,
            out=str(self.out),
            categories=tuple(results),
            could_not_start=could_not_start,
            model=str(self.model),
            model_digest=getattr(self, "digest", None),
            form=ends.form,
            config=str(self.config_path),
            config_version=self.config.version,
            work=str(self.work),
            sandbox=None if self.enforced is None else sandbox_facts(self.enforced),
            limits={field.name: getattr(limits, field.name) for field in dataclasses.fields(limits)},
            on_error=self.settings.on_error.value,
            seed=self.settings.seed,
            jobs=self.settings.jobs,
            starts=ends.starts,
            resumed=self.resumed,
            memory_bytes=ends.memory_bytes,
            warnings=tuple(self.warnings),
            versions={"iqeval": __version__, "python": ".".join(map(str, sys.version_info[:3]))},
            host={"system": os.uname().sysname, "machine": os.uname().machine, "cpus": os.cpu_count()},
            started_at=self.started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            elapsed_s=time.monotonic() - self.since,
        )

    def _not_started(self, problem: Problem) -> RunRecord:
        """Record a run that could not begin: every category with suites has failed, in all three files."""
        results = [
            CategoryResult(
                category=category,
                outcome=problem.outcome,
                problem=dataclasses.replace(problem, category=category),
            )
            for category in self.config.asked
        ]
        write_predictions(
            self.out / PREDICTIONS, ((result.category, 0, result.message, None) for result in results)
        )
        record = self._record(
            results, _Ends(models={}, form=None, starts=0, memory_bytes=0), could_not_start=True
        )
        write_result(self.out / RESULT, {result.category: result.published for result in results})
        write_report(self.out / REPORT, record, ())
        return record


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    models: Mapping[str, str | None]
    form: str | None
    starts: int
    memory_bytes: int

    def plus(self, end: JobEnd) -> "_Ends":
        return _Ends(
            models={**self.models, **end.models},
            form=self.form or (end.form.value if end.form else None),
            starts=self.starts + end.starts,
            memory_bytes=max(self.memory_bytes, end.memory_bytes),
        )


def _order(end: CategoryEnd) -> tuple[int, tuple[int, int]]:
    """Failures come first, the earliest question first: what one child alone would have met first."""
    return (0 if end.outcome not in (Outcome.OK, Outcome.NO_MODEL) else 1, end.at)
