"""Every transport, against every server there is, behind one fixture; and the page that tells of it."""

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from iqdata.paths import RelPath
from iqdata.transports.base import Connector, Transport
from tests.spaces import SPACES


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


_results: dict[str, dict[str, list[bool]]] = {}
_properties: dict[str, dict[str, str]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how each promise was kept on each server."""
    name, bracket, parameters = report.nodeid.rpartition("::")[2].partition("[")
    server = next(
        (
            one
            for one in sorted(SPACES, key=len, reverse=True)
            if parameters.startswith((f"{one}-", f"{one}]"))
        ),
        None,
    )
    if not bracket or server is None or (report.when != "call" and report.passed):
        return
    row = name.removeprefix("test_").replace("_", " ")
    _results.setdefault(row, {}).setdefault(server, []).append(report.passed)
    for key, value in report.user_properties:
        _properties.setdefault(str(key), {})[server] = str(value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page where `scripts/servers-page` asked for it."""
    target = os.environ.get("IQDATA_SERVERS_PAGE")
    if target and not hasattr(session.config, "workerinput"):
        Path(target).write_text(_page())


def _page() -> str:
    servers = [name for name in SPACES if any(name in row for row in _results.values())]
    total = sum(len(outcomes) for row in _results.values() for outcomes in row.values())
    failed = sum(
        not outcome for row in _results.values() for outcomes in row.values() for outcome in outcomes
    )
    head = "| | " + " | ".join(servers) + " |\n|" + "---|" * (len(servers) + 1)
    offers = [
        f"| {key} | " + " | ".join(values.get(name, "") for name in servers) + " |"
        for key, values in _properties.items()
    ]
    rows = []
    for row, by_server in _results.items():
        cells = [_cell(by_server.get(name, [])) for name in servers]
        rows.append(f"| {row} | " + " | ".join(cells) + " |")
    return _TEXT.format(
        count=len(servers),
        total=total,
        failed=failed,
        offers="\n".join([head, *offers]),
        rows="\n".join([head, *rows]),
    )


def _cell(outcomes: list[bool]) -> str:
    if not outcomes:
        return ""
    if all(outcomes):
        return "✓" if len(outcomes) == 1 else f"✓ {len(outcomes)}"
    return f"✗ {outcomes.count(False)} of {len(outcomes)}"


_TEXT = """\
# Servers

What `iqdata` was tried against: one suite of promises (`tests/iqdata/contract`), run on every transport against real servers on
this page's {count} spaces: Debian 12's vsftpd 3.0, ProFTPD 1.3.8, Pure-FTPd 1.0.50 and OpenSSH 9.2, pyftpdlib 2, a folder and RAM.
`ftp` is plain, `ftpes` explicit TLS, `ftps` implicit TLS; vsftpd and ProFTPD insist on a resumed TLS session for data connections.

`scripts/servers-page` runs the suite and writes this page. Last run: {total} checks, {failed} failed.

## What they offer

Probed on each connection (FEAT, replies, what a first attempt does), never taken from the server's name.

{offers}

## Peculiarities that were met

- vsftpd has no MLSD: times come from LIST, to the minute, and to the day for files older than half a year; `MDTM` with two arguments
  sets times. It answers "226" with nothing to LIST of a missing folder, so a CWD must succeed before an empty listing is believed.
- Pure-FTPd stores a name that ends in a space with an underscore instead, without a word: publishing such a name is a reported failure. It refuses
  a backslash in a name. After a download is broken off by the client it may answer nothing: ABOR goes first.
- ProFTPD takes no folder with `*` in its name. It misreads commands in bursts over 4 KiB: at most 1 KiB is ever unread.
- pyftpdlib answers nothing at all when a client resets an upload's data connection: uploads that are given up end with a plain close.
- OpenSSH drops connections unread when too many are not logged in yet (MaxStartups): the pool waits for one that is open.

## What was promised, and kept

✓ kept; a number counts the variants of one promise.

{rows}
"""
