"""`iqeval score`: output.answer.json → result.json."""

from pathlib import Path

import click

from iqeval.cli import render
from iqeval.cli.options import answers_option, config_option
from iqeval.cli.run import show_record
from iqeval.report.data import record_to_json
from iqeval.rescore import score


@click.command("score")
@config_option
@click.option(
    "-w",
    "--work-root",
    "work",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where output.answer.json is and result.json goes.  [default: here]",
)
@answers_option
@click.option("--json", "as_json", is_flag=True, help="The record as one line of JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Only the table.")
def score_command(
    config: Path, work: Path | None, answers: Path | None, *, as_json: bool, quiet: bool
) -> int:
    """Score the output.answer.json of a --server run."""
    record = score(config, work=work, answers=answers)
    if as_json:
        render.show_json(record_to_json(record))
    else:
        show_record(record, quiet=quiet)
    return record.exit_code
