"""What a sandbox is given and what it gives back; one adapter a file beside this one."""

import dataclasses
import enum
import functools
import os
import site
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

PACKAGE = Path(__file__).resolve().parent.parent
"""The folder of `iqeval`, of which the child sees only what it runs."""

THREADS_EACH = 8
"""The kernel counts threads where we say processes; numeric libraries start one a core in each."""

CHILD_PARTS = (
    "__init__.py",
    "api.py",
    "child.py",
    "confine.py",
    "data.py",
    "kernel.py",
    "missing.py",
    "wire.py",
    "supervise.py",
    "__pycache__",
    "alias",
)


class Kind(enum.Enum):
    """The sandboxes there are."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"


class Wanted(enum.Enum):
    """What `--sandbox` says."""

    AUTO = "auto"
    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NONE = "none"
    REQUIRE = "require"

    @property
    def ladder(self) -> tuple[Kind, ...]:
        """Return the kinds to try, the best first."""
        if self is Wanted.AUTO:
            return (Kind.BUBBLEWRAP, Kind.LANDLOCK, Kind.NONE)
        if self is Wanted.REQUIRE:
            return (Kind.BUBBLEWRAP, Kind.LANDLOCK)
        return (Kind(self.value),)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a model may use. None is no limit.

    Attributes:
        start_s: import, `get_*` and `global_pre_run` together.
        question_s: one `solve`, or `pre_run`.
        suite_s: one suite, and one call of `eval_questions`.
        run_s: everything.
        memory_bytes: of one child with all that it starts, together with its scratch files.
        file_bytes: one file that it writes.
        scratch_bytes: its working folder and `/tmp`, each, where the sandbox has its own.
        processes: how many at a time.
    """

    start_s: float | None = 900.0
    question_s: float | None = 300.0
    suite_s: float | None = 6 * 3600.0
    run_s: float | None = None
    memory_bytes: int | None = None
    file_bytes: int = 1 << 30
    scratch_bytes: int = 1 << 30
    processes: int = 512


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the child sees.

    Attributes:
        work: the working folder, as the model knows it; the two areas in it are readable, nothing else of it.
        model: the model's folder, to read.
        read: folders and files to read, besides the system and the interpreter.
        hidden: files and folders that stay invisible wherever they lie: answers, results.
        network: whether the model may reach it.
    """

    work: Path
    model: Path
    read: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    network: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the child.

    Attributes:
        confine: what the child does to itself before it loads the model.
        work: the working folder as the child will know it.
        data: blocks that the program reads from descriptors; their numbers stand for `{0}`, `{1}` in argv.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    confine: Mapping[str, object]
    work: str
    cwd: str
    data: tuple[bytes, ...] = ()


class Sandbox(Protocol):
    """One way to run the child."""

    kind: Kind

    def launch(self, view: View, limits: Limits, *, scratch: Path, env: Mapping[str, str]) -> Launch:
        """Return how to start a child that sees `view`.

        Raises:
            Unusable: this sandbox cannot be had here.
        """
        ...

    def missing(self, refused: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
        """Return what a child reported that this sandbox promises to refuse; empty when it does what it says."""
        ...


class Unusable(Exception):
    """This sandbox cannot be had here; the text says why and what would help."""


# --- what every child needs --------------------------------------------------------------------------------------

_ETC = (
    "ld.so.cache", "alternatives", "localtime", "passwd", "group",
    "nsswitch.conf", "hosts", "os-release", "fonts",
    "vulkan",
)  # fmt: skip
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_PASSED = ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "TERM")
_PASSED_PREFIXES = (
    "LC_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "BLIS_",
    "NUMBA_",
    "CUDA_",
    "NVIDIA_",
    "ROCR_",
    "HIP_",
    "TORCH_",
)


def system_paths() -> Iterator[Path]:
    """Yield the system's folders and files that programs need to start."""
    yield from (Path(name) for name in _SYSTEM if Path(name).exists())
    yield from (path for name in _ETC if (path := Path("/etc", name)).exists())


