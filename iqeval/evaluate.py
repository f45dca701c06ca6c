"""Asks a model a list of suites through one child after the other, and passes on every answer as it comes.

A category that fails harms no other: its child is ended where it has to be, and a new one takes the rest. Refuses to know
answers and scores, and to keep predictions: they go to a recorder at once.
"""

import dataclasses
import hashlib
import itertools
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

from iqeval import protocol
from iqeval.errors import SandboxUnavailable, SuiteError
from iqeval.outcome import Outcome, Problem
from iqeval.protocol import Do, Form
from iqeval.sandbox.base import Kind
from iqeval.sandbox.choose import Enforced, Opening
from iqeval.sandbox.session import Garbage, Gone, Log, Session, Stopped, TimeUp, TooMuch
from iqeval.suites import question_path, read_questions
from iqeval.tasks import CategoryEnd, Job, JobEnd, OnError, Task
from iqeval.wire import prediction_fault

_WINDOW = 64
_WINDOW_BYTES = 256 * 1024
_MOST_RESTARTS = 20
_TO_CLOSE_S = 10.0
_MOST_PRINTED = 100
"""So many failing questions keep what was printed before them; a model that fails at each of a million keeps no more."""


class Recorder(Protocol):
    """Where answers and failures go, as they come."""

    def answer(self, task: Task, index: int, digest: str, elapsed_ms: float, prediction: object) -> None:
        """Keep one answer."""

    def problem(self, task: Task, index: int, digest: str, problem: Problem) -> None:
        """Keep a question that failed in a category that goes on."""

    def whole(self, task: Task, count: int) -> None:
        """A suite that was given whole has been answered whole, with `count` predictions."""

    def started(self, enforced: Enforced) -> None:
        """A child has been confined."""


class _CategoryFailed(Exception):
    def __init__(self, problem: Problem, *, died: bool, whole_run: bool = False, suite_no: int = 0) -> None:
        super().__init__(problem.text)
        self.problem = problem
        self.died = died
        self.whole_run = whole_run
        self.suite_no = suite_no


def digest_of(question_json: str) -> str:
    """Return the short hash by which a question is known again."""
    return hashlib.blake2b(question_json.encode("ascii"), digest_size=8).hexdigest()


def start_child(job: Job, *, log: Log | None = None, kinds: tuple[Kind, ...] | None = None) -> Opening:
    """Start a child for a job and do not wait for it; its tasks need not be known yet."""
    start = {
        "model_dir": str(job.view.model),
        "entry": job.entry,
        "categories": list(job.categories),
        "sys_path": list(job.sys_path),
        "seed": job.seed,
    }
    return Opening(
        job.sandbox,
        view=job.view,
        limits=job.limits,
        start=start,
        env=job.env,
        extra_env=job.extra_env,
        log=log,
        kinds=kinds,
    )


def run_job(
    job: Job,
    recorder: Recorder,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    log: Log | None = None,
    first: Opening | None = None,
) -> JobEnd:
    """Work through a job's tasks and return how each category ended.

    Args:
        job: what there is to do.
        recorder: gets answers and failures as they come.
        cancelled: asked from time to time whether to stop.
        log: gets what the children print.
        first: the job's first child, where it is already on its way.

    Raises:
        SandboxUnavailable: none of the sandboxes that may be used works here.
    """
    with _Worker(job, recorder, cancelled, log, first) as worker:
        return worker.run()


