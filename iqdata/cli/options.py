"""The options that every verb takes, before or after its name, as one value."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import click

P = ParamSpec("P")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Everywhere:
    """What `-C --space --json -q -v --no-progress` and the options of a connection said.

    Attributes:
        workspace: the folder to work in, absolute.
        progress: whether bars may be drawn: stderr is a terminal and nobody said no.
        insecure: whether a password may travel in clear to another machine.
        tls_ca: file with certificates to trust, instead of the system's.
        tls_fingerprint: SHA-256 of the one certificate to trust.
    """

    workspace: Path
    space: str | None
    json_lines: bool
    quiet: bool
    verbose: bool
    progress: bool
    insecure: bool = False
    tls_ca: str | None = None
    tls_fingerprint: str | None = None


F = TypeVar("F", bound=Callable[..., object])


def everywhere_options(function: F) -> F:
    """Give a command or the group the options that stand everywhere."""
    for option in reversed(
        (
            click.option(
                "-C", "--workspace", metavar="DIR", help="Work in this folder instead of the current one."
            ),
            click.option("--space", metavar="URL", help="The space, instead of the one in iqdata.toml."),
            click.option(
                "--json", "json_lines", is_flag=True, help="JSON Lines on standard output, nothing else."
            ),
            click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong."),
            click.option("-v", "--verbose", is_flag=True, help="Say more: every file, every choice."),
            click.option("--no-progress", is_flag=True, help="No progress bars."),
            click.option(
                "--insecure",
                is_flag=True,
                help="Let the password travel in clear (ftp:// to another machine).",
            ),
            click.option(
                "--tls-ca", metavar="FILE", help="Trust the certificates in this file, not the system's."
            ),
            click.option(
                "--tls-fingerprint", metavar="SHA256", help="Trust the one certificate with this fingerprint."
            ),
        )
    ):
        function = option(function)
    return function


def everywhere(function: Callable[Concatenate[Everywhere, P], int]) -> Callable[P, int]:
    """Give a verb the options that stand everywhere, as its first argument."""

    @everywhere_options
    @click.pass_context
    @functools.wraps(function)
    def wrapper(ctx: click.Context, /, *args: P.args, **kwargs: P.kwargs) -> int:
        before: dict[str, object] = ctx.find_root().obj or {}
        flags = ("json_lines", "quiet", "verbose", "no_progress", "insecure")
        names = ("workspace", "space", "tls_ca", "tls_fingerprint", *flags)
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
            insecure=bool(given["insecure"]),
            tls_ca=str(given["tls_ca"]) if given["tls_ca"] else None,
            tls_fingerprint=str(given["tls_fingerprint"]) if given["tls_fingerprint"] else None,
        )
        return function(options, *args, **kwargs)

    return wrapper
