"""`iqdata serve`: the embedded space, until stopped."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iqdata.cli import options
from iqdata.cli.extracting import extraction_options, run_until_stopped
from iqdata.cli.sizes import SIZE, text_of
from iqdata.cli.telling import Teller
from iqdata.errors import ConfigError

if TYPE_CHECKING:
    from iqdata.server.app import Space
    from iqdata.server.executors import Executors
    from iqdata.server.jobs import AfterExtraction


@click.command("serve")
@click.option(
    "--root", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder of the space."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Listen on this address; 0.0.0.0 for all."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=2121, show_default=True, help="0 takes a free port."
)
@click.option(
    "--user", "users", multiple=True, metavar="NAME:PASSWORD", help="An account for this run; repeatable."
)
@click.option("--tls/--no-tls", default=None, help="FTPS. Default: on when a certificate is given.")
@click.option(
    "--cert", type=click.Path(path_type=Path, exists=True), metavar="FILE", help="Certificate chain, PEM."
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="Its key, when in another file.",
)
@click.option("--tls-required", is_flag=True, help="Refuse sessions and transfers without TLS.")
@click.option("--quota", type=SIZE, metavar="SIZE", help="What each team may hold, extracted files included.")
@click.option("--passive-ports", metavar="A-B", help="Ports for data connections, to open in a firewall.")
@click.option("--public-address", metavar="ADDRESS", help="What PASV tells clients, behind NAT.")
@extraction_options
@click.option(
    "--run-as",
    metavar="USER",
    help="Started by root: work as this user, to whom DIR belongs. Default: the owner of DIR.",
)
@click.option("--max-connections", type=click.IntRange(1), default=1024, show_default=True)
@click.option("--max-per-address", type=click.IntRange(1), default=256, show_default=True)
@click.option("--max-per-account", type=click.IntRange(1), default=256, show_default=True)
@click.option("--idle-timeout", type=click.IntRange(5), default=300, show_default=True, metavar="S")
@options.everywhere
def serve_command(
    everywhere: options.Everywhere,
    *,
    root: Path,
    host: str,
    port: int,
    users: tuple[str, ...],
    tls: bool | None,
    cert: Path | None,
    key: Path | None,
    tls_required: bool,
    quota: int | None,
    passive_ports: str | None,
    public_address: str | None,
    after: "AfterExtraction",
    executors: "Executors",
    run_as: str | None,
    max_connections: int,
    max_per_address: int,
    max_per_account: int,
    idle_timeout: int,
) -> int:
    """Run an FTP server for teams that extracts what is uploaded or renamed, until Ctrl-C.

    Accounts come from --user for this run, or from `iqdata user add` for good.
    """
    from iqdata.server.app import Space, SpaceSettings
    from iqdata.server.doors import Tls, listen
    from iqdata.server.layout import Layout, hold_root
    from iqdata.server.privileges import work_as_owner

    given, ports = _users(users), _ports(passive_ports)
    secured = _is_secured(wanted=tls, given=cert is not None, required=tls_required)
    layout = Layout(root=root.absolute())
    # What may take root comes first; everything after it is done as the owner of the space.
    with contextlib.ExitStack() as until_the_end:
        door = until_the_end.enter_context(listen(host, port))
        certificate = Tls.load(cert, key or cert, required=tls_required) if secured and cert else None
        account = work_as_owner(layout.root, run_as=run_as)
        layout.prepare()
        until_the_end.callback(os.close, hold_root(layout))
        if secured and certificate is None:
            certificate = Tls.self_made(layout.private / "tls", host, required=tls_required)
        settings = SpaceSettings(
            root=root,
            users=given,
            tls=certificate,
            quota_bytes=quota,
            passive_ports=ports,
            masquerade_address=public_address,
            after=after,
            executors=executors,
            max_connections=max_connections,
            max_per_address=max_per_address,
            max_per_account=max_per_account,
            idle_timeout_s=idle_timeout,
        )
        space = Space(settings, door=door, on_event=Teller(everywhere))
        if not everywhere.json_lines and not everywhere.quiet:
            _introduce(space, account=account)
        run_until_stopped(space)
    return 0


def _users(given: tuple[str, ...]) -> dict[str, str]:
    users = {}
    for text in given:
        name, colon, password = text.partition(":")
        if not colon or not password:
            raise ConfigError(f"--user {name!r} needs a password: --user {name or 'NAME'}:PASSWORD")
        users[name] = password
    return users


def _ports(text: str | None) -> range | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit() and 0 < int(first) <= int(last or first) < 65536):
        raise ConfigError(f"--passive-ports {text!r} is no range of ports such as 50000-50100")
    return range(int(first), int(last or first) + 1)


def _is_secured(*, wanted: bool | None, given: bool, required: bool) -> bool:
    if wanted is False and required:
        raise ConfigError("--tls-required and --no-tls contradict each other")
    return wanted if wanted is not None else given or required


def _introduce(space: "Space", *, account: str | None) -> None:
    host, port = space.address
    secured = space.settings.tls is not None
    scheme = "ftpes" if secured else "ftp"
    shown = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104  only compared
    names = space.enabled_accounts()
    click.echo(f"Space in {space.layout.root}, extracting what is uploaded or renamed.")
    if names:
        for name in names[:10]:
            click.echo(f"  connect to   {scheme}://{name}@{shown}:{port}/")
        if len(names) > 10:
            click.echo(
                f"  … and {len(names) - 10} more accounts (iqdata user list --root {space.layout.root})"
            )
    else:
        click.echo(
            f"  no accounts yet: iqdata user add NAME --root {space.layout.root}   (or --user NAME:PASSWORD)"
        )
    if space.settings.tls is not None:
        from iqdata.server.tls import fingerprint_of

        click.echo(f"  certificate  SHA-256 {fingerprint_of(space.settings.tls.certificate)}")
    if not secured and host not in ("127.0.0.1", "::1", "localhost"):
        click.secho(
            "  passwords travel in clear: use --tls on a network you do not trust", fg="yellow", err=True
        )
    if account is not None:
        click.echo(f"  works as     {account}, to whom the folder belongs")
    elif os.geteuid() == 0:
        click.secho(
            "  works as     root; an account of its own is safer (see --run-as)", fg="yellow", err=True
        )
    if space.settings.quota_bytes is not None:
        click.echo(f"  each team    may hold {text_of(space.settings.quota_bytes)}")
    click.echo("  stop with    Ctrl-C")
