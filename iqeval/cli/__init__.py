"""The `iqeval` command: a group that loads a verb's module only when the verb is called.

Refuses to do work itself: a verb parses, builds values, calls one function below, renders and returns an exit code.
Only this package catches `IqEvalError`, prints it and exits.
"""

import gc
import sys
from importlib import import_module

import click

from iqdata import __version__
from iqeval.errors import IqEvalError

# verb → (module in this package, one line of help). A table, so that `--help` imports none of them.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run a model on a config's suites, in a sandbox, and score it."),
    "score": ("score", "Score an output.answer.json."),
    "pack": ("pack", "Check a model folder and write the archive to upload."),
    "check": ("check", "Say all that is wrong with a model, before an upload does."),
    "new": ("new", "Make a working example."),
    "script": ("script", "Run a published run_script.py."),
    "resolve": ("resolve", "Say what a data path means, and what is there."),
}


class LazyGroup(click.Group):
    """A group whose verbs are modules imported on use: start-up stays that of click alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"iqeval.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="iqeval", message="%(prog)s %(version)s")
def cli() -> None:
    """Run models on question suites in a sandbox; score, check and pack them."""


def main() -> None:
    """Run the command line and exit with the contract's code."""
    code = run(sys.argv[1:])
    # The interpreter's own last search would go through every object of every module: as long as importing a few of them.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code.

    0 done, 1 a category failed, 2 the run could not start or usage, 3 no sandbox, 130 interrupted.
    """
    try:
        result = cli.main(arguments, prog_name="iqeval", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("iqeval: interrupted; `--resume` goes on from here", err=True)
        return 130
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); point stdout elsewhere so that the interpreter's own flush is quiet.
        sys.stdout = None
        return 1
    except IqEvalError as exc:
        click.echo(f"iqeval: {exc}", err=True)
        return exc.exit_code
    return result if isinstance(result, int) else 0
