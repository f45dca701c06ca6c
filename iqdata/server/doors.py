"""What a space needs before it can serve and might need root for: the port, and the certificate with its key.

Refuses to serve.
"""

import dataclasses
import errno
import os
import socket
from pathlib import Path
from typing import Any

from iqdata.errors import ConfigError
from iqdata.server.tls import context_of, self_made

_PORT_TRIES = 50


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """A certificate, and whether sessions without it are refused.

    Attributes:
        context: what the sessions share, read from both files already.
    """

    certificate: Path
    required: bool = False
    context: Any = dataclasses.field(repr=False)

    @classmethod
    def load(cls, certificate: Path, key: Path, *, required: bool = False) -> "Tls":
        """Read both files.

        Raises:
            ConfigError: they cannot be read, or do not belong together.
        """
        return cls(certificate=certificate, required=required, context=context_of(certificate, key))

    @classmethod
    def self_made(cls, folder: Path, host: str, *, required: bool = False) -> "Tls":
        """Make a certificate for a host, or read the one made before."""
        certificate, key = self_made(folder, host)
        return cls.load(certificate, key, required=required)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; with port 0 on a free one, tried again when a crowded machine gives a used one.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        return _listen(host, port)
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {exc.strerror}; choose another with --host and --port"
        ) from exc


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _name, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    for attempt in range(_PORT_TRIES):
        listener = socket.socket(family, kind, protocol)
        try:
            if port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(512)
        except OSError as exc:
            listener.close()
            if port or exc.errno != errno.EADDRINUSE or attempt == _PORT_TRIES - 1:
                raise
        else:
            return listener
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
