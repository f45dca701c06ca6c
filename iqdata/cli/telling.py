"""What happens in a space, as lines: plain ones for people, the audit log's for machines."""

import contextlib
import sys

import click

from iqdata.cli import options
from iqdata.cli.sizes import text_of
from iqdata.server.happenings import Happening, What
from iqdata.server.jobs import to_json

_SHOWN = frozenset({
    What.STOPPED, What.LOGIN_FAILED, What.BANNED, What.TURNED_AWAY, What.UPLOAD, What.RENAME, What.DELETE,
    What.REMOVE_FOLDER, What.REFUSED, What.EXTRACTED, What.RECOVERED, What.ERROR,
})  # fmt: skip


_ENDED = {
    "aborted": "was cut off",
    "over-quota": "went over the quota, nothing was kept",
    "disk-full": "filled the disk, nothing was kept",
    "failed": "failed",
}


class Teller:
    """Tells what happens: a plain line for people, or the audit line as JSON."""

    def __init__(self, everywhere: options.Everywhere) -> None:
        self._json = everywhere.json_lines
        self._quiet = everywhere.quiet
        self._all = everywhere.verbose

    def __call__(self, event: Happening) -> None:
        """Write one line; a reader that has gone does not end the space."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            if self._json:
                sys.stdout.write(to_json(event).decode() + "\n")
                sys.stdout.flush()
            elif not self._quiet and (self._all or event.event in _SHOWN):
                click.secho(line_of(event), fg=_colour_of(event))


def _colour_of(event: Happening) -> str | None:
    if event.event is What.ERROR:
        return "red"
    return "yellow" if event.outcome != "ok" or event.event in (What.BANNED, What.TURNED_AWAY) else None


def line_of(event: Happening) -> str:
    """Return an event as a line for people."""
    who = event.team or event.address or ""
    size = "" if event.size_bytes is None else f" ({text_of(event.size_bytes)})"
    path = event.path or ""
    match event.event:
        case What.EXTRACTED:
            files = "1 file" if event.files == 1 else f"{event.files or 0} files"
            text = (
                f"extracted {path}: {files}, {text_of(event.size_bytes or 0)}, {event.elapsed_s or 0:.2f} s"
                if event.outcome == "ok"
                else f"{event.outcome}: {path}: {event.detail or ''}"
                + (f" ({files} placed)" if event.files else "")
            )
        case What.UPLOAD:
            text = f"uploaded {path}{size}"
            if event.outcome != "ok":
                text = f"upload of {path} {_ENDED.get(event.outcome, event.outcome)}{size}"
        case What.DOWNLOAD:
            text = f"downloaded {path}{size}"
            if event.outcome != "ok":
                text = f"download of {path} {_ENDED.get(event.outcome, event.outcome)}{size}"
        case What.RENAME:
            text = f"renamed {path} to {event.target}"
        case What.DELETE | What.REMOVE_FOLDER:
            text = f"deleted {path}"
        case What.MAKE_FOLDER:
            text = f"made folder {path}"
        case What.REFUSED:
            text = f"refused {path}: {event.detail}"
        case What.LOGIN_FAILED:
            text = f"login refused from {event.address}"
        case What.LOGIN | What.LOGOUT:
            text = f"{event.event.value} from {event.address}"
        case _:
            text = f"{event.event.value.replace('-', ' ')}{': ' if event.detail else ''}{event.detail or ''}"
    column = f"{who:<12}  " if who else ""
    return f"{event.time[11:19]}  {column}{' '.join(text.split())}"
