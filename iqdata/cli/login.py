"""`login` and `logout`: a space's password, kept where only its user can read it."""

import dataclasses
import os
import sys

import click

from iqdata.cli.connection import settings_of, ssh_options_of, tls_options_of
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, say
from iqdata.config import Settings
from iqdata.errors import ConfigError
from iqdata.location import Location, Scheme


@click.command("login")
@click.option("--no-check", is_flag=True, help="Keep the password without trying it.")
@click.option(
    "--accept-host-key",
    metavar="SHA256:…",
    help="Accept the SSH host key with this fingerprint, and only that.",
)
@everywhere
def login_command(options: Everywhere, /, *, no_check: bool, accept_host_key: str | None) -> int:
    """Keep the password of a space: in the system keyring, else in a file that only you can read.

    The password comes from a prompt, or from standard input when that is no terminal; never from the command line.
    """
    from iqdata import credentials

    settings = settings_of(options)
    location = _remote(settings)
    if accept_host_key is not None:
        _accept(settings, location, accept_host_key, options)
        if not sys.stdin.isatty():
            return 0
    password = _read_password(credentials.account(location))
    if password is None:
        raise ConfigError("no password was given; nothing was kept")
    if not no_check:
        _check(settings, location, password)
    where = credentials.keep(location, password, env=os.environ)
    if options.json_lines:
        emit(
            {
                "event": "login",
                "account": credentials.account(location),
                "kept_in": where,
                "checked": not no_check,
            }
        )
    elif not options.quiet:
        say(
            f"{credentials.account(location)}: {'logged in; ' if not no_check else ''}the password is kept in {where}"
        )
    return 0


@click.command("logout")
@everywhere
def logout_command(options: Everywhere, /) -> int:
    """Forget the password of a space."""
    from iqdata import credentials

    location = _remote(settings_of(options))
    places = credentials.forget(location, env=os.environ)
    if options.json_lines:
        emit({"event": "logout", "account": credentials.account(location), "removed_from": places})
    elif not options.quiet:
        name = credentials.account(location)
        say(f"{name}: forgotten in {' and '.join(places)}" if places else f"{name}: no password was kept")
    return 0


def _remote(settings: Settings) -> Location:
    """Return the space, if it is one that has passwords."""
    location = settings.need_location()
    if location.scheme in (Scheme.FILE, Scheme.MEMORY):
        raise ConfigError(f"{location} has no password")
    if not location.user:
        raise ConfigError(
            f"{location} names no user; write {location.scheme.value}://USER@{location.host}/ as the space"
        )
    return dataclasses.replace(location, password=None)


def _read_password(name: str) -> str | None:
    if sys.stdin.isatty():
        from iqdata.credentials import ask_terminal

        return ask_terminal(f"Password of {name}: ")
    return sys.stdin.readline().rstrip("\r\n") or None


def _check(settings: Settings, location: Location, password: str) -> None:
    """Log in once with it.

    Raises:
        LoginRefused: it is wrong.
    """
    from iqdata.transports.connect import connect

    connect(
        location,
        password=password,
        tls=tls_options_of(settings),
        timeout_s=settings.timeout_s,
        insecure=settings.insecure,
        ssh=ssh_options_of(settings),
    ).close()


def _accept(settings: Settings, location: Location, fingerprint: str, options: Everywhere) -> None:
    from iqdata.transports.ssh import accept_host_key

    if location.scheme is not Scheme.SFTP:
        raise ConfigError(
            f"--accept-host-key is for sftp://; for {location.scheme.value}:// set tls_fingerprint or --tls-ca"
        )
    path = accept_host_key(location, fingerprint, ssh=ssh_options_of(settings), timeout_s=settings.timeout_s)
    if options.json_lines:
        emit({"event": "accept-host-key", "fingerprint": fingerprint, "kept_in": str(path)})
    elif not options.quiet:
        say(f"accepted {fingerprint}; it is kept in {path}")
