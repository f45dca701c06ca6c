"""A process that stays behind a child without a process namespace, and ends whatever the child leaves running.

It runs none of the model's code: it waits. Orphans come to it, also those that made sessions of their own; when the
child ends, or the evaluator does, it kills all that is below it. Loaded by the child, so it imports little.
"""

import os
import signal

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from typing import NoReturn

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_AWAITED = (signal.SIGTERM, signal.SIGCHLD)
_MOST_DESCRIPTORS = 1 << 20
_ROUNDS = 2000
_ROUND_S = 0.005


def tree(root: int) -> list[int]:
    """Return `root` and the processes below it, parents first."""
    found = [root]
    for pid in found:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # ten times a second, for every process
                with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:  # noqa: PTH123  # as above
                    found += map(int, stream.read().split())
        except OSError:  # it has ended meanwhile
            continue
    return found


def split(evaluator: int) -> None:
    """Fork: return in the child that will run the model; the other process stays behind and does not return.

    Descriptors are the child's alone.

    Args:
        evaluator: the process whose end is the end of all this.
    """
    from iqeval import kernel  # the evaluator loads this module too, and does not split

    kernel.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    if os.getppid() != evaluator:
        os._exit(1)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()
        kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        return
    os.closerange(3, _MOST_DESCRIPTORS)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    _watch(child)


def _watch(child: int) -> "NoReturn":
    status: int | None = None
    while status is None and signal.sigwait(_AWAITED) != signal.SIGTERM:
        status, _ = _reap(child)
    # Again and again: what is just being born is in no list yet.
    for _ in range(_ROUNDS):
        for pid in tree(os.getpid())[1:]:
            _kill(pid)
        how, left = _reap(child)
        status = how if status is None else status
        if not left:
            break
        signal.sigtimedwait((signal.SIGCHLD,), _ROUND_S)
    status = status or 0
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _reap(wanted: int) -> tuple[int | None, bool]:
    """Take leave of those who have ended: how `wanted` did, if it is among them, and whether anyone is left."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found, False
        if pid == 0:
            return found, True
        if pid == wanted:
            found = status


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return
