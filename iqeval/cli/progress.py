"""Bars on standard error while a model is asked, and what there is to say meanwhile. Refuses to print results."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import click

from iqeval import events

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """A bar a category on standard error, or nothing where that is no terminal."""

    def __init__(self, *, draw: bool, talk: bool) -> None:
        self._draw = draw
        self._talk = talk
        self._bars: dict[str, tqdm[NoReturn]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The lowest first: each gives its line back, and the cursor ends where the bars began.
        for bar in reversed(self._bars.values()):
            bar.close()
        self._bars.clear()

    def on_event(self, event: events.Event) -> None:
        """Draw what an event says."""
        match event:
            case events.Planned():
                if self._draw:
                    self._plan(event)
            case events.Confined():
                if self._talk:
                    self._say(event.sandbox.sentence, warn=bool(event.sandbox.open_doors))
            case events.Asked():
                if bar := self._bars.get(event.category):
                    bar.update()
            case events.Finished():
                pass  # all of them end together, when the children are gone and the answers are scored
            case events.Note():
                if self._talk:
                    self._say(event.text, warn=False)

    def _plan(self, event: events.Planned) -> None:
        from tqdm import tqdm

        width = max(map(len, event.totals), default=0)
        for place, (category, total) in enumerate(event.totals.items()):
            self._bars[category] = tqdm(
                total=total,
                desc=category.ljust(width),
                unit="q",
                position=place,
                leave=False,
                mininterval=0.1,
                dynamic_ncols=True,
            )

    def _say(self, text: str, *, warn: bool) -> None:
        styled = click.style(text, fg="yellow") if warn else click.style(text, dim=True)
        if self._bars:
            next(iter(self._bars.values())).write(styled, file=sys.stderr)
        else:
            click.echo(styled, err=True)
