"""How a run looks: JSON Lines for machines, sentences and bars for people. The only place that prints.

Refuses to decide anything: it gets values and shows them.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from iqdata.cli.options import Everywhere
from iqdata.errors import IqDataError
from iqdata.events import ActionKind, Event, Listener, Moved, Note, Outcome, Report, Status, Totals

_LISTED_UP_TO = 40
"""A run that moves more files than this shows a bar and a sum instead of a line for each (unless `-v`)."""

_PLAIN_INTERVAL_S = 10.0

_PROBLEMS_LISTED = 20
"""One cause can fail thousands of files; the first lines show it."""

_LOUD = frozenset({ActionKind.CONFLICT, ActionKind.EXTRACT_REMOTE, ActionKind.EXTRACT_LOCAL})


def emit(value: Mapping[str, object]) -> None:
    """Write one JSON object as one line of standard output."""
    try:
        line = msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A name that is not UTF-8: JSON has no bytes, so those bytes are written as \udcXX, as Python names them.
        line = json.dumps(msgspec.to_builtins(value)).encode()
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Write one line to standard output."""
    print(text)


def tell(text: str) -> None:
    """Write one line to standard error."""
    print(text, file=sys.stderr)


def size(size_bytes: float) -> str:
    """Return a size for people: `812 B`, `4.0 KiB`, `1.3 GiB`."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size_bytes /= 1024
        if size_bytes < 1024:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1024:.1f} TiB"


def plural(count: int, noun: str) -> str:
    """Return `1 file` or `3 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Return text from outside with control characters made visible: a name must not steer the terminal."""
    return (
        text
        if text.isprintable()
        else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    )


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """Return the JSON of one action."""
    return {
        "event": "action",
        "action": outcome.action.value,
        "path": str(outcome.path),
        "size_bytes": outcome.size_bytes,
        "status": outcome.status.value,
        "via": outcome.via.value if outcome.via else None,
        "reason": outcome.reason,
        "error": outcome.error,
    }


def summary_json(report: Report) -> dict[str, object]:
    """Return the JSON of a whole run."""
    planned = any(outcome.status is Status.PLANNED for outcome in report.outcomes)
    status = Status.PLANNED if planned else Status.DONE
    count = report.count
    done = any(outcome.status is Status.DONE for outcome in report.outcomes)
    if report.refused:
        word = "refused"
    elif report.failed or report.conflicts:
        word = "partial" if done or report.unchanged or not report.failed else "failed"
    else:
        word = "ok"
    return {
        "event": "summary",
        "status": word,
        "uploaded": count(ActionKind.UPLOAD, status=status),
        "downloaded": count(ActionKind.DOWNLOAD, status=status),
        "deleted": count(ActionKind.DELETE_LOCAL, ActionKind.DELETE_REMOTE, status=status),
        "extracted": count(ActionKind.EXTRACT_LOCAL, ActionKind.EXTRACT_REMOTE, status=status),
        "conflicts": report.conflicts,
        "failed": report.failed,
        "skipped": sum(
            1
            for item in report.outcomes
            if item.action is ActionKind.SKIP and item.status is not Status.FAILED
        ),
        "unchanged": report.unchanged,
        "bytes_sent": report.bytes_sent,
        "bytes_received": report.bytes_received,
        "elapsed_s": round(report.elapsed_s, 3),
    }


def json_listener(event: Event) -> None:
    """Write actions as JSON Lines; the rest is for people."""
    if isinstance(event, Outcome):
        emit(outcome_json(event))


class Screen:
    """A run on a terminal: a bar while bytes move, a line for what people should know, a sum at the end."""

    def __init__(self, options: Everywhere, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._bar: object | None = None
        self._advance: Callable[[int], object] = lambda _size: None
        self._files = 0
        self._done = 0
        self._problems = 0
        self._moved_bytes = 0
        self._total_bytes = 0
        self._clock = clock
        self._last_line = clock()

    def __call__(self, event: Event) -> None:
        """Show one event; called from any thread."""
        with self._lock:
            match event:
                case Totals(files=files, size_bytes=size_bytes):
                    self._files, self._done = files, 0
                    self._total_bytes, self._moved_bytes = size_bytes, 0
                    self._open_bar(files, size_bytes)
                case Moved(size_bytes=size_bytes):
                    self._moved_bytes += size_bytes
                    self._advance(size_bytes)
                    self._say_how_far()
                case Note(text=text):
                    if not self._options.quiet:
                        self._line(printable(text), to_stderr=True)
                case Outcome():
                    self._outcome(event)

    def _open_bar(self, files: int, size_bytes: int) -> None:
        self._close_bar()
        if not self._options.progress or not files:
            return
        from tqdm import tqdm

        bar = tqdm(
            total=size_bytes,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            desc=f"0/{files} files",
            leave=False,
        )
        self._bar = bar
        self._advance = bar.update

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()  # type: ignore[attr-defined]  # a tqdm, typed loosely so that tqdm loads only when drawn
        self._bar = None
        self._advance = lambda _size: None

    def _say_how_far(self) -> None:
        """Where no bar can be drawn, say in plain lines how far a long run has come."""
        if (
            self._bar is not None
            or self._options.quiet
            or self._clock() - self._last_line < _PLAIN_INTERVAL_S
        ):
            return
        self._last_line = self._clock()
        tell(
            f"  … {self._done:,} of {self._files:,} files, {size(self._moved_bytes)} of {size(self._total_bytes)}"
        )

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.action in (ActionKind.UPLOAD, ActionKind.DOWNLOAD):
            self._done += 1
            if self._bar is not None:
                self._bar.set_description(f"{self._done}/{self._files} files", refresh=False)  # type: ignore[attr-defined]  # as above
        problem = outcome.status is Status.FAILED or outcome.action is ActionKind.CONFLICT
        if problem and not self._options.verbose:
            self._problems += 1
            if self._problems > _PROBLEMS_LISTED:
                return
        if self._options.quiet and not problem:
            return
        if (
            self._files > _LISTED_UP_TO
            and not self._options.verbose
            and not problem
            and outcome.action not in _LOUD
        ):
            return
        self._line(outcome_text(outcome), to_stderr=problem)

    def _line(self, text: str, *, to_stderr: bool) -> None:
        stream = sys.stderr if to_stderr else sys.stdout
        if self._bar is None:
            print(text, file=stream)
        else:
            self._bar.write(text, file=stream)  # type: ignore[attr-defined]  # as above

    def finish(self, report: Report) -> None:
        """Take the bar away and write the sum."""
        self._close_bar()
        if self._problems > _PROBLEMS_LISTED:
            tell(f"  … and {plural(self._problems - _PROBLEMS_LISTED, 'more problem')}; -v lists them all")
        if not self._options.quiet:
            say(summary_text(report))


_VERBS = {
    ActionKind.UPLOAD: "upload",
    ActionKind.DOWNLOAD: "download",
    ActionKind.DELETE_REMOTE: "delete there",
    ActionKind.DELETE_LOCAL: "delete here",
    ActionKind.EXTRACT_REMOTE: "extracted there",
    ActionKind.EXTRACT_LOCAL: "extracted here",
    ActionKind.MKDIR: "make folder",
    ActionKind.SET_MTIME: "date",
    ActionKind.CONFLICT: "CONFLICT",
    ActionKind.SKIP: "left alone",
}


def outcome_text(outcome: Outcome) -> str:
    """Return one action as one line for people: what, how much, where, and why where that is not plain."""
    verb = _VERBS[outcome.action]
    if outcome.status is Status.FAILED:
        verb = "FAILED"
    elif outcome.status is Status.SKIPPED and outcome.action is not ActionKind.CONFLICT:
        verb = "left alone"
    amount = size(outcome.size_bytes) if outcome.size_bytes else ""
    why = outcome.error or outcome.reason or ""
    tail = f"  ({printable(why)})" if why and why not in _PLAIN else ""
    return f"  {verb:<15} {amount:>10}  {printable(outcome.path)}{tail}"


_PLAIN = frozenset({"new here", "new in the space", "in the space", "in the workspace"})
"""Reasons that the verb says already."""


def summary_text(report: Report) -> str:
    """Return a whole run as one sentence for people."""
    planned = any(outcome.status is Status.PLANNED for outcome in report.outcomes)
    facts = summary_json(report)
    parts = []
    for key, noun, amount in (
        ("uploaded", "uploaded", report.bytes_sent),
        ("downloaded", "downloaded", report.bytes_received),
    ):
        if facts[key]:
            parts.append(
                f"{plural(_int(facts[key]), 'file')} {noun}" + (f" ({size(amount)})" if amount else "")
            )
    for key, noun in (
        ("extracted", "archive extraction"),
        ("deleted", "deletion"),
        ("conflicts", "conflict"),
    ):
        if facts[key]:
            parts.append(plural(_int(facts[key]), noun))
    if report.failed:
        parts.append(f"{report.failed:,} failed")
    if facts["skipped"]:
        parts.append(f"{facts['skipped']:,} left alone")
    parts.append(f"{report.unchanged:,} unchanged")
    text = ", ".join(parts)
    if planned:
        return f"Would do: {text}."
    return f"Done in {report.elapsed_s:.1f} s: {text}."


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def listener_for(options: Everywhere) -> tuple[Listener, Callable[[Report], None]]:
    """Return who listens to a run, and what is called with its report."""
    if options.json_lines:
        return json_listener, lambda report: emit(summary_json(report))
    screen = Screen(options)
    return screen, screen.finish


def refused_json(error: IqDataError) -> dict[str, object]:
    """Return the summary of a run that ended with an error."""
    empty = Report(refused=error.exit_code == 4)
    return {
        **summary_json(empty),
        "status": "refused" if error.exit_code == 4 else "failed",
        "error": str(error),
    }
