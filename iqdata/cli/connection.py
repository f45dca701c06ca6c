"""Settings of a command line → connections to its space."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from iqdata.cli.options import Everywhere
from iqdata.config import Settings, load_settings
from iqdata.location import Scheme
from iqdata.transports.base import Connector

if TYPE_CHECKING:
    from iqdata.transports.ssh import SshOptions
    from iqdata.transports.tls import TlsOptions


def settings_of(options: Everywhere) -> Settings:
    """Return the settings of the workspace that the options name.

    Raises:
        ConfigError: the file or the URL cannot be used.
    """
    settings = load_settings(options.workspace, space=options.space, env=os.environ)
    return msgspec.structs.replace(
        settings,
        insecure=options.insecure or settings.insecure,
        tls_ca=options.tls_ca or settings.tls_ca,
        tls_fingerprint=options.tls_fingerprint or settings.tls_fingerprint,
    )


def connector_of(settings: Settings) -> Connector:
    """Return what opens a connection to the settings' space; the password is looked up once, at the first one."""
    from iqdata.credentials import Passwords
    from iqdata.transports.connect import connector

    location = settings.need_location()
    passwords = Passwords(location, env=os.environ)
    return connector(
        dataclasses.replace(location, password=None),
        password=passwords.get,
        tls=tls_options_of(settings),
        timeout_s=settings.timeout_s,
        insecure=settings.insecure,
        ssh=ssh_options_of(settings),
    )


def tls_options_of(settings: Settings) -> "TlsOptions":
    """Return how certificates are checked."""
    from iqdata.transports.tls import TlsOptions

    return TlsOptions(
        ca_file=Path(settings.tls_ca) if settings.tls_ca else None, fingerprint=settings.tls_fingerprint
    )


def ssh_options_of(settings: Settings) -> "SshOptions | None":
    """Return how SSH hosts are known and accounts opened; None unless the space is reached by SFTP."""
    if settings.need_location().scheme is not Scheme.SFTP:
        return None
    from iqdata.transports.ssh import usual_options

    return usual_options()
