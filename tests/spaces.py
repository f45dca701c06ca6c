"""The spaces that every transport is tested against, by name: how to open each in an empty folder."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from iqdata.location import Location
from iqdata.transports.base import Connector
from iqdata.transports.connect import connector
from iqdata.transports.tls import TlsOptions
from tests import servers

Opener = Callable[[Path], contextlib.AbstractContextManager[Connector]]


@contextlib.contextmanager
def _memory(folder: Path) -> Iterator[Connector]:
    yield connector(Location.parse(f"memory://{folder.name}/"))


@contextlib.contextmanager
def _file(folder: Path) -> Iterator[Connector]:
    yield connector(Location.parse(f"file://{folder}"))


def _server(start: Callable[..., contextlib.AbstractContextManager[servers.Running]], **how: str) -> Opener:
    @contextlib.contextmanager
    def opener(folder: Path) -> Iterator[Connector]:
        with start(folder, **how) as running:
            yield connector(
                running.location,
                password=running.password,
                tls=TlsOptions(ca_file=running.ca_file),
                timeout_s=20,
            )

    return opener


@contextlib.contextmanager
def _mod_sftp(folder: Path) -> Iterator[Connector]:
    with servers.proftpd(folder, tls="sftp") as running:
        yield connector(
            running.location, password=running.password, ssh=servers.ssh_options(running), timeout_s=20
        )


@contextlib.contextmanager
def _openssh(folder: Path) -> Iterator[Connector]:
    with servers.openssh(folder) as running:
        yield connector(running.location, ssh=servers.ssh_options(running), timeout_s=20)


SPACES: dict[str, Opener] = {
    "memory": _memory,
    "file": _file,
    "ftp-vsftpd": _server(servers.vsftpd),
    "ftp-proftpd": _server(servers.proftpd),
    "ftp-pureftpd": _server(servers.pureftpd),
    "ftp-pyftpdlib": _server(servers.pyftpdlib),
    "sftp-openssh": _openssh,
    "sftp-proftpd": _mod_sftp,
    "ftpes-vsftpd": _server(servers.vsftpd, tls="ftpes"),
    "ftpes-proftpd": _server(servers.proftpd, tls="ftpes"),
    "ftpes-pureftpd": _server(servers.pureftpd, tls="ftpes"),
    "ftpes-pyftpdlib": _server(servers.pyftpdlib, tls="ftpes"),
    "ftps-vsftpd": _server(servers.vsftpd, tls="ftps"),
    "ftps-proftpd": _server(servers.proftpd, tls="ftps"),
}
