"""A process that stays behind a child without a process namespace, and ends whatever the child leaves running.

It runs none of the model's code: it waits. Orphans come to it, also those that made sessions of their own; when the
child ends, or the evaluator does, it kills all that is below it. Loaded by the child, so it imports little.
"""

import contextlib
import os
import signal
import time

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from typing import NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ROUNDS = 2000


def tree(root: int) -> list[int]:
    """Return `root` and the processes below it, parents first."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # ten times a second, for every process
                with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:  # noqa: PTH123  # as above
                    found += map(int, stream.read().split())
    return found


def split(descriptor: int, evaluator: int) -> None:
    """Fork: return in the child that will run the model; the other process stays behind and does not return.

    Args:
        descriptor: the channel, which only the child keeps.
        evaluator: the process whose end is the end of all this.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
    if os.getppid() != evaluator:
        os._exit(1)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGCHLD))
        return
    os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    _watch(child)


def _watch(child: int) -> "NoReturn":
    status = 0
    ended = False
    while not ended:
        if signal.sigwait((signal.SIGTERM, signal.SIGCHLD)) == signal.SIGTERM:
            break
        for pid, how in _reap():
            if pid == child:
                status, ended = how, True
    for _ in range(_ROUNDS):
        for pid in tree(os.getpid())[1:]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid, how in _reap():
            if pid == child and not ended:
                status = how
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        time.sleep(0.001)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _reap() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found.append((pid, status))


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)