class _Worker:
    def __init__(
        self,
        job: Job,
        recorder: Recorder,
        cancelled: Callable[[], bool],
        log: Log | None,
        first: Opening | None,
    ) -> None:
        self._first = first
        self._job = job
        self._recorder = recorder
        self._cancelled = cancelled
        self._log = log
        self._child: ExitStack | None = None
        self._session: Session | None = None
        self._ready: protocol.Ready | None = None
        self._enforced: Enforced | None = None
        self._kinds: tuple[Kind, ...] | None = None
        self._starts = 0
        self._asked_anything = False
        self._memory = 0
        self._problems = 0
        limit = job.limits.run_s
        self._run_end = None if limit is None else time.monotonic() + limit

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_child()

    def run(self) -> JobEnd:
        ends: list[CategoryEnd] = []
        failed_start: Problem | None = None
        for category, tasks in itertools.groupby(self._job.tasks, key=lambda task: task.category):
            if self._cancelled():
                break
            if failed_start is not None:
                problem = dataclasses.replace(failed_start, category=category)
                ends.append(
                    CategoryEnd(category=category, outcome=problem.outcome, problem=problem, whole_run=True)
                )
                continue
            end = self._category(category, list(tasks))
            ends.append(end)
            if end.whole_run:
                failed_start = end.problem
        return JobEnd(
            ends=tuple(ends),
            enforced=self._enforced,
            form=self._ready.form if self._ready else None,
            models=self._ready.models if self._ready else {},
            memory_bytes=self._memory,
            starts=self._starts,
        )

    # --- one category -----------------------------------------------------------------------------------------

    def _category(self, category: str, tasks: list[Task]) -> CategoryEnd:
        # A child that another category has used may have been left broken by it; what then fails by the child's death
        # is tried once more in a fresh one, so that no category answers for another.
        for attempt in (1, 2):
            used = self._asked_anything
            try:
                return self._try_category(category, tasks)
            except (SandboxUnavailable, Stopped):
                raise
            except _CategoryFailed as failed:
                if failed.died:
                    self._end_child()
                if failed.died and used and attempt == 1 and failed.problem.outcome is Outcome.KILLED:
                    continue
                problem = dataclasses.replace(failed.problem, category=category)
                at = (failed.suite_no, -1 if problem.index is None else problem.index)
                return CategoryEnd(
                    category=category,
                    outcome=problem.outcome,
                    problem=problem,
                    at=at,
                    whole_run=failed.whole_run,
                )
            except Exception:  # noqa: BLE001  # a fault of ours is one category's, and is said to be ours
                self._end_child()
                problem = Problem(outcome=Outcome.INTERNAL, text=traceback.format_exc(), category=category)
                return CategoryEnd(category=category, outcome=Outcome.INTERNAL, problem=problem)
        raise AssertionError("two attempts end in a return")

    def _try_category(self, category: str, tasks: list[Task]) -> CategoryEnd:
        if self._ready is None or category not in self._ready.models:
            self._ensure_child()
        if self._session is not None:
            self._session.forget_output()
        ready = self._ready_now()
        if category in ready.failed:
            problem = Problem(
                outcome=Outcome.START_FAILED,
                text=ready.failed[category],
                where=self._maker(ready),
                printed=self._printed(),
            )
            raise _CategoryFailed(problem, died=False)
        if ready.models.get(category) is None:
            return CategoryEnd(category=category, outcome=Outcome.NO_MODEL)
        for number, task in enumerate(tasks):
            try:
                if ready.form is Form.EVAL:
                    self._whole_suite(task)
                else:
                    self._suite(task)
            except _CategoryFailed as failed:
                failed.suite_no = number
                raise
            except SuiteError as exc:
                self._end_child()
                problem = Problem(outcome=Outcome.DATA_ERROR, text=str(exc), suite=task.suite)
                raise _CategoryFailed(problem, died=True, suite_no=number) from exc
        return CategoryEnd(category=category, outcome=Outcome.OK)

    # --- the child --------------------------------------------------------------------------------------------

    def _ensure_child(self) -> None:
        if self._session is not None:
            return
        child = ExitStack()
        try:
            opening = self._first or start_child(self._job, log=self._log, kinds=self._kinds)
            self._first = None
            session, enforced = child.enter_context(opening)
            self._child, self._session, self._enforced = child, session, enforced
            self._kinds = (enforced.kind,)
            self._starts += 1
            self._asked_anything = False
            session.stop_when(self._cancelled)
            self._recorder.started(enforced)
            self._ready = self._await_start(session)
        except BaseException:
            self._session = self._child = None
            child.close()
            raise

    def _await_start(self, session: Session) -> protocol.Ready:
        """Wait until the model is loaded; whatever goes wrong here is the whole run's."""
        try:
            said = self._receive(session, self._job.limits.start_s)
        except (Gone, TimeUp, TooMuch, Garbage) as exc:
            raise _CategoryFailed(
                self._why(exc, session, "start", self._job.limits.start_s, start=True),
                died=True,
                whole_run=True,
            ) from exc
        if isinstance(said, protocol.Failed):
            outcome = Outcome.MEMORY if said.kind == "memory" else Outcome.START_FAILED
            problem = Problem(
                outcome=outcome,
                text=said.text,
                where="" if said.kind == "entry" else said.where,
                printed=session.printed(),
            )
            raise _CategoryFailed(problem, died=True, whole_run=True)
        if not isinstance(said, protocol.Ready):
            problem = Problem(
                outcome=Outcome.START_FAILED,
                text="the model wrote to the evaluator's channel",
                printed=session.printed(),
            )
            raise _CategoryFailed(problem, died=True, whole_run=True)
        return said

    def _end_child(self) -> None:
        if self._session is not None:
            self._memory = max(self._memory, self._session.usage.memory_bytes)
        if self._child is not None:
            self._child.close()
        self._child = self._session = None

    def _ready_now(self) -> protocol.Ready:
        if self._ready is None:
            raise SandboxUnavailable("the child was not started")
        return self._ready

    def _maker(self, ready: protocol.Ready) -> str:
        return "get_model_object" if ready.form is Form.MODEL else "get_eval_cls"

    def _printed(self) -> str:
        return self._session.printed() if self._session is not None else ""

    def _receive(self, session: Session, within_s: float | None) -> protocol.FromChild:
        if self._run_end is not None:
            left = max(self._run_end - time.monotonic(), 0.0)
            within_s = left if within_s is None else min(within_s, left)
        return session.receive(within_s=within_s)

    def _why(
        self,
        error: Exception,
        session: Session,
        where: str,
        limit: float | None,
        *,
        start: bool = False,
        suite: str = "",
    ) -> Problem:
        """Turn the end of a child into a problem."""
        stack = ""
        match error:
            case TimeUp():
                outcome = Outcome.TIMEOUT
                if self._run_end is not None and time.monotonic() >= self._run_end:
                    text = f"the whole run had {self._job.limits.run_s:g} s"
                else:
                    text = f"no answer within {limit:g} s"
                stack = session.stack()
            case TooMuch():
                outcome = Outcome.MEMORY if error.memory else Outcome.KILLED
                text = str(error)
            case Garbage():
                outcome = Outcome.BAD_ANSWER
                text = f"what came through the evaluator's channel is no answer of an honest model ({error})"
            case _:
                outcome, text = Outcome.KILLED, str(error)
                if "SIGKILL" in text:
                    text += " (by itself, or by the kernel when memory ran out)"
        if start and outcome in (Outcome.KILLED, Outcome.BAD_ANSWER, Outcome.TIMEOUT):
            outcome, text = Outcome.START_FAILED, f"{text}, while the model was being loaded"
        return Problem(
            outcome=outcome,
            text=text,
            where="" if start else where,
            suite=suite,
            printed=session.printed(),
            stack=stack,
        )

    # --- one suite, question by question ------------------------------------------------------------------------

    def _questions(self, task: Task) -> Iterator[tuple[int, object, str]]:
        known = self._job.answered.get((task.category, task.suite), b"")
        path = question_path(self._job.data_root, task.suite)
        for index, question in itertools.islice(enumerate(read_questions(path)), task.start, task.stop):
            if index >= len(known) or not known[index]:
                yield index, question["id"], protocol.question_json(question)

    def _suite(self, task: Task) -> None:
        source = self._questions(task)
        first = next(source, None)
        if first is None:
            return
        waiting: deque[tuple[int, object, str]] = deque([first])
        source_left: Iterator[tuple[int, object, str]] = source
        limit = self._job.limits.suite_s
        end = None if limit is None else time.monotonic() + limit
        for _ in range(_MOST_RESTARTS):
            self._ensure_child()
            if not self._ask(task, waiting, source_left, end):
                return
        raise _CategoryFailed(
            Problem(
                outcome=Outcome.KILLED,
                text=f"its child had to be started again {_MOST_RESTARTS} times",
                suite=task.suite,
            ),
            died=True,
        )

    def _ask(
        self,
        task: Task,
        waiting: "deque[tuple[int, object, str]]",
        source: Iterator[tuple[int, object, str]],
        suite_end: float | None,
    ) -> bool:
        """Ask the waiting questions and then the source's; returns whether the child died and the rest has to go on in a new one."""
        session = self._session_now()
        go_on = self._job.on_error is OnError.CONTINUE
        session.send(protocol.line(Do.OPEN, category=task.category, stop_on_error=not go_on))
        self._asked_anything = True
        asked: deque[tuple[int, object, str]] = deque()
        prepared = False
        try:
            while True:
                while len(asked) < _WINDOW and session.backlog < _WINDOW_BYTES:
                    if (item := waiting.popleft() if waiting else next(source, None)) is None:
                        break
                    session.send(protocol.ask_line(item[0], item[2]))
                    asked.append(item)
                if not asked:
                    break
                said = self._within_suite(session, prepared=prepared, suite_end=suite_end)
                if isinstance(said, protocol.Opened) and not prepared:
                    prepared = True
                    continue
                self._take(task, said, asked)
        except (Gone, TimeUp, TooMuch, Garbage) as exc:
            limits = self._job.limits
            over = suite_end is not None and time.monotonic() >= suite_end
            limit = limits.suite_s if over else limits.question_s if prepared else limits.start_s
            problem = self._why(exc, session, "solve" if prepared else "pre_run", limit, suite=task.suite)
            if prepared and asked:
                problem = dataclasses.replace(problem, index=asked[0][0], question_id=asked[0][1])
            overall = over or (self._run_end is not None and time.monotonic() >= self._run_end)
            if not go_on or not prepared or not asked or overall:
                raise _CategoryFailed(problem, died=True) from exc
            index, _, text = asked.popleft()
            self._recorder.problem(task, index, digest_of(text), problem)
            waiting.extendleft(reversed(asked))
            self._end_child()
            return True
        self._close(session)
        return False

    def _within_suite(
        self, session: Session, *, prepared: bool, suite_end: float | None
    ) -> protocol.FromChild:
        within = self._job.limits.question_s if prepared else self._job.limits.start_s
        if suite_end is not None:
            left = max(suite_end - time.monotonic(), 0.0)
            within = left if within is None else min(within, left)
        return self._receive(session, within)

    def _take(self, task: Task, said: protocol.FromChild, asked: "deque[tuple[int, object, str]]") -> None:
        """Take one message about the question that has waited longest."""
        index, question_id, text = asked[0]
        match said:
            case protocol.Answered(index=number) if number == index:
                fault = prediction_fault(said.prediction)
                if fault is None:
                    self._keep(task, index, digest_of(text), said)
                    asked.popleft()
                    return
                failed = Problem(outcome=Outcome.BAD_ANSWER, text=fault, where="solve")
            case protocol.Failed(index=number) if number == index:
                failed = Problem(outcome=_outcome(said.kind), text=said.text, where="solve")
            case protocol.Failed(index=None):
                problem = Problem(
                    outcome=_outcome(said.kind),
                    text=said.text,
                    where=said.where,
                    suite=task.suite,
                    printed=self._printed(),
                )
                self._close(self._session_now())
                raise _CategoryFailed(problem, died=False)
            case _:
                raise Garbage("an answer to a question that was not asked")
        failed = dataclasses.replace(
            failed, suite=task.suite, index=index, question_id=question_id, printed=self._printed()
        )
        if self._job.on_error is OnError.FAIL:
            self._close(self._session_now())
            raise _CategoryFailed(failed, died=False)
        asked.popleft()
        self._problems += 1
        if self._problems > _MOST_PRINTED:
            failed = dataclasses.replace(failed, printed="")
        self._recorder.problem(task, index, digest_of(text), failed)

    def _keep(self, task: Task, index: int, digest: str, said: protocol.Answered) -> None:
        try:
            self._recorder.answer(task, index, digest, said.elapsed_ms, said.prediction)
        except (ValueError, RecursionError) as exc:
            raise Garbage(str(exc)) from exc

    def _close(self, session: Session) -> None:
        """End a suite; a child that does not get there in time is ended."""
        session.send(protocol.line(Do.CLOSE))
        limit = self._job.limits.question_s
        try:
            while not isinstance(
                self._receive(session, limit if limit is not None else _TO_CLOSE_S), protocol.Closed
            ):
                pass
        except (Gone, TimeUp, TooMuch, Garbage):
            self._end_child()

    def _session_now(self) -> Session:
        if self._session is None:
            raise SandboxUnavailable("the child has ended")
        return self._session

    # --- one suite, whole ---------------------------------------------------------------------------------------

    def _whole_suite(self, task: Task) -> None:
        known = self._job.answered.get((task.category, task.suite), b"")
        if task.start > 0 or b"\1" in known:  # another part stands for all of it, or all of it is known
            return
        self._ensure_child()
        session = self._session_now()
        session.send(protocol.line(Do.OPEN, category=task.category, stop_on_error=True))
        self._asked_anything = True
        limit = self._job.limits.suite_s
        end = None if limit is None else time.monotonic() + limit
        count = taken = 0
        try:
            whole = dataclasses.replace(task, stop=None)
            for index, _, text in self._questions(whole):
                session.send(protocol.ask_line(index, text))
                count += 1
                while session.backlog > _WINDOW_BYTES:
                    session.wait_for_room(end)
            session.send(protocol.line(Do.CLOSE))
            while True:
                said = self._receive(session, None if end is None else max(end - time.monotonic(), 0.0))
                match said:
                    case protocol.Opened() if taken == 0:
                        continue
                    case protocol.Answered(index=number) if number == taken:
                        fault = prediction_fault(said.prediction)
                        if taken > 10 * count + 1000:
                            fault = f"more than {taken} predictions for {count} questions"
                        if fault is not None:
                            problem = Problem(
                                outcome=Outcome.BAD_ANSWER, text=f"prediction {taken}: {fault}", where="eval_questions",
                                suite=task.suite, printed=self._printed(),
                            )  # fmt: skip
                            raise _CategoryFailed(problem, died=True)
                        self._keep(task, taken, "", said)
                        taken += 1
                    case protocol.Failed():
                        problem = Problem(
                            outcome=_outcome(said.kind),
                            text=said.text,
                            where=said.where,
                            suite=task.suite,
                            printed=self._printed(),
                        )
                        self._close_whole(session, end)
                        raise _CategoryFailed(problem, died=False)
                    case protocol.Closed(count=number) if number == taken:
                        break
                    case _:
                        raise Garbage("a message out of turn")
        except (Gone, TimeUp, TooMuch, Garbage) as exc:
            raise _CategoryFailed(
                self._why(exc, session, "eval_questions", limit, suite=task.suite), died=True
            ) from exc
        self._recorder.whole(task, taken)

    def _close_whole(self, session: Session, end: float | None) -> None:
        try:
            while not isinstance(self._receive(session, _TO_CLOSE_S), protocol.Closed):
                pass
        except (Gone, TimeUp, TooMuch, Garbage):
            self._end_child()


def _outcome(kind: str) -> Outcome:
    return {"memory": Outcome.MEMORY, "bad-answer": Outcome.BAD_ANSWER}.get(kind, Outcome.MODEL_ERROR)
