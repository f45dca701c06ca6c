"""`watch`: push what changes until the user stops it."""

import signal
import threading

import click

from iqdata.actions import Direction, Policy
from iqdata.cli.connection import connector_of, settings_of
from iqdata.cli.mirror import Given, mirror_options
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import screen_for


@click.command("watch")
@mirror_options
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    metavar="S",
    help="A file is sent when nothing has happened to it for so long.",
)
@click.option(
    "--rescan",
    type=click.FloatRange(min=1),
    default=3600,
    show_default=True,
    metavar="S",
    help="Look at everything at least this often.",
)
@click.option(
    "--polling", is_flag=True, help="Compare listings instead of kernel events: for network file systems."
)
@everywhere
def watch_command(
    options: Everywhere, /, *, settle: float, rescan: float, polling: bool, **kwargs: object
) -> int:
    """Upload what changes in the areas, until stopped (Ctrl-C finishes the item in hand and exits 0)."""
    from iqdata.sync import Request
    from iqdata.watch import WatchOptions, watch

    given = Given(**kwargs)  # type: ignore[arg-type]  # click's names are Given's fields
    settings = given.applied_to(settings_of(options))
    screen = screen_for(options)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    policy = Policy(
        direction=Direction.PUSH,
        delete=given.delete,
        conflict=settings.conflict,
        extract_local=False,
        checksum=given.checksum,
    )
    watch(
        settings,
        Request(policy=policy, dry_run=given.dry_run, wait=given.wait),
        connector_of(settings),
        options=WatchOptions(settle_s=settle, rescan_s=rescan, polling=polling),
        listener=screen,
        on_report=screen.finish,
        stop=stop,
    )
    return 0
