"""Progress bars of a run: one for everything, one line for each big file on its way.

Refuses to draw where stderr is no terminal; then plain lines at intervals say how far a run has come.
"""

import time
from collections.abc import Callable
from typing import Any, TextIO

import click

from iqdata.cli.sizes import text_of
from iqdata.events import Moved, Totals

_OWN_LINE_FROM_BYTES = 8 * 1024 * 1024
_MOST_LINES = 8
_PLAIN_INTERVAL_S = 10.0


class Bars:
    """What moves now. Not thread-safe: its owner holds a lock."""

    def __init__(self, *, draw: bool, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._draw = draw
        self._quiet = quiet
        self._clock = clock
        self._last_line = clock()
        self._total: Any = None  # a tqdm, which loads only when one is drawn
        self._single: dict[str, Any] = {}
        self._totals = Totals(files=0, size_bytes=0)
        self._files = 0
        self._bytes = 0

    def begin(self, totals: Totals) -> None:
        """Start anew for a run that moves so much."""
        self.close()
        self._totals, self._files, self._bytes = totals, 0, 0
        if self._draw and totals.files:
            self._total = self._bar(totals.size_bytes, f"0/{totals.files} files", position=0)

    def moved(self, event: Moved) -> None:
        """Take in bytes of one file."""
        self._bytes += event.size_bytes
        if self._total is None:
            self._say_how_far()
            return
        self._total.update(event.size_bytes)
        if event.of_bytes < _OWN_LINE_FROM_BYTES:
            return
        single = self._single.get(event.path)
        if single is None and len(self._single) < _MOST_LINES:
            name = event.path if len(event.path) <= 32 else f"…{event.path[-31:]}"
            single = self._single[event.path] = self._bar(
                event.of_bytes, f"  {name}", position=len(self._single) + 1
            )
        if single is not None:
            single.update(event.size_bytes)

    def finished(self, path: str) -> None:
        """Count one file as moved."""
        self._files += 1
        single = self._single.pop(path, None)
        if single is not None:
            single.close()
        if self._total is not None:
            self._total.set_description(f"{self._files}/{self._totals.files} files", refresh=False)

    def write(self, text: str, stream: TextIO) -> None:
        """Write a line without disturbing the bars."""
        if self._total is None:
            click.echo(text, file=stream)
        else:
            self._total.write(text, file=stream)

    def close(self) -> None:
        """Take the bars away."""
        for bar in (*self._single.values(), self._total):
            if bar is not None:
                bar.close()
        self._single, self._total = {}, None

    def _bar(self, size_bytes: int, text: str, *, position: int) -> Any:
        from tqdm import tqdm

        return tqdm(
            total=size_bytes, unit="B", unit_scale=True, unit_divisor=1024, desc=text, leave=False, position=position,
            dynamic_ncols=True,
        )  # fmt: skip

    def _say_how_far(self) -> None:
        if self._quiet or self._clock() - self._last_line < _PLAIN_INTERVAL_S:
            return
        self._last_line = self._clock()
        totals = self._totals
        line = f"  … {self._files:,} of {totals.files:,} files, {text_of(self._bytes)} of {text_of(totals.size_bytes)}"
        click.echo(line, err=True)
