"""`run_model.run()`: reads the published options from the command line and runs the model in a sandboxed child.

What it needs is imported when it is called: models import this module too, where there is nothing to run with.
"""

import argparse
from typing import TYPE_CHECKING

from iqeval.api import IQTestEvalBase, IQTestEvalDefault, IQTestModelBase

if TYPE_CHECKING:
    from iqeval.record import RunRecord

__all__ = ["IQTestEvalBase", "IQTestEvalDefault", "IQTestModelBase", "run", "unsafe_run"]

Scores = dict[str, dict[str, object]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("run_model")
    parser.add_argument("-c", "--config", default="config.json", help="which suites")
    parser.add_argument(
        "-s", "--server", action="store_true", help="run only; score with eval_result.run_analysis"
    )
    parser.add_argument(
        "-o", "--output", action="store_true", help="accepted: output.answer.json is always written"
    )
    parser.add_argument("-a", "--answer-root", help="where the answer files are")
    parser.add_argument("-w", "--work-root", help="the model's working folder, where results go")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was enforced and warned about")
    parser.add_argument("model_root", help="the model's folder")
    return parser.parse_args()


def unsafe_run() -> Scores:
    """Run what the command line names and return category → pass, score, message; nothing in server mode.

    Raises:
        IqEvalError: the run could not start.
    """
    import dataclasses
    from pathlib import Path

    from iqeval.errors import IqEvalError
    from iqeval.run import run as run_in_child
    from iqeval.script import context

    given = _arguments()
    here = context()
    settings = dataclasses.replace(
        here.settings,
        work=Path(given.work_root) if given.work_root else here.settings.work,
        answers=Path(given.answer_root) if given.answer_root else here.settings.answers,
        server=given.server or here.settings.server,
    )
    try:
        record = run_in_child(Path(given.model_root), Path(given.config), settings, on_event=here.on_event)
    except IqEvalError as exc:
        here.exit_codes.append(exc.exit_code)
        raise
    here.exit_codes.append(record.exit_code)
    if given.verbose:
        _describe(record)
    if record.could_not_start:
        first = next(
            (result.message for result in record.categories if result.message), "the run could not start"
        )
        raise IqEvalError(first)
    if settings.server:
        return {}
    return {result.category: result.published for result in record.categories}


def run() -> tuple[str | None, Scores | None]:
    """Return (None, scores), or (what went wrong, None)."""
    from iqeval.errors import IqEvalError

    try:
        return None, unsafe_run()
    except IqEvalError as exc:
        return str(exc), None


def _describe(record: "RunRecord") -> None:
    import sys

    lines = [f"model: {record.model}", f"work root: {record.work}", f"config: {record.config}"]
    if record.sandbox is not None:
        lines.append(record.sandbox.sentence)
    lines += [f"data: {text}" for text in record.warnings]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
