"""`iqeval script`: a published run_script.py, without the published package."""

import sys
from pathlib import Path

import click

from iqeval.cli.progress import Progress
from iqeval.run import Settings
from iqeval.sandbox.base import Limits, Wanted, default_memory
from iqeval.script import Context, run_script


@click.command("script", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--sandbox",
    type=click.Choice([wanted.value for wanted in Wanted]),
    help="[default: auto; in server mode: require]",
)
@click.option("--no-progress", is_flag=True, help="No progress bars.")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def script_command(sandbox: str | None, path: Path, arguments: tuple[str, ...], *, no_progress: bool) -> int:
    """Run PATH, a run_script.py, as Python would; `iqtest` in it is this package."""
    settings = Settings(
        sandbox=Wanted(sandbox) if sandbox else None, limits=Limits(memory_bytes=default_memory())
    )
    with Progress(draw=sys.stderr.isatty() and not no_progress, talk=False) as progress:
        return run_script(path, arguments, Context(settings=settings, on_event=progress.on_event))
