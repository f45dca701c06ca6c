"""What a child and everything it started use, and how to end all of it. Linux `/proc`; elsewhere only the child is known."""

import contextlib
import os
import signal
from pathlib import Path

from iqeval.supervise import tree

__all__ = ["end_all", "resident_bytes", "shared_bytes", "tree"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pids: list[int]) -> int:
    """Return the memory that processes hold, without the pages of files that any process could share."""
    total = 0
    for pid in pids:
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            open(f"/proc/{pid}/statm", "rb") as stream,  # noqa: PTH123  # ten times a second, for every process
        ):
            fields = stream.read().split()
            total += (int(fields[1]) - int(fields[2])) * _PAGE
    return total


def shared_bytes(pids: list[int]) -> int:
    """Return the largest piece of shared memory that one of the processes has mapped and touched."""
    largest = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssShmem:"):
                    largest = max(largest, int(line.split()[1]) * 1024)
    return largest


def end_all(root: int, *, has_namespace: bool) -> None:
    """Tell whoever stands between us and the model to end everything: the kernel, or our own supervisor.

    In a process namespace the kernel kills the rest when the first process goes; a supervisor does it when asked.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(root, signal.SIGKILL if has_namespace else signal.SIGTERM)
