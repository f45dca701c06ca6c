"""What a process does to itself before it runs a stranger's code: limits, and trying the doors.

A kernel that silently does less is the dangerous one, so doors that are said to be locked are tried. What takes system
calls is in `kernel`. Loaded by every child, so it imports next to nothing.
"""

import os
import resource

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def limit_resources(limits: "Mapping[str, int]") -> None:
    """Set hard limits, by the names of `resource` without `RLIMIT_`; a lower one that stands already stays."""
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        _, hard = resource.getrlimit(which)
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(which, (wanted, wanted))
        except (ValueError, OSError):
            continue


def try_doors(doors: "Mapping[str, object]") -> tuple[list[str], list[str]]:
    """Try what must not work; returns the names that were refused and those that were not.

    Args:
        doors: any of `read` (a file outside), `write` (folders that are for reading), `port` (one that listens on
            the loopback outside), `process` (an id outside).
    """
    refused: list[str] = []
    allowed: list[str] = []

    def attempt(name: str, action: "Callable[[], None]") -> None:
        try:
            action()
        except OSError:
            refused.append(name)
        else:
            allowed.append(name)

    hidden = doors.get("read")
    if isinstance(hidden, str):
        attempt("read", lambda: os.close(os.open(hidden, os.O_RDONLY)))
        attempt("stat", lambda: _stat(hidden))
    for folder in _texts(doors.get("write")):
        attempt("write", lambda folder=folder: _write_in(folder))  # type: ignore[misc]  # mypy cannot type a bound default
    port = doors.get("port")
    if isinstance(port, int):
        attempt("network", lambda: _connect(port))
    process = doors.get("process")
    if isinstance(process, int):
        attempt("signal", lambda: os.kill(process, 0))
    return refused, allowed


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _stat(path: str) -> None:
    os.stat(path)  # noqa: PTH116  # the child starts without pathlib


def _write_in(folder: str) -> None:
    path = f"{folder}/iqeval-must-not-exist-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.unlink(path)  # noqa: PTH108  # the child starts without pathlib


def _connect(port: int) -> None:
    import _socket  # the module above it costs a start as much as everything else here

    outward = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        outward.settimeout(2)
        outward.connect(("127.0.0.1", port))
    finally:
        outward.close()
