"""Upload what changes in the areas, until stopped: events are hints, each run's own scan is the truth.

Refuses to send a file that is still being written, and to delete anything unless told so.
"""

import dataclasses
import queue
import random
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from iqdata.config import Settings, need_workspace
from iqdata.errors import Busy, TransportError, UnsafePath
from iqdata.events import Listener, Note, Report, Status
from iqdata.folderevents import Changed, Lost, folder_events, open_for_writing
from iqdata.paths import RelPath
from iqdata.settle import Hint, Settling
from iqdata.sync import Clocks, Request, run
from iqdata.transports.base import Connector

_TOO_MANY_PATHS = 500
"""From so many changed paths on, one look at everything costs less than looking for each."""

_LONGEST_PAUSE_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How to watch.

    Attributes:
        settle_s: a file is sent when nothing has happened to it for so long.
        rescan_s: everything is looked at at least this often: no event is trusted to arrive.
        polling: compare listings instead of asking the kernel.
    """

    settle_s: float = 0.5
    rescan_s: float = 3600.0
    polling: bool = False


def watch(
    settings: Settings,
    request: Request,
    connect: Connector,
    *,
    options: WatchOptions,
    listener: Listener,
    on_report: Callable[[Report], None],
    stop: threading.Event,
    clocks: Clocks | None = None,
) -> None:
    """Push everything once, then what changes, until `stop` is set.

    Raises:
        ConfigError: no workspace, or the folders cannot be watched.
        TransportError: the first run failed for a reason that waiting does not mend (login refused, no such host key).
    """
    need_workspace(settings.workspace)
    _Watch(settings, request, connect, options, listener, on_report, stop, clocks or Clocks()).run()


class _Watch:
    """One watch: what has changed and is not sent yet, and when to try again."""

    def __init__(
        self,
        settings: Settings,
        request: Request,
        connect: Connector,
        options: WatchOptions,
        listener: Listener,
        on_report: Callable[[Report], None],
        stop: threading.Event,
        clocks: Clocks,
    ) -> None:
        self.settings = settings
        self.request = request
        self.connect = connect
        self.options = options
        self.listener = listener
        self.on_report = on_report
        self.stop = stop
        self.clocks = clocks
        self.settling = Settling(settle_s=options.settle_s)
        self.ready: set[RelPath] = set()
        self.everything = True
        self.failures = 0
        self.not_before = 0.0
        self.last_full = clocks.monotonic()

    def run(self) -> None:
        areas = [self.settings.workspace / area for area in self.settings.named_areas or self.settings.areas]
        folders = [area.resolve() for area in areas if area.is_dir()]
        self.roots = dict(zip(folders, [area for area in areas if area.is_dir()], strict=True))
        with folder_events(folders, polling=self.options.polling) as changes:
            self.listener(Note(text=f"watching {', '.join(str(area) for area in areas)}"))
            while not self.stop.is_set():
                self._collect(changes)
                now = self.clocks.monotonic()
                self.ready |= self.settling.due(now, open_paths=self._being_written)
                if now - self.last_full > self.options.rescan_s:
                    self.everything = True
                if (self.everything or self.ready) and now >= self.not_before:
                    self._push()

    def _collect(self, changes: "queue.SimpleQueue[Changed | Lost]") -> None:
        """Wait for events, at most until something may be due, and take in all that have come."""
        now = self.clocks.monotonic()
        pause = self.settling.next_due(now)
        if self.everything or self.ready:
            pause = min(pause if pause is not None else 1.0, max(0.0, self.not_before - now))
        try:
            # Bounded, so that a stop is seen soon.
            change = changes.get(timeout=min(pause if pause is not None else 0.25, 0.25) or 0.001)
            while True:
                self._take(change)
                change = changes.get_nowait()
        except queue.Empty:
            return

    def _take(self, change: Changed | Lost) -> None:
        if isinstance(change, Lost):
            self.listener(Note(text=f"events were lost ({change.reason}); looking at everything"))
            self.everything = True
            return
        path = self._inside(change.path)
        if path is None:
            self.everything = True  # the scan reports the name
        else:
            self.settling.note(path, change.hint, now=self.clocks.monotonic())

    def _inside(self, changed: Path) -> RelPath | None:
        """Return a real path as a path of the workspace, or None for a name that cannot be mirrored."""
        for real, area in self.roots.items():
            if changed.is_relative_to(real):
                inside = (area / changed.relative_to(real)).relative_to(self.settings.workspace)
                try:
                    return RelPath.parse(inside.as_posix())
                except UnsafePath:
                    return None
        return None

    def _being_written(self) -> frozenset[RelPath]:
        """Return the files that somebody has open for writing now."""
        return frozenset(
            path for item in open_for_writing(self.roots) if (path := self._inside(item)) is not None
        )

    def _push(self) -> None:
        full = self.everything or len(self.ready) > _TOO_MANY_PATHS
        batch, self.ready, self.everything = self.ready, set(), False
        # Deepest common sense: a path below another that is in the batch is covered by it.
        only = (
            ()
            if full
            else tuple(
                path for path in batch if not any(path != other and path.is_below(other) for other in batch)
            )
        )
        try:
            report = run(
                self.settings,
                msgspec.structs.replace(
                    self.request, only=only or self.request.only, hold=self._hold, missing_ok=True
                ),
                self.connect,
                listener=self.listener,
                clocks=self.clocks,
            )
        except (TransportError, Busy) as exc:
            if isinstance(exc, TransportError) and not exc.retryable:
                raise
            self._try_later(exc, batch, full=full)
            return
        if self.failures:
            self.listener(Note(text="the space answers again"))
        self.failures = 0
        if full:
            self.last_full = self.clocks.monotonic()
        failed = {outcome.path for outcome in report.outcomes if outcome.status is Status.FAILED}
        if report.outcomes:
            self.on_report(report)
        if failed:
            self.failures += 1
            self.ready |= failed & batch
            self.not_before = self.clocks.monotonic() + self._pause()

    def _hold(self) -> frozenset[RelPath]:
        """Return what a run must leave alone because somebody writes it; it has its turn when that has ended."""
        held = self._being_written()
        for path in held:
            self.settling.note(path, Hint.WRITTEN, now=self.clocks.monotonic())
        return held

    def _try_later(self, exc: Exception, batch: set[RelPath], *, full: bool) -> None:
        """Keep what could not be sent, and say so once."""
        if self.failures == 0:
            self.listener(Note(text=f"{exc}; changes are collected and sent when it answers"))
        self.failures += 1
        self.ready |= batch
        self.everything = self.everything or full
        self.not_before = self.clocks.monotonic() + self._pause()

    def _pause(self) -> float:
        """Return how long to wait before the next try: longer each time, with jitter."""
        return float(min(0.5 * 2**self.failures, _LONGEST_PAUSE_S)) * (0.5 + random.random())  # noqa: S311  # jitter, no secret
