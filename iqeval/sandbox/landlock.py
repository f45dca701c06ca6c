"""Landlock and seccomp: no namespaces needed, so it works inside containers that forbid them.

Hidden files cannot be opened, yet their names and sizes can be asked for, and other processes are visible: that is said.
Landlock knows no mounts, so the working folder is a scratch folder with links to the two areas.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from iqeval.sandbox.base import (
    PACKAGE,
    Kind,
    Launch,
    Limits,
    Unusable,
    View,
    areas,
    carve,
    interpreter_paths,
    package_paths,
    resource_limits,
    system_paths,
)
from iqeval.sandbox.seccomp import seccomp_program

_PROMISED = ("read", "write", "network")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108  # semaphores live there
_KERNEL = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/sys/kernel",
    "/sys/devices/system/cpu",
)


class Landlock:
    """The child with a closed list of files, no sockets and no way out of its process group."""

    kind = Kind.LANDLOCK

    def launch(self, view: View, limits: Limits, *, scratch: Path, env: Mapping[str, str]) -> Launch:
        """Return how to start the child; see `Sandbox`."""
        from iqeval import kernel  # with ctypes behind it: only where it is used

        if kernel.landlock_abi() < 1:
            raise Unusable("the kernel offers no Landlock (Linux 5.13 or newer, with lsm=landlock)")
        program = seccomp_program(os.uname().machine, sockets=view.network, leave_group=False)
        if program is None:
            raise Unusable(f"no system call numbers are known here for {os.uname().machine}")
        work = scratch / "work"
        work.mkdir()
        private = scratch / "tmp"
        private.mkdir()
        for area in areas(view.work):
            (work / area.name).symlink_to(area.resolve())
        if view.work == view.model:
            for path in view.model.iterdir():
                if not (work / path.name).exists():
                    (work / path.name).symlink_to(path)
        read: list[Path] = [*system_paths(), *interpreter_paths(), *package_paths()]
        hidden = [path.resolve() for path in view.hidden if path.exists()]
        hidden.append(PACKAGE / "suite")
        read += [path.resolve() for path in (view.model, *view.read, *areas(view.work))]
        parts = [carve(path.resolve(), hidden) for path in read]
        shown = {str(path) for part in parts for path in part.read}
        names = {str(path) for part in parts for path in part.names} | {str(PACKAGE)}
        graphics = [str(path) for pattern in ("nvidia*", "dri", "kfd") for path in Path("/dev").glob(pattern)]
        extra = ["/etc/resolv.conf", "/etc/ssl"] if view.network else []
        return Launch(
            argv=(),
            env=dict(env)
            | {
                "HOME": str(private),
                "TMPDIR": str(private),
                "XDG_CACHE_HOME": str(private),
                "MPLCONFIGDIR": str(private),
            },
            confine={
                "limits": resource_limits(limits, processes=None),
                "closed": {
                    "drop_capabilities": os.geteuid() == 0,
                    "landlock": {
                        "read": [*sorted(shown), *_KERNEL, *extra],
                        "names": sorted(names),
                        "write": [str(work), str(private), *_DEVICES, *graphics],
                        "network": view.network,
                    },
                    "seccomp": program.hex(),
                },
            },
            work=str(work),
            cwd=str(work),
        )

    def missing(self, refused: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
        """Return what of its promises a child found broken."""
        return tuple(name for name in _PROMISED if name in allowed)
