"""`iqeval resolve`: what a data path means."""

from pathlib import Path

import click

from iqeval import data
from iqeval.cli import render


@click.command("resolve")
@click.argument("name")
@click.option(
    "-w",
    "--work-root",
    "work",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder with train_data and group_data.  [default: here]",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def resolve_command(name: str, work: Path | None, *, as_json: bool) -> int:
    """Print the path that NAME means to a model; train_data is prepended.

    Exit status 0: it is there; 1: it is missing; 2: it is refused.
    """
    try:
        path = data.resolve(name, space=work)
    except data.DataMissing as exc:
        if as_json:
            render.show_json(
                {"name": name, "path": str(exc.path), "status": "missing", "hints": list(exc.hints)}
            )
        else:
            click.echo(f"iqeval: {exc}", err=True)
        return 1
    except data.PathRefused as exc:
        if as_json:
            render.show_json({"name": name, "path": None, "status": "refused", "hints": [str(exc)]})
        else:
            click.echo(f"iqeval: {exc}", err=True)
        return 2
    if as_json:
        render.show_json({"name": name, "path": str(path), "status": "ok", "hints": []})
    else:
        click.echo(str(path))
    return 0
