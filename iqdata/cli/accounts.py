"""`iqdata user`, `group` and `space`: who may use an embedded space, and what a model of a team sees of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from iqdata.cli import options
from iqdata.cli.sizes import SIZE, text_of
from iqdata.errors import ConfigError

if TYPE_CHECKING:
    from iqdata.server.accounts import Accounts
    from iqdata.server.layout import Layout

_root = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The folder of the space.",
)


def _open(root: Path, *, make: bool = False) -> "tuple[Layout, Accounts]":
    from iqdata.server.accounts import Accounts
    from iqdata.server.layout import Layout
    from iqdata.server.privileges import work_as_owner

    layout = Layout(root=root.absolute())
    # What root wrote here, the server could not read any more.
    work_as_owner(layout.root)
    if not make and not layout.private.is_dir():
        raise ConfigError(
            f"{root} is no space yet; `iqdata serve --root {root}` or `iqdata user add` makes it one"
        )
    layout.prepare()
    return layout, Accounts(layout)


def _say(everywhere: options.Everywhere, sentence: str, **fields: object) -> int:
    if everywhere.json_lines:
        click.echo(msgspec.json.encode(fields).decode())
    elif not everywhere.quiet:
        click.echo(sentence)
    return 0


def _password(name: str) -> str:
    """Ask twice in a terminal; otherwise take one line of standard input."""
    if sys.stdin.isatty():
        password: str = click.prompt(
            f"Password for {name}", hide_input=True, confirmation_prompt=True, err=True
        )
        return password
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise ConfigError(
            "no password on standard input; give it as one line, or run this in a terminal to be asked"
        )
    return password


# --- user


@click.group("user")
def user_command() -> None:
    """Accounts of an embedded space."""


@user_command.command("add")
@click.argument("name")
@_root
@click.option(
    "--quota", type=SIZE, metavar="SIZE", help="What this team may hold, instead of the space's --quota."
)
@options.everywhere
def user_add(everywhere: options.Everywhere, *, name: str, root: Path, quota: int | None) -> int:
    """Add an account; the password comes from a prompt, or from standard input."""
    _layout, accounts = _open(root, make=True)
    if accounts.get(name) is not None:
        raise ConfigError(
            f"there is an account {name!r} already; `iqdata user passwd {name}` changes its password"
        )
    accounts.add(name, _password(name), quota_bytes=quota)
    return _say(everywhere, f"Added {name}.", user=name, action="added")


@user_command.command("passwd")
@click.argument("name")
@_root
@options.everywhere
def user_passwd(everywhere: options.Everywhere, *, name: str, root: Path) -> int:
    """Change a password; running sessions of the account end."""
    _layout, accounts = _open(root)
    accounts.need(name)
    accounts.set_password(name, _password(name))
    return _say(everywhere, f"Changed the password of {name}.", user=name, action="password-changed")


@user_command.command("disable")
@click.argument("name")
@_root
@options.everywhere
def user_disable(everywhere: options.Everywhere, *, name: str, root: Path) -> int:
    """Refuse an account from now on; its running sessions end, its files stay."""
    _open(root)[1].set_enabled(name, enabled=False)
    return _say(
        everywhere,
        f"Disabled {name}; `iqdata user enable {name}` lets it in again.",
        user=name,
        action="disabled",
    )


@user_command.command("enable")
@click.argument("name")
@_root
@options.everywhere
def user_enable(everywhere: options.Everywhere, *, name: str, root: Path) -> int:
    """Let a disabled account in again."""
    _open(root)[1].set_enabled(name, enabled=True)
    return _say(everywhere, f"Enabled {name}.", user=name, action="enabled")


@user_command.command("quota")
@click.argument("name")
@click.argument("size", type=SIZE, required=False)
@_root
@options.everywhere
def user_quota(everywhere: options.Everywhere, *, name: str, size: int | None, root: Path) -> int:
    """Set what a team may hold; without SIZE the space's own --quota applies. Takes effect within seconds."""
    _open(root)[1].set_quota(name, size)
    text = "the space's own quota" if size is None else text_of(size)
    return _say(everywhere, f"{name} may hold: {text}.", user=name, action="quota-set", quota_bytes=size)


@user_command.command("remove")
@click.argument("name")
@_root
@options.everywhere
def user_remove(everywhere: options.Everywhere, *, name: str, root: Path) -> int:
    """Remove an account; its files stay where they are."""
    layout, accounts = _open(root)
    accounts.remove(name)
    return _say(
        everywhere, f"Removed {name}; its files stay in {layout.home(name)}.", user=name, action="removed"
    )


