"""Examine a space step by step: can it be reached, what does it offer, what may this account do, what does it extract.

Refuses to stop at the first trouble where the next question can still be asked, and to leave anything in the space.
"""

import contextlib
import dataclasses
import enum
import io
import statistics
import time
from collections.abc import Callable, Iterator

from iqdata.errors import ConnectFailed, CutOff, Missing, Refused, TooManyConnections
from iqdata.location import Location
from iqdata.paths import AREAS, RelPath
from iqdata.profile import Profile
from iqdata.rules import temporary_name
from iqdata.transports.base import Connector, Transport
from iqdata.tree import Kind

_PINGS = 5
_SKEW_S = 120.0
_SAMPLE = b"iqdata doctor\n"
_SAMPLE_TIME_NS = 1_000_000_000 * 10**9


class Verdict(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding, and what to do about it where there is something to do."""

    name: str
    verdict: Verdict
    detail: str
    advice: str | None = None


def examine(
    connect: Connector,
    location: Location,
    *,
    jobs: int,
    token: Callable[[], str],
    profile_of: Callable[[Transport], Profile],
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Check]:
    """Yield findings as they come.

    Args:
        connect: opens a connection.
        location: for the messages.
        jobs: how many connections a mirror would use.
        token: draws random letters and digits.
        profile_of: finds out what the space does with archives.
        clock: seconds, for round trips.

    Raises:
        TransportError: the space cannot be reached at all, or the connection breaks.
    """
    started = clock()
    transport = connect()
    try:
        yield _ok("connection", f"{location} answered in {1000 * (clock() - started):.0f} ms")
        yield _encryption(transport, location)
        yield from _offers(transport)
        yield _round_trip(transport, clock)
        yield _connections(connect, jobs)
        for area in AREAS:
            yield from _area(transport, area, token())
        yield from _habits(profile_of(transport))
    finally:
        transport.close()


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, verdict=Verdict.OK, detail=detail)


def _warn(name: str, detail: str, advice: str) -> Check:
    return Check(name=name, verdict=Verdict.WARNING, detail=detail, advice=advice)


def _encryption(transport: Transport, location: Location) -> Check:
    how = transport.encryption
    if how is not None:
        return _ok("encryption", how)
    if location.is_loopback:
        return _ok("encryption", "none; it stays on this machine")
    return _warn(
        "encryption",
        "none: password and data can be read on the way",
        "use ftpes:// (or sftp://) if the space offers it",
    )


def _offers(transport: Transport) -> Iterator[Check]:
    """Tell what the server offers, as far as it says."""
    can = transport.capabilities
    if can.exact_listing:
        yield _ok("listing", "exact sizes and times, to the second or better")
    else:
        yield _warn(
            "listing",
            "LIST only: times to the minute, of old files to the day",
            "nothing to do here; a change within one minute that keeps the size is found with --checksum",
        )
    if can.resumes:
        yield _ok("resume", "transfers can go on where they broke off")
    else:
        yield _warn("resume", "not offered", "a broken transfer starts again from the beginning")
    hashes = ", ".join(can.hashes)
    yield _ok("hashes", hashes or "none; `iqdata verify` reads the files instead")


def _round_trip(transport: Transport, clock: Callable[[], float]) -> Check:
    times = []
    for _ in range(_PINGS):
        started = clock()
        transport.stat(RelPath("train_data"))
        times.append(clock() - started)
    return _ok("round trip", f"{1000 * statistics.median(times):.1f} ms")


def _connections(connect: Connector, jobs: int) -> Check:
    """Open as many connections as a mirror would, and one for its second looks."""
    wanted = jobs + 1
    others: list[Transport] = []
    try:
        while len(others) + 1 < wanted:
            others.append(connect())
    except (TooManyConnections, ConnectFailed, CutOff) as exc:
        number = len(others) + 1
        return _warn(
            "connections",
            f"{number} at once; the next was refused ({exc.reply or exc})",
            f"mirrors adapt by themselves; --jobs {max(1, number - 1)} saves the attempts",
        )
    finally:
        for other in others:
            other.close()
    return _ok("connections", f"{wanted} at once")


def _area(transport: Transport, area: str, token: str) -> Iterator[Check]:
    """See whether an area can be listed, written, dated, renamed in and deleted from."""
    path = RelPath(area)
    try:
        count = len(transport.list_folder(path))
    except Missing:
        yield _warn(area, "not there", f"`iqdata push` makes it, or `iqdata mkdir {area}`")
        return
    except Refused as exc:
        advice = "ask the organizer for the right to list it"
        if area == "group_data":
            advice = "only the group's owner may list and change it; mirrors skip it, your models can read it all the same"
        yield _warn(area, f"may not be listed ({exc.reply or exc})", advice)
        return
    yield _ok(area, f"{count} {'entry' if count == 1 else 'entries'}")
    yield from _write(transport, path, token)


def _write(transport: Transport, area: RelPath, token: str) -> Iterator[Check]:
    first = area.joined(temporary_name(token, purpose="doctor"))
    second = area.joined(temporary_name(token[::-1], purpose="doctor"))
    name = f"{area}: writing"
    try:
        transport.write_from(first, io.BytesIO(_SAMPLE), on_bytes=lambda _size: None)
    except (Refused, Missing) as exc:
        yield Check(
            name=name,
            verdict=Verdict.FAILED,
            detail=f"refused ({exc.reply or exc})",
            advice="only the group's owner may write there"
            if area == "group_data"
            else "ask the organizer for the right",
        )
        return
    try:
        dated = transport.set_mtime(first, _SAMPLE_TIME_NS)
        transport.write_from(second, io.BytesIO(b"old"), on_bytes=lambda _size: None)
        over = _renames_over(transport, first, second)
        yield _ok(name, "files can be written, renamed and deleted")
        if dated:
            yield _ok(f"{area}: times", "files keep their times")
        else:
            yield _warn(
                f"{area}: times",
                "the server cannot date files",
                "nothing to do; iqdata remembers the times itself, so that nothing is sent twice",
            )
        if not over:
            yield _warn(
                f"{area}: replacing",
                "the server will not rename over a file",
                "nothing to do; a replaced file is deleted just before the new one gets its name",
            )
    except (Refused, Missing) as exc:
        yield Check(
            name=name,
            verdict=Verdict.FAILED,
            detail=str(exc),
            advice="uploads need the rights to write, rename and delete; ask the organizer",
        )
    finally:
        for path in (first, second):
            with contextlib.suppress(Refused, Missing):
                transport.remove(path, Kind.FILE)


def _renames_over(transport: Transport, source: RelPath, target: RelPath) -> bool:
    try:
        transport.rename(source, target)
    except Refused:
        return False
    entry = transport.stat(target)
    return entry is not None and entry.size_bytes == len(_SAMPLE)


def _habits(profile: Profile) -> Iterator[Check]:
    """Tell what the space does with archives, and what follows."""
    known = {"declared": "as the space declares", "probed": "as tried out", "assumed": "not known"}[
        profile.source
    ]
    if profile.source == "assumed":
        yield _warn(
            "extraction",
            "could not be tried out: no folder can be made beside the areas",
            "archives are sent as they are; the service's rules say they are extracted",
        )
        return
    if profile.extracts:
        when = " and ".join(f"on {word}" for word in profile.extracts_on)
        where = (
            "beside the archive" if profile.into == "same-folder" else "into a folder named like the archive"
        )
        soon = f", after {profile.delay_s:.1f} s" if profile.delay_s is not None else ""
        yield _ok("extraction", f"{when}, {where}{soon} ({known})")
        yield _ok(
            "archives", "stay after extraction" if profile.keeps_archive else "are removed after extraction"
        )
        if profile.overwrites:
            yield _ok("members", "replace files of the same name")
        else:
            yield _warn(
                "members",
                "do not replace files of the same name",
                "a new version of an archive needs its old members deleted first",
            )
        if profile.keeps_times is False:
            yield _warn(
                "member times", "are those of the extraction", "nothing to do; content is compared instead"
            )
        if profile.case_sensitive is False:
            yield _warn("case", ".TAR is extracted like .tar", "preview assumes the rules' own spelling")
    else:
        yield _warn(
            "extraction",
            f"none ({known})",
            "archives stay packed there; run `iqdata agent` beside the server, or send files unpacked",
        )
    if profile.clock_ahead_s is not None and abs(profile.clock_ahead_s) > _SKEW_S:
        yield _warn(
            "clock",
            f"the space is {abs(profile.clock_ahead_s):.0f} s {'ahead of' if profile.clock_ahead_s > 0 else 'behind'} this machine",
            "nothing depends on it here; times of files you did not upload look odd",
        )
    elif profile.clock_ahead_s is not None:
        yield _ok("clock", f"within {max(1.0, abs(profile.clock_ahead_s)):.0f} s of this machine")
    if profile.left_behind:
        yield Check(
            name="cleaning up",
            verdict=Verdict.FAILED,
            detail=f"could not delete {', '.join(profile.left_behind)}",
            advice="delete it by hand",
        )
