"""bubblewrap: namespaces of its own for files, processes, network, IPC and users; what is not mounted does not exist.

Source: bwrap(1) 0.8.0. `--clearenv` is not enough: the first process inside is bwrap itself, whose `/proc/1/environ` and
`cmdline` would show the caller's, so it starts with the child's environment and gets its arguments from a descriptor.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from iqeval.sandbox.base import (
    PACKAGE,
    Kind,
    Launch,
    Limits,
    Unusable,
    View,
    areas,
    interpreter_paths,
    resource_limits,
    system_paths,
)
from iqeval.sandbox.seccomp import seccomp_program

_PROMISED = ("read", "stat", "write", "network", "signal")
_COPIED_BYTES = 256 << 10
_GRAPHICS = ("nvidia*", "dri", "kfd")


class Bubblewrap:
    """The child in namespaces of its own."""

    kind = Kind.BUBBLEWRAP

    def launch(self, view: View, limits: Limits, *, scratch: Path, env: Mapping[str, str]) -> Launch:
        """Return how to start bwrap; see `Sandbox`."""
        program = shutil.which("bwrap")
        if program is None:
            raise Unusable("bwrap is not installed (Debian: apt-get install bubblewrap)")
        size = limits.scratch_bytes
        options = [
            "--unshare-user",
            "--unshare-ipc",
            "--unshare-pid",
            "--unshare-uts",
            "--unshare-cgroup-try",
        ]
        options += [] if view.network else ["--unshare-net"]
        options += ["--die-with-parent", "--new-session", "--hostname", "iqeval", "--cap-drop", "ALL"]
        options += ["--proc", "/proc", "--dev", "/dev"]
        for pattern in _GRAPHICS:
            for device in sorted(Path("/dev").glob(pattern)):
                options += ["--dev-bind-try", str(device), str(device)]
        options += ["--size", str(size), "--tmpfs", "/dev/shm", "--size", str(size), "--tmpfs", "/tmp"]  # noqa: S108  # the child's own
        data: list[bytes] = []
        small, rest = _split(system_paths())
        for path in small:
            options += ["--perms", "0444", "--file", f"{{{len(data)}}}", str(path)]
            data.append(path.read_bytes())
        options += self._mounts(view, size, [*rest, *interpreter_paths()])
        program_bytes = seccomp_program(os.uname().machine, sockets=True, leave_group=True)
        if program_bytes is not None:
            options += ["--seccomp", f"{{{len(data)}}}"]
            data.append(program_bytes)
        work = str(view.work)
        options += ["--remount-ro", "/", "--chdir", work]
        return Launch(
            argv=(program, *options, "--"),
            env=dict(env)
            | {"HOME": "/tmp", "TMPDIR": "/tmp", "XDG_CACHE_HOME": "/tmp/.cache", "MPLCONFIGDIR": "/tmp"},  # noqa: S108  # the child's own
            confine={"limits": resource_limits(limits, processes=limits.processes)},
            work=work,
            cwd="/",
            data=tuple(data),
        )

    def missing(self, refused: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
        """Return what of its promises a child found broken."""
        return tuple(name for name in _PROMISED if name in allowed)

    def _mounts(self, view: View, size: int, system: Sequence[Path]) -> list[str]:
        """Return the mount options: outer folders first, or an inner one would vanish below an outer one."""
        mounts: dict[Path, list[str]] = {}

        def show(path: Path, where: Path | None = None) -> None:
            place = where or path
            mounts.setdefault(place, ["--ro-bind", str(path), str(place)])

        for path in system:
            if path.is_symlink() and path.parent == Path("/"):
                mounts[path] = ["--symlink", str(path.readlink()), str(path)]
            else:
                show(path)
        if view.network:
            for name in ("/etc/resolv.conf", "/etc/ssl"):
                if Path(name).exists():
                    show(Path(name).resolve(), Path(name))
        for path in view.read:
            show(path.resolve(), path)
        show(view.model.resolve(), view.model)
        # The working folder comes after what contains it and before what it contains. A model that works in its own
        # folder keeps its files: each is mounted again inside the scratch that the working folder is.
        mounts[view.work] = ["--size", str(size), "--tmpfs", str(view.work)]
        if view.work == view.model:
            for path in view.model.iterdir():
                if path.is_symlink():
                    mounts.setdefault(path, ["--symlink", str(path.readlink()), str(path)])
                else:
                    show(path.resolve(), path)
        for area in areas(view.work):
            mounts[area] = ["--ro-bind", str(area.resolve()), str(area)]
        # One mount for the package and one over its answers: each mount costs about half a millisecond of every start.
        visible = [place for place, options in mounts.items() if options[0] == "--ro-bind"]
        if not any(place == PACKAGE or place in PACKAGE.parents for place in visible):
            show(PACKAGE)
        mounts[PACKAGE / "suite"] = ["--tmpfs", str(PACKAGE / "suite")]
        for path in view.hidden:
            for place in _places(path, mounts):
                mounts[place] = (
                    ["--tmpfs", str(place)] if path.is_dir() else ["--ro-bind", "/dev/null", str(place)]
                )
        return [word for place in sorted(mounts, key=lambda path: len(path.parts)) for word in mounts[place]]


def _split(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files that are copied, and the rest, which is mounted: a mount costs ten times a small copy."""
    small: list[Path] = []
    rest: list[Path] = []
    for path in paths:
        (small if path.is_file() and path.stat().st_size <= _COPIED_BYTES else rest).append(path)
    return small, rest


def _places(path: Path, mounts: Mapping[Path, Sequence[str]]) -> list[Path]:
    """Return where a file would be seen inside, under each name that a mount gives it."""
    if not path.exists():
        return []
    real = path.resolve()
    found = []
    for place, options in mounts.items():
        if options[0] != "--ro-bind" or options[1] == "/dev/null":
            continue
        source = Path(options[1])
        if real == source or source in real.parents:
            found.append(place / real.relative_to(source))
    return found