@user_command.command("list")
@_root
@options.everywhere
def user_list(everywhere: options.Everywhere, *, root: Path) -> int:
    """List the accounts."""
    _layout, accounts = _open(root)
    rows = []
    for account in accounts.all().values():
        role = None if account.group is None else "owner" if account.owner == account.name else "member"
        fields = {
            "user": account.name,
            "enabled": account.enabled,
            "password": "kept" if account.hash else "command-line",
            "group": account.group,
            "role": role,
            "quota_bytes": account.quota_bytes,
        }
        if everywhere.json_lines:
            click.echo(msgspec.json.encode(fields).decode())
        group = f"{role} of {account.group}" if role else ""
        quota = "" if account.quota_bytes is None else f"quota {text_of(account.quota_bytes)}"
        notes = [
            quota,
            "" if account.enabled else "disabled",
            "" if account.hash else "password given to serve",
        ]
        rows.append((account.name, group, ", ".join(note for note in notes if note)))
    if not everywhere.json_lines:
        _table(rows, empty="No accounts yet: iqdata user add NAME --root DIR")
    return 0


# --- group


@click.group("group")
def group_command() -> None:
    """Groups of an embedded space: their members share the owner's group_data."""


@group_command.command("create")
@click.argument("group")
@click.option("--owner", required=True, metavar="TEAM", help="The team whose group_data it is.")
@_root
@options.everywhere
def group_create(everywhere: options.Everywhere, *, group: str, owner: str, root: Path) -> int:
    """Make a group."""
    _open(root)[1].create_group(group, owner)
    return _say(
        everywhere, f"Group {group} shares {owner}'s group_data.", group=group, owner=owner, action="created"
    )


@group_command.command("join")
@click.argument("group")
@click.argument("team")
@_root
@options.everywhere
def group_join(everywhere: options.Everywhere, *, group: str, team: str, root: Path) -> int:
    """Make a team a member."""
    _open(root)[1].join(group, team)
    return _say(everywhere, f"{team} is a member of {group}.", group=group, team=team, action="joined")


@group_command.command("leave")
@click.argument("group")
@click.argument("team")
@_root
@options.everywhere
def group_leave(everywhere: options.Everywhere, *, group: str, team: str, root: Path) -> int:
    """End a membership; the team sees its own group_data again."""
    _open(root)[1].leave(group, team)
    return _say(everywhere, f"{team} has left {group}.", group=group, team=team, action="left")


@group_command.command("remove")
@click.argument("group")
@_root
@options.everywhere
def group_remove(everywhere: options.Everywhere, *, group: str, root: Path) -> int:
    """End a group; nobody's files move."""
    _open(root)[1].remove_group(group)
    return _say(everywhere, f"Removed group {group}.", group=group, action="removed")


@group_command.command("list")
@_root
@options.everywhere
def group_list(everywhere: options.Everywhere, *, root: Path) -> int:
    """List the groups."""
    rows = []
    for group in _open(root)[1].groups():
        if everywhere.json_lines:
            click.echo(
                msgspec.json.encode(
                    {"group": group.name, "owner": group.owner, "members": group.members}
                ).decode()
            )
        rows.append((group.name, f"owner {group.owner}", f"members {', '.join(group.members) or '(none)'}"))
    if not everywhere.json_lines:
        _table(rows, empty="No groups yet: iqdata group create GROUP --owner TEAM --root DIR")
    return 0


# --- space


@click.group("space")
def space_command() -> None:
    """What an embedded space holds."""


@space_command.command("view")
@click.argument("team")
@_root
@options.everywhere
def space_view(everywhere: options.Everywhere, *, team: str, root: Path) -> int:
    """Print the two real folders that a model of a team sees."""
    layout, accounts = _open(root)
    account = accounts.need(team)
    view = layout.view(team, account.owner or team)
    if everywhere.json_lines:
        click.echo(
            msgspec.json.encode({"team": team, **{area: str(path) for area, path in view.items()}}).decode()
        )
        return 0
    shared = f"   (of {account.owner}, group {account.group})" if account.owner not in (None, team) else ""
    click.echo(f"train_data  {view['train_data']}")
    click.echo(f"group_data  {view['group_data']}{shared}")
    return 0


def _table(rows: list[tuple[str, str, str]], *, empty: str) -> None:
    if not rows:
        click.echo(empty)
        return
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for first, second, third in rows:
        click.echo(f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third}".rstrip())
