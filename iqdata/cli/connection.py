"""Settings of a command line → connections to its space."""

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
    """Return what opens a connection to the settings' space; the password is looked up when the server asks for it."""
    from iqdata.transports.connect import connector
    from iqdata.transports.tls import TlsOptions

    location = settings.need_location()
    tls = TlsOptions(
        ca_file=Path(settings.tls_ca) if settings.tls_ca else None, fingerprint=settings.tls_fingerprint
    )
    return connector(
        location,
        password=lambda: os.environ.get("IQDATA_PASSWORD"),
        tls=tls,
        timeout_s=settings.timeout_s,
        insecure=settings.insecure,
    )
