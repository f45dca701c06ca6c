"""The `iqdata` command: a group that loads a verb's module only when the verb is called.

Refuses to do work itself: a verb parses, builds values, calls one function below, renders and returns an exit code.
Only this package catches `IqDataError`, prints it and exits.
"""

import gc
import sys
from importlib import import_module

import click

from iqdata import __version__
from iqdata.cli.options import everywhere_options
from iqdata.errors import IqDataError

# verb → (module in this package, one line of help). A table, so that `--help` imports none of them.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("init", "Make a workspace: iqdata.toml and the two areas."),
    "login": ("login", "Keep the password of a space."),
    "logout": ("login", "Forget the password of a space."),
    "push": ("mirror", "Mirror the workspace to the space."),
    "pull": ("mirror", "Mirror the space to the workspace."),
    "sync": ("mirror", "Mirror both ways."),
    "status": ("mirror", "Show what sync would do."),
    "watch": ("watch", "Upload what changes, until stopped."),
    "preview": ("preview", "Show what the server will extract, without extracting."),
    "extract": ("extract", "Apply the server's extraction rules here."),
    "ls": ("remote", "List a folder of the space."),
    "tree": ("remote", "Show the space as a tree."),
    "get": ("remote", "Download one file or folder."),
    "put": ("remote", "Upload one file."),
    "mv": ("remote", "Rename in the space."),
    "rm": ("remote", "Delete in the space."),
    "mkdir": ("remote", "Create a folder in the space."),
    "verify": ("verify", "Compare content, not dates."),
    "doctor": ("doctor", "Examine connection, server and permissions."),
    "serve": ("serve", "Run an embedded space: an FTP server that extracts."),
    "agent": ("agent", "Give another server's tree the same extraction."),
    "user": ("accounts", "Accounts of an embedded space."),
    "group": ("accounts", "Groups of an embedded space."),
    "space": ("accounts", "What a model of a team sees of an embedded space."),
    "demo": ("demo", "See all of it in one minute, in a temporary folder."),
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
        module = import_module(f"iqdata.cli.{VERBS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="iqdata", message="%(prog)s %(version)s")
@everywhere_options
@click.pass_context
def cli(ctx: click.Context, /, **given: object) -> None:
    """Mirror train_data/ and group_data/ to a space that extracts archives; preview what it will do."""
    ctx.obj = given


def main() -> None:
    """Run the command line and exit with the contract's code."""
    # Nearly all that a run makes, it keeps: looking for cycles every 700 objects is a tenth of its start and finds none.
    gc.set_threshold(100_000, 20, 20)
    code = run(sys.argv[1:])
    # The interpreter's own last search would go through every object of every module: as long as importing a few of them.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code.

    0 done, 1 items failed, 2 usage or configuration, 3 remote, 4 stopped for safety, 130 interrupted.
    """
    try:
        result = cli.main(arguments, prog_name="iqdata", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("iqdata: interrupted", err=True)
        return 130
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except KeyboardInterrupt:
        click.echo("iqdata: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); point stdout elsewhere so that the interpreter's own flush is quiet.
        sys.stdout = None
        return 1
    except IqDataError as exc:
        click.echo(f"iqdata: {exc}", err=True)
        return exc.exit_code
    return result if isinstance(result, int) else 0
