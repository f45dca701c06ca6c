"""`iqeval run`: run a model and score it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iqeval.cli.options import Seconds, Size, answers_option, config_option
from iqeval.cli.progress import Progress
from iqeval.outputs import OUTPUTS
from iqeval.run import run
from iqeval.sandbox.base import Limits, Wanted, default_memory
from iqeval.settings import Settings
from iqeval.tasks import OnError

if TYPE_CHECKING:
    from iqeval.record import RunRecord


@click.command("run")
@click.argument("model", type=click.Path(path_type=Path))
@config_option
@click.option(
    "-w",
    "--work-root",
    "work",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The model's working folder, with train_data and group_data.  [default: here]",
)
@answers_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where results go.  [default: the work root]",
)
@click.option("-s", "--server", is_flag=True, help="Run only, no answers near; a sandbox is required.")
@click.option(
    "--sandbox",
    type=click.Choice([wanted.value for wanted in Wanted]),
    help="[default: auto; with --server: require]",
)
@click.option("--network", is_flag=True, help="Let the model reach the network.")
@click.option(
    "--read",
    "readable",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Let the model read this too (repeatable).",
)
@click.option(
    "--start-timeout",
    type=Seconds(),
    default="15m",
    show_default=True,
    help="Import, global_pre_run, pre_run.",
)
@click.option(
    "--question-timeout", type=Seconds(), default="5m", show_default=True, help="One call of solve."
)
@click.option(
    "--suite-timeout",
    type=Seconds(),
    default="6h",
    show_default=True,
    help="One suite, one call of eval_questions.",
)
@click.option("--timeout", type=Seconds(), help="The whole run.  [default: none]")
@click.option(
    "--memory", type=Size(), help="For the model and all that it starts.  [default: 80 % of this machine's]"
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="How many the model may have at a time.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Categories side by side."
)
@click.option("--split", is_flag=True, help="With --jobs: also parts of a suite, for models with solve().")
@click.option(
    "--on-error",
    type=click.Choice([choice.value for choice in OnError]),
    default="fail",
    show_default=True,
    help="What a failing question does to its category.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier run with the same --out was stopped.")
@click.option("--seed", type=int, help="Seed of random, numpy and hashes in the model.")
@click.option("--json", "as_json", is_flag=True, help="The record as one line of JSON on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Only the table.")
@click.option("--no-progress", is_flag=True, help="No progress bars.")
def run_command(model: Path, config: Path, **given: object) -> int:
    """Run MODEL, a folder with an entry.json, on a config's suites and score it."""
    settings = _settings(given)
    quiet, as_json = bool(given["quiet"]), bool(given["as_json"])
    draw = sys.stderr.isatty() and not (given["no_progress"] or quiet or as_json)
    with Progress(draw=draw, talk=not quiet) as progress:
        record = run(model, config, settings, on_event=progress.on_event)
    if as_json:
        from iqeval.cli import render
        from iqeval.report.data import record_to_json

        render.show_json(record_to_json(record))
    else:
        show_record(record, quiet=quiet)
    return record.exit_code


def show_record(record: "RunRecord", *, quiet: bool = False) -> None:
    """Print a record for people."""
    from iqeval.cli import render
    from iqeval.report.text import closing, notes, table, warnings

    if record.could_not_start:
        render.show(notes(record), err=True)
        return
    if not quiet:
        click.echo()
    render.show(table(record, unicode=render.can_draw()))
    click.echo()
    below = notes(record)
    render.show(below)
    if not quiet:
        render.show(warnings(record))
        files = [name for name in OUTPUTS if (Path(record.out) / name).exists()]
        render.show([closing(record, files)])


def _settings(given: dict[str, object]) -> Settings:
    def path(name: str) -> Path | None:
        value = given[name]
        return value if isinstance(value, Path) else None

    def number(name: str) -> float | None:
        value = given[name]
        return value if isinstance(value, float) else None

    memory, jobs, processes, seed, readable = (
        given["memory"],
        given["jobs"],
        given["processes"],
        given["seed"],
        given["readable"],
    )
    return Settings(
        work=path("work"),
        answers=path("answers"),
        out=path("out"),
        server=bool(given["server"]),
        sandbox=Wanted(given["sandbox"]) if given["sandbox"] else None,
        network=bool(given["network"]),
        readable=tuple(item for item in readable if isinstance(item, Path))
        if isinstance(readable, tuple)
        else (),
        limits=Limits(
            start_s=number("start_timeout"),
            question_s=number("question_timeout"),
            suite_s=number("suite_timeout"),
            run_s=number("timeout"),
            memory_bytes=memory if isinstance(memory, int) else default_memory(),
            processes=processes if isinstance(processes, int) else 512,
        ),
        jobs=jobs if isinstance(jobs, int) else 1,
        split=bool(given["split"]),
        on_error=OnError(given["on_error"]),
        resume=bool(given["resume"]),
        seed=seed if isinstance(seed, int) else None,
    )
