"""Runs a published `run_script.py` without the published package: `iqtest` is the alias below this one.

The script is its owner's and runs in this process; the model that it names runs in a sandboxed child as ever. Refuses to
install anything: the alias is on the path for the time of the script.
"""

import contextlib
import contextvars
import dataclasses
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from iqeval import events
from iqeval.errors import UsageError
from iqeval.run import Settings
from iqeval.sandbox.base import PACKAGE

ALIAS = PACKAGE / "alias"


@dataclasses.dataclass(slots=True, kw_only=True)
class Context:
    """What a script's runs take over from its caller, and what became of them."""

    settings: Settings = dataclasses.field(default_factory=Settings)
    on_event: events.Listener = events.ignore
    exit_codes: list[int] = dataclasses.field(default_factory=list)


_context: contextvars.ContextVar[Context | None] = contextvars.ContextVar("iqeval_script", default=None)


def context() -> Context:
    """Return the running script's context, or a fresh one outside of any."""
    return _context.get() or Context()


def run_script(path: Path, arguments: Sequence[str], given: Context) -> int:
    """Run a script as `python path arguments…` would and return its exit code, or the worst of its runs' where that is 0.

    Raises:
        UsageError: there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected a run_script.py")
    token = _context.set(given)
    status = 0
    try:
        with _as_main(path, arguments):
            try:
                runpy.run_path(str(path.absolute()), run_name="__main__")
            except SystemExit as exc:
                status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    finally:
        _context.reset(token)
    return status or max(given.exit_codes, default=0)


@contextmanager
def _as_main(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    argv, search = list(sys.argv), list(sys.path)
    loaded = {name for name in sys.modules if name.partition(".")[0] == "iqtest"}
    hidden = {name: sys.modules.pop(name) for name in loaded}
    sys.argv[:] = [str(path), *arguments]
    sys.path[:0] = [str(ALIAS), str(path.absolute().parent)]
    try:
        yield
    finally:
        sys.argv[:], sys.path[:] = argv, search
        for name in [name for name in sys.modules if name.partition(".")[0] == "iqtest"]:
            del sys.modules[name]
        with contextlib.suppress(KeyError):
            sys.modules.update(hidden)
