"""The files that a run leaves in its output folder: what they are called, and how they get there whole or not at all.

Refuses to leave a file of an earlier run beside those of this one. What stands in them is `results`'.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PREDICTIONS = "output.answer.json"
RESULT = "result.json"
REPORT = "report.json"
LOG = "model.log"
OUTPUTS = (PREDICTIONS, RESULT, REPORT, LOG)


def remove_old(out: Path) -> None:
    """Remove an earlier run's outputs, so that nothing stale is taken for this run's."""
    for name in OUTPUTS:
        with contextlib.suppress(FileNotFoundError):
            (out / name).unlink()


class Replacing:
    """New contents of files: written beside them, and put in their places together when the block ends well."""

    def __init__(self) -> None:
        self._written: list[tuple[IO[str], Path, Path]] = []

    def open(self, path: Path) -> IO[str]:
        """Return a stream for what is to stand at `path`; lone surrogates become escapes."""
        handle, name = tempfile.mkstemp(prefix=".iqeval-", dir=path.parent)
        stream = os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace")
        self._written.append((stream, Path(name), path))
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._place()
        finally:
            for stream, beside, _ in self._written:
                with contextlib.suppress(OSError):  # what could not be written has said so
                    stream.close()
                with contextlib.suppress(FileNotFoundError):
                    beside.unlink()

    def _place(self) -> None:
        # All are handed to the system before the first is waited for: it then writes them in one go.
        for stream, _, _ in self._written:
            stream.flush()
        for stream, _, _ in self._written:
            os.fsync(stream.fileno())
        for _, beside, path in self._written:
            beside.chmod(0o644)
            beside.replace(path)


def write_no_result(out: Path) -> None:
    """Write a valid `result.json` for a config that cannot be read: it has no category."""
    with Replacing() as files:
        files.open(out / RESULT).write("{}")
