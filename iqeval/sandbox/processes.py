"""What a child and everything it started use, and how to end all of it. Linux `/proc`; elsewhere only the child is known."""

import contextlib
import os
import signal
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(root: int) -> list[int]:
    """Return `root` and the processes below it, as far as they still hang together."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # ten times a second, for every process
                with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:  # noqa: PTH123  # as above
                    found += map(int, stream.read().split())
    return found


def group(leader: int) -> list[int]:
    """Return the processes of a process group, wherever they hang now."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # see above
        if name.isdigit():
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"/proc/{name}/stat", "rb") as stream,  # noqa: PTH123  # as above
            ):
                fields = stream.read().rpartition(b")")[2].split()
                if int(fields[2]) == leader:
                    found.append(int(name))
    return found


def resident_bytes(pids: list[int]) -> int:
    """Return the memory that processes hold, without the pages of files that any process could share."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as stream:  # noqa: PTH123
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
    """Kill a child with all that it started.

    In a process namespace the kernel does it when the first process goes. Elsewhere the group and what still hangs
    below the child is killed until nothing is left.
    """
    if has_namespace:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(root, signal.SIGKILL)
        return
    for _ in range(50):
        pids = set(tree(root)) | set(group(root))
        pids = {pid for pid in pids if _is_alive(pid)}
        if not pids:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(root, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123  # see above
            return stream.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False
