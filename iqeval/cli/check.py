"""`iqeval check`: all that is wrong with a model."""

import dataclasses
from pathlib import Path

import click

from iqeval.check import PER_SUITE, check
from iqeval.cli import render
from iqeval.cli.pack import finding_to_json, show_findings
from iqeval.cli.progress import Progress
from iqeval.run import Settings
from iqeval.sandbox.base import Limits, Wanted, default_memory
from iqeval.scaffold import SUITE


@click.command("check")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Suites to take questions from.  [default: a small suite that comes along]",
)
@click.option(
    "-w",
    "--work-root",
    "work",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The model's working folder, with train_data and group_data.  [default: MODEL, or the folder above it, where the data are]",
)
@click.option(
    "--sandbox", type=click.Choice([wanted.value for wanted in Wanted]), default="auto", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def check_command(model: Path, config: Path | None, work: Path | None, sandbox: str, *, as_json: bool) -> int:
    """Read MODEL's folder, load it in the sandbox, and ask it a few questions of each suite."""
    settings = Settings(
        work=work or _work_of(model),
        sandbox=Wanted(sandbox),
        limits=dataclasses.replace(Limits(), memory_bytes=default_memory()),
    )
    with Progress(draw=False, talk=not as_json) as progress:
        found = check(model, config or SUITE / "config.json", settings, on_event=progress.on_event)
    if as_json:
        render.show_json(
            {"errors": found.errors, "findings": [finding_to_json(finding) for finding in found.findings]}
        )
        return 1 if found.errors else 0
    show_findings(found.findings)
    asked = (
        sum(suite.answered for result in found.record.categories for suite in result.suites)
        if found.record
        else 0
    )
    warned = len(found.findings) - found.errors
    tried = f"{asked} questions answered ({PER_SUITE} of each suite)" if found.record else "not run"
    click.echo(f"{model}: errors: {found.errors}, warnings: {warned}; {tried}")
    return 1 if found.errors else 0


def _work_of(model: Path) -> Path:
    for place in (model.absolute(), model.absolute().parent):
        if any((place / area).is_dir() for area in ("train_data", "group_data")):
            return place
    return Path().absolute()
