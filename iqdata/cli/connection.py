"""Settings of a command line → connections to its space."""

import dataclasses
import os
from pathlib import Path

from iqdata.cli.options import Everywhere
from iqdata.config import Settings, load_settings
from iqdata.transports.base import Connector


def settings_of(options: Everywhere) -> Settings:
    """Return the settings of the workspace that the options name.

    Raises:
        ConfigError: the file or the URL cannot be used.
    """
    return load_settings(options.workspace, space=options.space, env=os.environ)


def connector_of(settings: Settings) -> Connector:
    """Return what opens a connection to the settings' space; the password is looked up once, at the first one."""
    from iqdata.credentials import Passwords
    from iqdata.transports.connect import connector
    from iqdata.transports.tls import TlsOptions

    location = settings.need_location()
    passwords = Passwords(location, env=os.environ)
    tls = TlsOptions(
        ca_file=Path(settings.tls_ca) if settings.tls_ca else None, fingerprint=settings.tls_fingerprint
    )
    bare = dataclasses.replace(location, password=None)
    return connector(
        bare, password=passwords.get, tls=tls, timeout_s=settings.timeout_s, insecure=settings.insecure
    )
