"""`push`, `pull`, `sync` and `status`: one recipe, four words."""

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from iqdata.actions import ConflictPolicy, Direction, Policy
from iqdata.cli.connection import connector_of, settings_of
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, refused_json, screen_for
from iqdata.config import Settings, parse_choice, parse_size
from iqdata.errors import ConfigError, IqDataError, UnsafePath
from iqdata.paths import AREAS, RelPath
from iqdata.sync import Request, run


def mirror_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a verb the options that push, pull and sync share."""
    for option in reversed(
        (
            click.argument("paths", nargs=-1, metavar="[PATH]..."),
            click.option(
                "--area",
                "areas",
                multiple=True,
                type=click.Choice(AREAS),
                help="Only this area; again for both.",
            ),
            click.option(
                "--include", multiple=True, metavar="PATTERN", help="Only files that match (gitignore rules)."
            ),
            click.option(
                "--exclude",
                multiple=True,
                metavar="PATTERN",
                help="Leave out what matches (gitignore rules).",
            ),
            click.option("--dry-run", is_flag=True, help="Show the plan, change nothing."),
            click.option("--delete", is_flag=True, help="Delete what is gone on the other side."),
            click.option(
                "--max-delete",
                metavar="N|N%",
                help="Stop before more deletions than this [25%, at least 10 files].",
            ),
            click.option("--checksum", is_flag=True, help="Compare content even where size and date agree."),
            click.option(
                "--jobs",
                type=click.IntRange(1, 64),
                help="Connections at once [8; over a long link up to 24]; 1 does one thing after the other.",
            ),
            click.option(
                "--bwlimit", metavar="RATE", help="Bytes a second over all connections, such as 2M."
            ),
            click.option(
                "--bundle",
                type=click.Choice(["auto", "always", "never"]),
                help="Send many small files as one archive [auto].",
            ),
            click.option(
                "--extract/--no-extract",
                default=True,
                help="Make derived files here by extracting local archives [extract].",
            ),
            click.option(
                "--wait/--no-wait",
                default=True,
                help="Wait until the space has extracted what was sent [wait].",
            ),
            click.option(
                "--wait-timeout",
                type=click.FloatRange(min=0),
                metavar="S",
                help="Wait at most this long [600].",
            ),
            click.option(
                "--conflict",
                type=click.Choice([item.value for item in ConflictPolicy]),
                help="Who wins when both sides changed [keep-both].",
            ),
            click.option(
                "--retries",
                type=click.IntRange(0, 100),
                metavar="N",
                help="Tries after a failure that may pass [3].",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(min=0.1),
                metavar="S",
                help="Give up on a silent server after this [30].",
            ),
        )
    ):
        function = option(function)
    return function


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a mirroring verb as click hands them over."""

    paths: tuple[str, ...]
    areas: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    dry_run: bool
    delete: bool
    max_delete: str | None
    checksum: bool
    jobs: int | None
    bwlimit: str | None
    bundle: str | None
    extract: bool
    wait: bool
    wait_timeout: float | None
    conflict: str | None
    retries: int | None
    timeout: float | None

    def applied_to(self, settings: Settings) -> Settings:
        """Return the settings with what the command line says on top."""
        changes: dict[str, object] = {
            "named_areas": self.areas,
            "include": (*settings.include, *self.include),
            "exclude": (*settings.exclude, *self.exclude),
        }
        on_top = (
            ("max_delete", self.max_delete),
            ("jobs", self.jobs),
            ("retries", self.retries),
            ("timeout_s", self.timeout),
            ("wait_timeout_s", self.wait_timeout),
            ("bwlimit_bytes_s", parse_size(self.bwlimit, what="--bwlimit") if self.bwlimit else None),
            (
                "conflict",
                parse_choice(ConflictPolicy, self.conflict, what="--conflict") if self.conflict else None,
            ),
        )
        changes |= {name: value for name, value in on_top if value is not None}
        return msgspec.structs.replace(settings, **changes)


def workspace_path(text: str, workspace: Path) -> RelPath:
    """Return a path of the command line, relative to the workspace; it may be given from the current folder too.

    Raises:
        ConfigError: it lies outside the workspace's areas.
    """
    given = Path(text)
    try:
        if given.is_absolute() or (
            not (workspace / given).exists() and given.absolute().is_relative_to(workspace)
        ):
            given = given.absolute().relative_to(workspace)
        path = RelPath.parse(given.as_posix().removeprefix("./"))
    except (ValueError, UnsafePath) as exc:
        raise ConfigError(f"{text}: not a path inside the workspace {workspace}") from exc
    if path.area not in AREAS:
        raise ConfigError(f"{text}: lies in neither {' nor '.join(AREAS)}; nothing else is mirrored")
    return path


def mirror(options: Everywhere, direction: Direction, given: Given) -> int:
    """Run one mirroring verb and return its exit code."""
    screen = screen_for(options)
    try:
        settings = given.applied_to(settings_of(options))
        request = Request(
            policy=Policy(
                direction=direction,
                delete=given.delete,
                conflict=settings.conflict,
                extract_local=given.extract,
                checksum=given.checksum,
            ),
            only=tuple(workspace_path(text, options.workspace) for text in given.paths),
            dry_run=given.dry_run,
            wait=given.wait,
        )
        report = run(settings, request, connector_of(settings), listener=screen)
    except IqDataError as exc:
        if options.json_lines:
            emit(refused_json(exc))
        raise
    finally:
        screen.close()
    screen.finish(report)
    return 0 if given.dry_run and not report.failed else report.exit_code


def _verb(name: str, direction: Direction, help_text: str) -> click.Command:
    @click.command(name, help=help_text, short_help=help_text)
    @mirror_options
    @everywhere
    def command(options: Everywhere, /, **kwargs: object) -> int:
        return mirror(options, direction, Given(**kwargs))  # type: ignore[arg-type]  # click's names are Given's fields

    return command


push_command = _verb("push", Direction.PUSH, "Mirror the workspace to the space.")
pull_command = _verb("pull", Direction.PULL, "Mirror the space to the workspace.")
sync_command = _verb("sync", Direction.BOTH, "Mirror both ways against what both sides last agreed on.")


@click.command("status")
@mirror_options
@everywhere
def status_command(options: Everywhere, /, **kwargs: object) -> int:
    """Show what sync would do. With --json: the plan."""
    given = Given(**kwargs)  # type: ignore[arg-type]  # click's names are Given's fields
    return mirror(options, Direction.BOTH, msgspec.structs.replace(given, dry_run=True))
