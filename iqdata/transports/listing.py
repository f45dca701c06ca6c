"""One line of a directory listing → a name and an `Entry`: MLSD facts, Unix `ls -l` and the DOS form.

Refuses to guess: a line of no known form is an error, because a dropped line would read as a deleted file.
"""

import calendar
import functools
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from iqdata.errors import Refused, UnsafePath
from iqdata.paths import check_name
from iqdata.tree import FOLDER, Entry, Kind

NANOSECONDS = 1_000_000_000
MINUTE_NS = 60 * NANOSECONDS
DAY_NS = 86_400 * NANOSECONDS


class Listed(NamedTuple):
    """One parsed line."""

    name: str
    entry: Entry


_FACTS = re.compile(r"(?<![^;])(type|size|modify)=([^;]*);", re.IGNORECASE).findall
_KINDS = {"file": Kind.FILE, "dir": Kind.FOLDER}


def parse_mlsd(lines: Iterable[str]) -> dict[str, Entry]:
    """Return the entries of an MLSD answer by base name; the folder itself and its parent are left out.

    Raises:
        UnsafePath: a name that must not be followed.
        Refused: a line that is none of MLSD.

    Source: RFC 3659 section 7 (facts, a space, then the name; fact names in any case).
    """
    entries: dict[str, Entry] = {}
    days: dict[str, int] = {}
    for line in lines:
        facts, space, name = line.partition(" ")
        if not space or facts[-1:] != ";":
            raise Refused(
                f"list: the server's line {line[:120]!r} is no MLSD line", op="list", reply=line[:200]
            )
        kind = Kind.OTHER
        size_bytes = 0
        mtime_ns = None
        skip = False
        for key, value in _FACTS(facts):
            letter = key[0]
            if letter in "tT":
                word = value.lower()
                kind = _KINDS.get(word, Kind.OTHER)
                skip = word in ("cdir", "pdir")
            elif letter in "sS":
                size_bytes = int(value) if value.isdecimal() else 0
            else:
                mtime_ns = parse_time(value, days)
        if skip or name in (".", ".."):
            continue
        _add(entries, name, FOLDER if kind is Kind.FOLDER else Entry(kind, size_bytes, mtime_ns))
    return entries


def parse_time(value: str, days: dict[str, int] | None = None) -> int | None:
    """Return `YYYYMMDDHHMMSS[.fraction]` (UTC) as nanoseconds, or None when it is no such time.

    `days` remembers midnights already computed: a listing names few days and many files.

    Source: RFC 3659 section 2.3.
    """
    day = value[:8]
    midnight = days.get(day) if days is not None else None
    clock, _, fraction = value[8:].partition(".")
    if len(clock) != 6 or not clock.isdecimal() or not clock.isascii():
        return None
    if midnight is None:
        if len(day) != 8 or not day.isdecimal() or not day.isascii():
            return None
        try:
            midnight = int(datetime(int(day[:4]), int(day[4:6]), int(day[6:]), tzinfo=UTC).timestamp())
        except ValueError:
            return None
        if days is not None:
            days[day] = midnight
    seconds = midnight + int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:])
    extra = int(fraction[:9].ljust(9, "0")) if fraction.isdecimal() and fraction.isascii() else 0
    return seconds * NANOSECONDS + extra


def format_time(mtime_ns: int) -> str:
    """Return a time as `YYYYMMDDHHMMSS`, UTC, whole seconds rounded down."""
    return _seconds_text(mtime_ns // NANOSECONDS)


@functools.lru_cache(maxsize=4096)
def _seconds_text(seconds: int) -> str:
    # Remembered: what was written together has few different times.
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y%m%d%H%M%S")


_UNIX = re.compile(
    r"(?P<type>[-bcdlpsDC])[-rwxsStTl]{9}[.+@]?\s+"
    r"(?:\S+\s+){0,7}?"  # links, owner, group: columns and their words differ between servers
    r"(?P<size>\d+|\d+,\s*\d+)\s+"
    r"(?:(?P<month>[A-Z][a-z]{2})\s+(?P<day>\d{1,2})|(?P<day2>\d{1,2})\s+(?P<month2>[A-Z][a-z]{2}))\s+"
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})|(?P<year>\d{4}))"
    r" (?P<name>.+)",
    re.DOTALL,
)
_DOS = re.compile(
    r"(?P<month>\d{2})-(?P<day>\d{2})-(?P<year>\d{2}|\d{4})\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})\s?(?P<half>[AP]M)?\s+"
    r"(?:(?P<dir><DIR>|<JUNCTION>|<SYMLINKD?>)|(?P<size>[\d.,]+))\s(?P<pad>\s*)(?P<name>\S.*)"
)
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}


def parse_list(lines: Iterable[str], *, now_ns: int, offset_s: int = 0) -> dict[str, Entry]:
    """Return the entries of a LIST answer by base name.

    Args:
        lines: without line ends.
        now_ns: the present, to find the year that `ls -l` leaves out for recent files.
        offset_s: how far the server's listing clock is ahead of UTC.

    Raises:
        UnsafePath: a name that must not be followed.
        Refused: a line of no known form.
    """
    lines = list(lines)
    clock = _Clock(now_ns, offset_s)
    plain = _parse_plain(lines, clock)
    if plain is not None:
        return plain
    entries: dict[str, Entry] = {}
    parse: Callable[[str, _Clock], Listed | None] | None = None
    for line in lines:
        if not line.strip() or (line.startswith("total ") and line[6:].strip().isdecimal()):
            continue
        if parse is None:
            parse = _parse_dos if line[0].isdecimal() else _parse_unix
        listed = parse(line, clock)
        if listed is None:
            raise Refused(
                f"list: the server's line {line[:120]!r} is of no known form, so the listing is not believed",
                op="list",
                reply=line[:200],
            )
        if listed.name in (".", ".."):
            continue
        _add(entries, listed.name, listed.entry)
    return entries


