"""What stands in the two published files and in `report.json`.

Predictions and questions pass through one at a time. Refuses to know where it goes: `outputs` puts it there.
"""

import json
from collections.abc import Iterable, Mapping
from typing import IO

from iqeval.record import RunRecord
from iqeval.report.data import record_to_json

_as_published = json.JSONEncoder(ensure_ascii=False)


def write_predictions(
    stream: IO[str], categories: Iterable[tuple[str, int, str | None, Mapping[str, Iterable[object]] | None]]
) -> None:
    """Write `output.answer.json` in its published form.

    Args:
        stream: where to.
        categories: name, pass, message, and suite → predictions where there are any.
    """
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


def write_result(stream: IO[str], categories: Mapping[str, Mapping[str, object]]) -> None:
    """Write `result.json` in its published form."""
    stream.write(_as_published.encode(categories))


def write_report(stream: IO[str], record: RunRecord, questions: Iterable[Mapping[str, object]]) -> None:
    """Write `report.json`: the record, and a line for each question."""
    head = json.dumps(record_to_json(record), ensure_ascii=False, indent=1)
    stream.write(head[: head.rindex("}")].rstrip())
    stream.write(',\n "questions": [')
    for number, question in enumerate(questions):
        stream.write(",\n  " if number else "\n  ")
        stream.write(_as_published.encode(question))
    stream.write("\n ]\n}\n")
