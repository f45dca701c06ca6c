"""What a run tells while it runs: values for whoever draws progress. Refuses to print."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iqeval.record import CategoryResult, SandboxFacts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The suites have been read: how many questions each category will be asked, and how many answers are known."""

    totals: Mapping[str, int]
    known: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """A child runs, kept from this."""

    sandbox: "SandboxFacts"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One more question of a category has been answered or has failed."""

    category: str
    failed: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A category has been scored, or has failed."""

    result: "CategoryResult"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence for people."""

    text: str


Event = Planned | Confined | Asked | Finished | Note
Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A listener that listens to nothing."""
