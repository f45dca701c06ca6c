"""Lines of spans → a terminal: colour where there is one."""

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable

import click

from iqeval.report.text import Line, Tone

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
