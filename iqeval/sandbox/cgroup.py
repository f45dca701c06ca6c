"""A control group for a child, where this user may make one: the kernel then counts its processes and its memory.

For root it is the only firm bound on processes (`RLIMIT_NPROC` does not bind root), and memory in scratch files counts
with the rest. Where no group can be made the sampled limits stand alone. Source: cgroup-v1 pids.rst and memory.rst, cgroup-v2.rst.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from iqeval.sandbox.base import THREADS_EACH

_ROOT = Path("/sys/fs/cgroup")
_CONTROLS: tuple[str, ...] = ("pids", "memory")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder of the control-group file system below which groups can be made, and what it controls."""

    folder: Path
    controls: tuple[str, ...]
    unified: bool


def places(own: str, mounts: str, *, root: Path = _ROOT) -> list[Place]:
    """Return where groups might be made.

    Args:
        own: the text of `/proc/self/cgroup`.
        mounts: the text of `/proc/self/mounts`.
        root: stands for the mount points in tests.
    """

    def below(mount: str, path: str) -> Path:
        return root / os.path.relpath(mount, _ROOT) / path.lstrip("/")

    found: list[Place] = []
    mounted = [fields for line in mounts.splitlines() if (fields := line.split())[2].startswith("cgroup")]
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        for fields in mounted:
            if names == "" and fields[2] == "cgroup2":
                folder = below(fields[1], path)
                with contextlib.suppress(OSError):
                    enabled = (folder / "cgroup.subtree_control").read_text().split()
                    controls = tuple(name for name in _CONTROLS if name in enabled)
                    if controls:
                        found.append(Place(folder=folder, controls=controls, unified=True))
            elif fields[2] == "cgroup":
                controls = tuple(
                    name for name in names.split(",") if name in _CONTROLS and name in fields[3].split(",")
                )
                if controls:
                    found.append(Place(folder=below(fields[1], path), controls=controls, unified=False))
    return found


class Cage:
    """The control groups of one child; none at all where none could be made."""

    def __init__(self, folders: Sequence[tuple[Path, Place]]) -> None:
        self._folders = tuple(folders)

    @classmethod
    def make(
        cls, name: str, *, processes: int, memory_bytes: int | None, among: Sequence[Place] | None = None
    ) -> Self:
        """Make groups with limits; what this user may not make is left out."""
        if among is None:
            among = ()
            if os.geteuid() == 0:  # for others the kernel counts by user, and sampling does the rest
                with contextlib.suppress(OSError):
                    among = places(
                        Path("/proc/self/cgroup").read_text(), Path("/proc/self/mounts").read_text()
                    )
        made: list[tuple[Path, Place]] = []
        for place in among:
            folder = place.folder / name
            limits: dict[str, int] = {}
            if "pids" in place.controls:
                limits["pids.max"] = processes * THREADS_EACH
            if "memory" in place.controls and memory_bytes is not None:
                limits["memory.max" if place.unified else "memory.limit_in_bytes"] = memory_bytes
            if not limits:
                continue
            try:
                folder.mkdir()
                for knob, value in limits.items():
                    (folder / knob).write_text(str(value))
                made.append((folder, place))
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return cls(made)

    @property
    def controls(self) -> tuple[str, ...]:
        """What the kernel counts here: "pids", "memory"."""
        return tuple(sorted({name for _, place in self._folders for name in place.controls}))

    def entrances(self) -> list[int]:
        """Open a descriptor for each group: a process that writes `0` to it is in, with all that it will start.

        A process that brings in itself is in at once; bringing in another one waits for every processor to take notice.
        Source: cgroup_procs_write_start in kernel/cgroup/cgroup.c.
        """
        found = []
        for folder, place in self._folders:
            with contextlib.suppress(OSError):
                found.append(os.open(folder / ("cgroup.procs" if place.unified else "tasks"), os.O_WRONLY))
        return found

    def ran_out_of_memory(self) -> bool:
        """Tell whether the kernel has ended a process here for its memory."""
        for folder, place in self._folders:
            if "memory" in place.controls:
                with contextlib.suppress(OSError, ValueError):
                    text = (folder / ("memory.events" if place.unified else "memory.oom_control")).read_text()
                    counts = dict(line.split() for line in text.splitlines())
                    if int(counts.get("oom_kill", "0")) > 0:
                        return True
        return False

    def remove(self, *, within_s: float = 1.0) -> None:
        """Remove the groups when the last process is out of them."""
        end = time.monotonic() + within_s
        for folder, _ in self._folders:
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() >= end:
                        break
                    time.sleep(0.0003)


NO_CAGE = Cage(())
