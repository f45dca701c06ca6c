"""Where extraction jobs run: worker processes here, or a Dask cluster that shares the storage.

An executor runs one job at a time for each of its slots; whoever calls `run` waits. Refuses to decide the order: the
queue in `autoextract` does.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from iqdata.errors import ConfigError
from iqdata.server.jobs import Done, Job, Need, from_json, to_json

Ask = Callable[[int], bool]

_STOP_GRACE_S = 2.0
_ANSWER_TIMEOUT_S = 120


class WorkerDied(Exception):
    """The process or machine that worked on a job is gone; the job can be tried again."""


class Executor(Protocol):
    """Runs jobs for one slot."""

    def run(self, job: Job, ask: Ask) -> Done:
        """Run one job and return what came out.

        Raises:
            WorkerDied: nobody knows how far it came; what was placed is whole, the rest is missing.
        """
        ...

    def close(self) -> None:
        """Stop at once, also in the middle of a job."""
        ...


class LocalWorker:
    """One process on this machine, started before it is needed and again when it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process and wait until it can take a job.

        It dies with the thread that calls this: so the kernel has it, and so a slot's thread calls it.
        """
        with self._lock:
            if self._closed:
                raise WorkerDied("the space stops")
            # Extraction needs no password; a decoder that is made to talk must have none to tell.
            environment = {
                key: value for key, value in os.environ.items() if not key.startswith("IQDATA_PASSWORD")
            }
            process = self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "iqdata.server.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                close_fds=True,
            )
        self._read(process)
        return process

    def run(self, job: Job, ask: Ask) -> Done:
        """Run one job; see `Executor`."""
        process = self._process
        if process is None or process.poll() is not None:
            self._reap()
            process = self.start()
        if process.stdin is None:
            raise WorkerDied("the worker process has no standard input")
        try:
            process.stdin.write(to_json(job) + b"\n")
            process.stdin.flush()
            while True:
                answer = self._decode(self._read(process))
                if isinstance(answer, Done):
                    return answer
                process.stdin.write(b"true\n" if ask(answer.size_bytes) else b"false\n")
                process.stdin.flush()
        except OSError as exc:
            raise WorkerDied(self._reap()) from exc

    def _decode(self, line: bytes) -> Done | Need:
        kinds: Any = Done | Need
        answer: Done | Need = from_json(line, kinds)
        return answer

    def _read(self, process: subprocess.Popen[bytes]) -> bytes:
        line = process.stdout.readline() if process.stdout else b""
        if not line.endswith(b"\n"):
            raise WorkerDied(self._reap())
        return line

    def _reap(self) -> str:
        """Collect a dead process and return how it died."""
        process, self._process = self._process, None
        if process is None:
            return "the worker process is gone"
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        try:
            code = process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return (
            f"the worker process ended by {signal.Signals(-code).name}"
            if code < 0
            else f"the worker process ended ({code})"
        )

    def close(self) -> None:
        """Kill the process."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.kill()
            self._reap()

    def discard(self) -> None:
        """Kill the process and collect what is left of it; for the thread that started it."""
        self.close()
        self._reap()


class DaskWorker:
    """One slot of a cluster: jobs run where the scheduler puts them, on storage that has the same paths there."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: Any = None

    def run(self, job: Job, ask: Ask) -> Done:
        """Run one job on the cluster; see `Executor`. Its questions come through a queue there, and so do the answers."""
        from distributed import Client

        if self._client is None:
            client_of: Any = Client  # distributed types only a part of itself
            self._client = client_of(self._address, set_as_default=False)
        client = self._client
        try:
            # Impure: the same job may have to run again after a crash.
            if not job.asks:
                return client.submit(run_apart, job, pure=False, retries=0).result()  # type: ignore[no-any-return]  # distributed ships no types
            with _dialogue(job, client) as (questions, answers):
                future = client.submit(run_apart, job, pure=False, retries=0)
                # A job that has ended in whatever way has no more questions.
                future.add_done_callback(lambda _future: questions.put(None))
                while (size_bytes := questions.get()) is not None:
                    answers.put(ask(size_bytes))
            return future.result()  # type: ignore[no-any-return]  # distributed ships no types
        except Exception as exc:
            raise WorkerDied(f"the cluster lost the job: {exc}") from exc

    def discard(self) -> None:
        """Leave the cluster."""
        self.close()

    def close(self) -> None:
        """Leave the cluster."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


_apart = threading.local()


def run_apart(job: Job) -> Done:
    """Run a job on a machine of a cluster, in a process of its own there.

    So a decoder that dies takes no other job along, and a root's worker works as the owner of the folder, as here.
    """
    worker: LocalWorker | None = getattr(_apart, "worker", None)
    if worker is None:
        worker = _apart.worker = LocalWorker()
    if not job.asks:
        return worker.run(job, lambda _size_bytes: True)
    from distributed import get_client

    with _dialogue(job, get_client()) as (questions, answers):

        def ask(size_bytes: int) -> bool:
            questions.put(size_bytes)
            return bool(answers.get(timeout=_ANSWER_TIMEOUT_S))

        try:
            return worker.run(job, ask)
        except Exception:
            # Nobody answers any more; the process would take the next job's answer for its own.
            worker.discard()
            _apart.worker = None
            raise


@contextlib.contextmanager
def _dialogue(job: Job, client: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the two queues of a job on the cluster, for questions and for answers."""
    from distributed import Queue

    queue_of: Any = Queue  # distributed types only a part of itself
    queues = queue_of(f"{job.id}-questions", client=client), queue_of(f"{job.id}-answers", client=client)
    try:
        yield queues
    finally:
        for queue in queues:
            queue.close()


class Executors(msgspec.Struct, frozen=True, kw_only=True):
    """What `--executor` said: how many slots, and where."""

    slots: int
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Executors":
        """Read `local:N` or `dask://host:port`.

        Raises:
            ConfigError: it is neither, or the extra that carries the cluster is missing.
        """
        if text.startswith("dask://"):
            try:
                import distributed  # noqa: F401  only whether it is there
            except ImportError as exc:
                raise ConfigError(
                    "--executor dask://… needs the cluster extra: pip install 'iqdata[cluster]'"
                ) from exc
            return cls(slots=16, address=f"tcp://{text.removeprefix('dask://')}")
        kind, _, count = text.partition(":")
        if kind != "local" or not (count or "1").isdigit() or not 0 < int(count or "1") <= 256:
            raise ConfigError(
                f"--executor {text!r} is neither local:N (1 to 256 processes) nor dask://HOST:PORT"
            )
        return cls(slots=int(count) if count else default_slots())

    def make(self) -> LocalWorker | DaskWorker:
        """Return a new slot."""
        return DaskWorker(self.address) if self.address else LocalWorker()


def default_slots() -> int:
    """Return how many worker processes suit this machine."""
    return max(1, min(8, os.cpu_count() or 1))
