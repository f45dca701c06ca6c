"""Writes what a run leaves in its output folder: the two published files and `report.json`, each whole or not at all.

Predictions and questions pass through one at a time. Refuses to leave a file of an earlier run beside those of this one.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from iqeval.record import RunRecord
from iqeval.report.data import record_to_json
from iqeval.report.text import LOG_NAME

PREDICTIONS = "output.answer.json"
RESULT = "result.json"
REPORT = "report.json"
LOG = LOG_NAME
OUTPUTS = (PREDICTIONS, RESULT, REPORT, LOG)

_as_published = json.JSONEncoder(ensure_ascii=False)


def remove_old(out: Path) -> None:
    """Remove an earlier run's outputs, so that nothing stale is taken for this run's."""
    for name in OUTPUTS:
        with contextlib.suppress(FileNotFoundError):
            (out / name).unlink()


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """Write a file beside `path` and put it in its place when the block ends well; lone surrogates become escapes."""
    handle, name = tempfile.mkstemp(prefix=".iqeval-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def write_predictions(
    path: Path, categories: Iterable[tuple[str, int, str | None, Mapping[str, Iterable[object]] | None]]
) -> None:
    """Write `output.answer.json` in its published form.

    Args:
        path: where.
        categories: name, pass, message, and suite → predictions where there are any.
    """
    with replacing(path) as stream:
        stream.write("{")
        for number, (category, passed, message, suites) in enumerate(categories):
            stream.write(", " if number else "")
            stream.write(f'{_as_published.encode(category)}: {{"pass": {passed}, "predict_suites": ')
            if suites is None:
                stream.write("null")
            else:
                stream.write("{")
                for place, (suite, predictions) in enumerate(suites.items()):
                    stream.write(", " if place else "")
                    stream.write(f"{_as_published.encode(suite)}: [")
                    for index, prediction in enumerate(predictions):
                        stream.write(", " if index else "")
                        stream.write(_as_published.encode(prediction))
                    stream.write("]")
                stream.write("}")
            stream.write(f', "message": {_as_published.encode(message)}}}')
        stream.write("}")


def write_result(path: Path, categories: Mapping[str, Mapping[str, object]]) -> None:
    """Write `result.json` in its published form."""
    with replacing(path) as stream:
        stream.write(_as_published.encode(categories))


def write_report(path: Path, record: RunRecord, questions: Iterable[Mapping[str, object]]) -> None:
    """Write `report.json`: the record, and a line for each question."""
    head = json.dumps(record_to_json(record), ensure_ascii=False, indent=1)
    with replacing(path) as stream:
        stream.write(head[: head.rindex("}")].rstrip())
        stream.write(',\n "questions": [')
        for number, question in enumerate(questions):
            stream.write(",\n  " if number else "\n  ")
            stream.write(_as_published.encode(question))
        stream.write("\n ]\n}\n")
