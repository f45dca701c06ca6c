"""`iqeval new`: a working example."""

from pathlib import Path

import click

from iqeval.cli import render
from iqeval.scaffold import Template, scaffold


@click.command("new")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--template",
    type=click.Choice([template.value for template in Template]),
    default="model",
    show_default=True,
    help="A model asked question by question, one given whole suites, or one that reads uploaded data.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def new_command(folder: Path, template: str, *, as_json: bool) -> int:
    """Make DIR with a model, a run_script.py and a small suite."""
    files = scaffold(folder, Template(template))
    if as_json:
        render.show_json(
            {
                "folder": str(folder.absolute()),
                "files": [path.relative_to(folder.absolute()).as_posix() for path in files],
            }
        )
        return 0
    for path in files:
        click.echo(folder / path.relative_to(folder.absolute()))
    click.echo(
        f"\nNow try:\n  iqeval run {folder} -c {folder}/data/config.json -w {folder}\n  iqeval script {folder}/run_script.py"
    )
    return 0
