"""Every transport, against every server there is, behind one fixture."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iqdata.location import Location
from iqdata.paths import RelPath
from iqdata.transports.base import Connector, Transport
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A transport under test and an empty folder of its own in the space."""

    name: str
    transport: Transport
    folder: RelPath
    connect: Connector

    def path(self, name: str) -> RelPath:
        """Return a path in the folder."""
        return self.folder.joined(name)


@pytest.fixture(scope="session", params=list(SPACES))
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Connector]]:
    """Start the server once for all its tests."""
    folder = tmp_path_factory.mktemp(request.param)
    with SPACES[request.param](folder) as connect:
        yield request.param, connect


_numbers = itertools.count()


@pytest.fixture
def space(opened: tuple[str, Connector]) -> Iterator[Space]:
    """Connect, and make an empty folder."""
    name, connect = opened
    transport = connect()
    folder = RelPath(f"case{next(_numbers)}")
    transport.make_folder(folder)
    yield Space(name=name, transport=transport, folder=folder, connect=connect)
    transport.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave odd names to the servers without TLS: they take the same way, and most of the time is spent on handshakes."""
    left_out = [
        item
        for item in items
        if "TestNames" in item.nodeid and ("[ftpes-" in item.nodeid or "[ftps-" in item.nodeid)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
