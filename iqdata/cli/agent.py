"""`iqdata agent`: the space's extraction beside another server, until stopped."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iqdata.cli import options
from iqdata.cli.extracting import extraction_options, run_until_stopped
from iqdata.cli.telling import Teller

if TYPE_CHECKING:
    from iqdata.server.executors import Executors
    from iqdata.server.jobs import AfterExtraction


@click.command("agent")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The tree that the server serves.",
)
@click.option(
    "--layout",
    type=click.Choice(["single", "homes"]),
    default="single",
    show_default=True,
    help="single: DIR/train_data, DIR/group_data; homes: DIR/homes/TEAM/train_data, …",
)
@extraction_options
@click.option(
    "--polling", is_flag=True, help="Look every 2 s instead of asking the kernel: for network file systems."
)
@click.option(
    "--rescan",
    type=click.FloatRange(1),
    default=3600,
    show_default=True,
    metavar="S",
    help="Look at everything this often.",
)
@click.option("--extract-existing", is_flag=True, help="On the first start, extract what is there already.")
@options.everywhere
def agent_command(
    everywhere: options.Everywhere,
    *,
    root: Path,
    layout: str,
    after: "AfterExtraction",
    executors: "Executors",
    polling: bool,
    rescan: float,
    extract_existing: bool,
) -> int:
    """Extract what any FTP or SFTP server receives or renames in a tree, until Ctrl-C.

    Works beside vsftpd, ProFTPD, Pure-FTPd, OpenSSH and others; run as root it works as the owner of each folder.
    """
    from iqdata.agent import Agent, AgentSettings, TreeLayout
    from iqdata.server.layout import Layout, hold_root

    settings = AgentSettings(
        root=root,
        layout=TreeLayout(layout),
        executors=executors,
        after=after,
        polling=polling,
        rescan_s=rescan,
        extract_existing=extract_existing,
    )
    agent = Agent(settings, on_event=Teller(everywhere))
    lock = hold_root(Layout(root=root.absolute()))
    try:
        if not everywhere.json_lines and not everywhere.quiet:
            homes = f", {len(agent.homes())} homes" if agent.settings.layout is TreeLayout.HOMES else ""
            click.echo(
                f"Watching {agent.root}{homes}; extracting what is uploaded or renamed. Stop with Ctrl-C."
            )
        run_until_stopped(agent)
    finally:
        os.close(lock)
    return 0