@functools.cache
def interpreter_paths() -> tuple[Path, ...]:
    """Return where this interpreter, its library and the packages installed for it are."""
    candidates = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    candidates.append(str(Path(os.__file__).parent))
    candidates += site.getsitepackages()
    if site.ENABLE_USER_SITE:
        candidates.append(site.getusersitepackages())
    candidates.append(str(Path(os.path.realpath(sys.executable)).parent))
    found = {Path(given) for given in candidates if given and Path(given).exists()}
    found |= {path.resolve() for path in found}
    found.discard(Path("/"))
    # What lies in another of them as it is needs no mention of its own.
    return tuple(sorted(path for path in found if path.resolve() != path or found.isdisjoint(path.parents)))


def package_paths() -> list[Path]:
    """Return the parts of this package that the child runs, and nothing of the rest of it."""
    return [path for name in CHILD_PARTS if (path := PACKAGE / name).exists()]


def child_environment(
    env: Mapping[str, str], *, scratch: str, space: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a child: what programs need, and nothing that the caller's shell happens to hold."""
    kept = {
        name: value for name, value in env.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    kept |= {"HOME": scratch, "TMPDIR": scratch, "IQEVAL_SPACE": space, "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= {"MPLCONFIGDIR": scratch, "XDG_CACHE_HOME": scratch}
    if site.ENABLE_USER_SITE and (base := site.getuserbase()):
        kept["PYTHONUSERBASE"] = base
    return kept | dict(extra)


def python_command(descriptor: int, *, supervised: bool) -> list[str]:
    """Return the command that starts the child on an inherited socket.

    Without a process namespace a supervisor of ours has to end what the model leaves running.

    `-P` and the removal of our folder keep what lies beside the package out of the model's imports.
    """
    boot = "import sys; sys.path.insert(0, sys.argv[1]); import iqeval.child as c; del sys.path[0]; c.main(*map(int, sys.argv[2:]))"
    flags = ["-P"] if site.ENABLE_USER_SITE else ["-P", "-s"]
    return [
        sys.executable,
        *flags,
        "-X",
        "utf8",
        "-c",
        boot,
        str(PACKAGE.parent),
        str(descriptor),
        *([str(os.getpid())] if supervised else []),
    ]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Carved:
    """What remains of a folder without its hidden parts: paths to read, and folders of which only the names show."""

    read: tuple[Path, ...]
    names: tuple[Path, ...] = ()


def carve(folder: Path, hidden: Sequence[Path]) -> Carved:
    """Return paths that together show all of `folder` except what is hidden in it."""
    inside = [path for path in hidden if path == folder or folder in path.parents]
    if not inside:
        return Carved(read=(folder,))
    if folder in inside or not folder.is_dir():
        return Carved(read=())
    parts = [
        carve(path, inside) if not path.is_symlink() else Carved(read=(path,))
        for path in sorted(folder.iterdir())
    ]
    return Carved(
        read=tuple(path for part in parts for path in part.read),
        names=(folder, *(path for part in parts for path in part.names)),
    )


def areas(work: Path) -> list[Path]:
    """Return the two folders of a work root that a model reads, where they exist."""
    return [path for name in ("train_data", "group_data") if (path := work / name).is_dir()]


def resource_limits(limits: Limits, *, processes: int | None) -> dict[str, int]:
    """Return the limits that the kernel keeps for each process, by their names without `RLIMIT_`."""
    found = {"FSIZE": limits.file_bytes, "CORE": 0}
    if limits.memory_bytes is not None:
        found["DATA"] = limits.memory_bytes
    if processes is not None:
        found["NPROC"] = processes * THREADS_EACH
    return found


def default_memory() -> int:
    """Return four fifths of this machine's memory: a model alone on it may use most, and the evaluator survives."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 5 * 4
