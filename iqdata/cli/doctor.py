"""`doctor`: connection, server, permissions and habits of a space, each with what to do."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iqdata.cli.connection import connector_of, settings_of
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, plural, printable, say
from iqdata.config import USUAL_JOBS, Settings
from iqdata.errors import Busy

if TYPE_CHECKING:
    from iqdata.profile import Profile
    from iqdata.transports.base import Transport

_MARKS = {"ok": "ok", "warning": "note", "failed": "FAIL"}


@click.command("doctor")
@click.option("--no-probe", is_flag=True, help="Put nothing into the space to find out what it extracts.")
@everywhere
def doctor_command(options: Everywhere, /, *, no_probe: bool) -> int:
    """Examine connection, server, permissions, and what the space does with archives."""
    from iqdata.doctor import Verdict, examine
    from iqdata.localfolder import random_token

    settings = settings_of(options)
    location = settings.need_location()

    def profile_of(transport: "Transport") -> "Profile":
        return _profile(settings, transport, random_token(), may_probe=not no_probe)

    counts = dict.fromkeys(Verdict, 0)
    for check in examine(
        connector_of(settings),
        location,
        jobs=settings.jobs or USUAL_JOBS,
        token=random_token,
        profile_of=profile_of,
    ):
        counts[check.verdict] += 1
        if options.json_lines:
            emit(
                {
                    "event": "check",
                    "name": check.name,
                    "status": check.verdict.value,
                    "detail": check.detail,
                    "advice": check.advice,
                }
            )
        elif not options.quiet or check.verdict is Verdict.FAILED:
            say(f"{_MARKS[check.verdict.value]:<5} {check.name:<20} {printable(check.detail)}")
            if check.advice:
                say(f"{'':<26} → {check.advice}")
    failed = counts[Verdict.FAILED]
    if options.json_lines:
        emit({"event": "summary", **{verdict.value: count for verdict, count in counts.items()}})
    elif not options.quiet:
        say("")
        rest = f", {plural(counts[Verdict.WARNING], 'note')}" if counts[Verdict.WARNING] else ""
        say(f"{plural(failed, 'problem')}{rest}" if failed else f"no problems{rest}")
    return 1 if failed else 0


def _profile(settings: Settings, transport: "Transport", token: str, *, may_probe: bool) -> "Profile":
    """Probe afresh and remember it where there is a workspace to remember it in."""
    from iqdata import profile
    from iqdata.state import open_state

    declared = profile.declared_by(transport)
    if declared is not None:
        return declared
    now_s = time.time()
    workspace: Path = settings.workspace
    remembers = os.access(workspace, os.W_OK) and (workspace / "iqdata.toml").is_file()
    if not may_probe:
        return profile.current(transport, None, token=token, may_probe=False, now_s=now_s)
    found = profile.probe(transport, token=token, now_s=now_s)
    if not remembers:
        return found
    try:
        with open_state(workspace, space=str(settings.need_location())) as state:
            profile.remember(state, found, now_s=now_s)
    except Busy:
        pass  # another run holds the workspace; the next doctor or push finds out again
    return found
