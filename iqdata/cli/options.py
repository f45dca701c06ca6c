"""The options that every verb takes, before or after its name, as one value."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

import click

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Everywhere:
    """What `-C --space --json -q -v --no-progress` said.

    Attributes:
        workspace: the folder to work in, absolute.
        progress: whether bars may be drawn: stderr is a terminal and nobody said no.
    """

    workspace: Path
    space: str | None
    json_lines: bool
    quiet: bool
    verbose: bool
    progress: bool


def everywhere(function: Callable[Concatenate[Everywhere, P], int]) -> Callable[P, int]:
    """Give a verb the options that stand everywhere, as its first argument."""

    @click.option("-C", "--workspace", metavar="DIR", help="Work in this folder instead of the current one.")
    @click.option("--space", metavar="URL", help="The space, instead of the one in iqdata.toml.")
    @click.option("--json", "json_lines", is_flag=True, help="JSON Lines on standard output, nothing else.")
    @click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more: every file, every choice.")
    @click.option("--no-progress", is_flag=True, help="No progress bars.")
    @click.pass_context
    @functools.wraps(function)
    def wrapper(ctx: click.Context, /, *args: P.args, **kwargs: P.kwargs) -> int:
        before: dict[str, object] = ctx.find_root().obj or {}
        names = ("workspace", "space", "json_lines", "quiet", "verbose", "no_progress")
        given = {name: kwargs.pop(name, None) or before.get(name) for name in names}
        workspace, space = given["workspace"], given["space"]
        options = Everywhere(
            workspace=Path(str(workspace) if workspace else ".").absolute(),
            space=str(space) if space else None,
            json_lines=bool(given["json_lines"]),
            quiet=bool(given["quiet"]),
            verbose=bool(given["verbose"]),
            progress=not (given["no_progress"] or given["json_lines"] or given["quiet"])
            and sys.stderr.isatty(),
        )
        return function(options, *args, **kwargs)

    return wrapper
