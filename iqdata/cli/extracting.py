"""What `serve` and `agent` have in common: how archives are extracted, and how both are stopped."""

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from iqdata.server.executors import Executors
    from iqdata.server.jobs import AfterExtraction

F = TypeVar("F", bound=Callable[..., object])


def extraction_options(function: F) -> F:
    """Give a command `--executor` and `--after-extract`, as the values that they mean."""
    function = click.option(
        "--after-extract",
        "after",
        type=click.Choice(["keep", "remove"]),
        default="keep",
        show_default=True,
        callback=lambda _context, _option, word: _after(word),
        help="What becomes of an archive that was extracted whole.",
    )(function)
    return click.option(
        "--executor",
        "executors",
        default="local",
        metavar="local:N|dask://HOST:PORT",
        callback=lambda _context, _option, text: _executors(text),
        help="Where archives are extracted.",
    )(function)


def _executors(text: str) -> "Executors":
    from iqdata.server.executors import Executors

    return Executors.parse(text)


def _after(word: str) -> "AfterExtraction":
    from iqdata.server.jobs import AfterExtraction

    return AfterExtraction(word)


class Service(Protocol):
    """What runs until somebody stops it."""

    def run(self) -> None:
        """Work until `stop`."""
        ...

    def stop(self) -> None:
        """End `run`, from a signal handler."""
        ...


def run_until_stopped(service: Service) -> None:
    """Run a service until Ctrl-C or SIGTERM; what it is at is finished first."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop())
    service.run()