class _Clock:
    """Turns the dates of one listing into times, each only once: a listing names few minutes and many files."""

    def __init__(self, now_ns: int, offset_s: int) -> None:
        self._offset_s = offset_s
        self._limit = datetime.fromtimestamp(now_ns // NANOSECONDS + offset_s + 86_400, tz=UTC)
        self._known: dict[tuple[int, ...], int | None] = {}

    def moment(self, year: int, month: int, day: int, hour: int = -1, minute: int = 0) -> int | None:
        """Return a date in the server's zone as nanoseconds, or None when there is no such date.

        A day without hours (`hour` is -1) is kept as the day it says, whatever the zone.
        """
        key = (year, month, day, hour, minute)
        if key not in self._known:
            try:
                moment = datetime(year, month, day, max(hour, 0), minute, tzinfo=UTC)
            except ValueError:
                self._known[key] = None
            else:
                offset_s = self._offset_s if hour >= 0 else 0
                self._known[key] = (int(moment.timestamp()) - offset_s) * NANOSECONDS
        return self._known[key]

    def recent(self, month: int, day: int, hour: int, minute: int) -> int | None:
        """Return the newest such moment that does not lie more than a day ahead of now."""
        key = (month, day, hour, minute)
        if key not in self._known:
            self._known[key] = None
            for year in range(self._limit.year, self._limit.year - 5, -1):  # 29 February is not in every year
                found = self.moment(year, month, day, hour, minute)
                if found is not None and datetime(year, month, day, hour, minute, tzinfo=UTC) <= self._limit:
                    self._known[key] = found
                    break
        return self._known[key]


_PLAIN = re.compile(
    r"^([-d])[-rwxsStT]{9} +\d+ +\S+ +\S+ +(\d+) ([A-Z][a-z]{2} [ \d]\d (?:\d\d:\d\d| \d{4})) ([ -.0-~]{1,255})$",
    re.MULTILINE,
).findall
"""The lines of nearly every listing: files and folders, three columns before the size, names in ASCII without a slash."""


def _parse_plain(lines: list[str], clock: _Clock) -> dict[str, Entry] | None:
    """Return the entries of a listing whose lines are all of the plainest form, or None: then each is looked at by itself.

    A folder of many files costs a fraction of what its lines cost one by one.
    """
    if lines and lines[0].startswith("total "):
        lines = lines[1:]
    found: list[tuple[str, str, str, str]] = _PLAIN("\n".join(lines))
    if len(found) != len(lines):
        return None
    entries: dict[str, Entry] = {}
    times: dict[str, tuple[int, int]] = {}
    for letter, size, date, name in found:
        if letter == "d":
            entries[name] = FOLDER
            continue
        time = times.get(date)
        if time is None:
            number, day = _MONTHS.get(date[:3], 0), int(date[4:6])
            recent = date[9] == ":"
            moment = (
                clock.recent(number, day, int(date[7:9]), int(date[10:]))
                if recent
                else clock.moment(int(date[8:]), number, day)
            )
            if moment is None:
                return None
            time = times[date] = (moment, 0 if recent else DAY_NS)
        entries[name] = Entry(Kind.FILE, int(size), time[0], None, time[1])
    if len(entries) != len(found):
        return None  # a name stands there twice
    entries.pop(".", None)
    entries.pop("..", None)
    return entries


def _parse_unix(line: str, clock: _Clock) -> Listed | None:
    match = _UNIX.fullmatch(line)
    if match is None:
        return None
    letter, size, month, day, day2, month2, hour, minute, year, name = match.groups()
    if letter == "d":
        return Listed(name, FOLDER)
    if letter == "l":
        name = name.partition(" -> ")[0]
    number = _MONTHS.get(month or month2, 0)
    if year is None:
        mtime_ns = clock.recent(number, int(day or day2), int(hour), int(minute))
    else:
        mtime_ns = clock.moment(int(year), number, int(day or day2))
    if mtime_ns is None:
        return None
    kind = Kind.FILE if letter == "-" else Kind.OTHER
    size_bytes = int(size) if size.isdecimal() else 0
    return Listed(name, Entry(kind, size_bytes, mtime_ns, None, 0 if year is None else DAY_NS))


def _parse_dos(line: str, clock: _Clock) -> Listed | None:
    match = _DOS.fullmatch(line)
    if match is None:
        return None
    if match["dir"]:
        # A link to a folder is no folder of ours: it may lead anywhere.
        entry = FOLDER if match["dir"] == "<DIR>" else Entry(Kind.OTHER)
        return Listed(match["name"], entry)
    year = int(match["year"])
    if year < 100:
        year += 1900 if year >= 70 else 2000
    hour = int(match["hour"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"] == "PM" else 0)
    mtime_ns = clock.moment(year, int(match["month"]), int(match["day"]), hour, int(match["minute"]))
    if mtime_ns is None:
        return None
    size_bytes = int(match["size"].replace(",", "").replace(".", ""))
    # The one space that separates size and name is part of the form, more of them belong to the name.
    return Listed(match["pad"] + match["name"], Entry(Kind.FILE, size_bytes, mtime_ns))


def _add(entries: dict[str, Entry], name: str, entry: Entry) -> None:
    check_name(name)
    if name in entries:
        raise UnsafePath(f"{name!r}: the server lists this name twice")
    entries[name] = entry
