"""How a run looks: JSON Lines for machines, sentences and bars for people. The only place that prints.

Refuses to decide anything: it gets values and shows them.
"""

import sys
import threading
from collections.abc import Mapping

import msgspec

from iqdata.cli.bars import Bars
from iqdata.cli.options import Everywhere
from iqdata.cli.sizes import text_of
from iqdata.errors import IqDataError
from iqdata.events import ActionKind, Event, Moved, Note, Outcome, Report, Status, Totals

_LISTED_UP_TO = 40
"""A run that moves more files than this shows a bar and a sum instead of a line for each (unless `-v`)."""

_PROBLEMS_LISTED = 20
"""One cause can fail thousands of files; the first lines show it."""

_LOUD = frozenset({ActionKind.CONFLICT, ActionKind.EXTRACT_REMOTE, ActionKind.EXTRACT_LOCAL})


def emit(value: Mapping[str, object]) -> None:
    """Write one JSON object as one line of standard output."""
    try:
        line = msgspec.json.encode(value)
    except UnicodeEncodeError:
        # A name that is not UTF-8: JSON has no bytes, so those bytes are written as \udcXX, as Python names them.
        import json  # for such names only

        line = json.dumps(msgspec.to_builtins(value)).encode()
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Write one line to standard output."""
    print(text)


def tell(text: str) -> None:
    """Write one line to standard error."""
    print(text, file=sys.stderr)


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


class JsonLines:
    """A run as JSON Lines: its actions and its sum; the rest is for people."""

    def __call__(self, event: Event) -> None:
        """Write an action."""
        if isinstance(event, Outcome):
            emit(outcome_json(event))

    def finish(self, report: Report) -> None:
        """Write the sum."""
        emit(summary_json(report))

    def close(self) -> None:
        """Nothing is open."""


class Screen:
    """A run on a terminal: bars while bytes move, a line for what people should know, a sum at the end."""

    def __init__(self, options: Everywhere) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._bars = Bars(draw=options.progress, quiet=options.quiet or options.json_lines)
        self._files = 0
        self._problems = 0

    def __call__(self, event: Event) -> None:
        """Show one event; called from any thread."""
        with self._lock:
            match event:
                case Totals(files=files):
                    self._files = files
                    self._bars.begin(event)
                case Moved():
                    self._bars.moved(event)
                case Note(text=text):
                    if not self._options.quiet:
                        self._bars.write(printable(text), sys.stderr)
                case Outcome():
                    self._outcome(event)

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.action in (ActionKind.UPLOAD, ActionKind.DOWNLOAD):
            self._bars.finished(outcome.path)
        problem = outcome.status is Status.FAILED or outcome.action is ActionKind.CONFLICT
        self._problems += problem
        crowd = self._files > _LISTED_UP_TO and outcome.action not in _LOUD
        if problem:
            shown = self._options.verbose or self._problems <= _PROBLEMS_LISTED
        else:
            shown = not self._options.quiet and (self._options.verbose or not crowd)
        if shown:
            self._bars.write(outcome_text(outcome), sys.stderr if problem else sys.stdout)

    def close(self) -> None:
        """Take the bars away: the run has ended without a report."""
        with self._lock:
            self._bars.close()

    def finish(self, report: Report) -> None:
        """Take the bars away and write the sum."""
        self.close()
        more = self._problems - _PROBLEMS_LISTED
        if more > 0 and not self._options.verbose:
            tell(f"  … and {plural(more, 'more problem')}; -v lists them all")
        self._problems = 0
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
    amount = text_of(outcome.size_bytes) if outcome.size_bytes else ""
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
                f"{plural(_int(facts[key]), 'file')} {noun}" + (f" ({text_of(amount)})" if amount else "")
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


def screen_for(options: Everywhere) -> Screen | JsonLines:
    """Return who listens to a run and shows its report."""
    return JsonLines() if options.json_lines else Screen(options)


def refused_json(error: IqDataError) -> dict[str, object]:
    """Return the summary of a run that ended with an error."""
    empty = Report(refused=error.exit_code == 4)
    return {
        **summary_json(empty),
        "status": "refused" if error.exit_code == 4 else "failed",
        "error": str(error),
    }
