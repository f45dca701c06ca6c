"""Lines of spans → a terminal: colour where there is one, bars on standard error while a model is asked."""

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import click

from iqeval import events
from iqeval.report.text import Line, Tone

if TYPE_CHECKING:
    from tqdm import tqdm

_STYLE: dict[Tone, dict[str, object]] = {
    Tone.PLAIN: {},
    Tone.STRONG: {"bold": True},
    Tone.GOOD: {"fg": "green"},
    Tone.BAD: {"fg": "red"},
    Tone.WARN: {"fg": "yellow"},
    Tone.FAINT: {"dim": True},
}


def show(lines: Iterable[Line], *, err: bool = False) -> None:
    """Print lines, long ones folded to the terminal; click leaves the colours out where the output is no terminal."""
    width = shutil.get_terminal_size().columns if (sys.stderr if err else sys.stdout).isatty() else 0
    for line in lines:
        if width and len(line) > 1 and sum(len(span.text) for span in line) > width and " " in line[-1].text:
            line = _folded(line, width)  # the same line in another form
        click.echo("".join(click.style(visible(span.text), **_STYLE[span.tone]) for span in line), err=err)  # type: ignore[arg-type]  # a table of click's own arguments


def visible(text: str) -> str:
    """Return text that a terminal shows and does not obey: models' words may hold anything."""
    if text.isprintable():
        return text
    shown = "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def _folded(line: Line, width: int) -> Line:
    """Return a line whose last span is folded at spaces, its further lines indented."""
    before = sum(len(span.text) for span in line[:-1])
    text = textwrap.fill(
        line[-1].text,
        width=max(width, 40),
        initial_indent=" " * before,
        subsequent_indent="    ",
        break_long_words=False,
    )
    return (*line[:-1], dataclasses.replace(line[-1], text=text[before:]))


def show_json(value: object) -> None:
    """Print one JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def can_draw() -> bool:
    """Tell whether standard output takes more than ASCII."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return "utf" in encoding


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
