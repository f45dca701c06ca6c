"""Are two entries the same file? By size and time as far as each side can tell; only content tells the rest.

Refuses to compare the clocks of two machines: a side's time is compared with that side's earlier time, or for equality.
"""

import enum
from typing import NamedTuple

from iqdata.actions import Situation
from iqdata.paths import RelPath
from iqdata.tree import Entry, Kind, same_time

ZONE_STEP_NS = 15 * 60 * 1_000_000_000
"""Source: IANA time zone database, whose offsets today are whole quarters of an hour."""
FARTHEST_ZONE_NS = 26 * 3600 * 1_000_000_000


def same_local(now: Entry | None, then: Entry | None) -> bool:
    """Tell whether a local entry is as it was; a folder always is."""
    if now is None or then is None:
        return now is then
    if now.kind is not then.kind:
        return False
    return now.kind is not Kind.FILE or (now.size_bytes == then.size_bytes and now.mtime_ns == then.mtime_ns)


def same_remote(now: Entry | None, then: Entry | None, *, step_ns: int | None) -> bool:
    """Tell whether a remote entry is as it was, as far as the space's listing can tell."""
    if now is None or then is None:
        return now is then
    if now.kind is not then.kind:
        return False
    if now.kind is not Kind.FILE:
        return True
    if now.size_bytes != then.size_bytes:
        return False
    if step_ns is None or now.mtime_ns is None or then.mtime_ns is None:
        return True
    return same_time(now.mtime_ns, then.mtime_ns, step_ns=max(step_ns, now.coarse_ns, then.coarse_ns))


def twins(left: Entry, right: Entry, *, step_ns: int | None) -> bool:
    """Tell whether entries of two sides are equal by size and time; an unknown time proves nothing."""
    return (
        left.kind is right.kind
        and left.size_bytes == right.size_bytes
        and (
            left.kind is not Kind.FILE
            or (
                step_ns is not None
                and same_time(
                    left.mtime_ns, right.mtime_ns, step_ns=max(step_ns, left.coarse_ns, right.coarse_ns)
                )
            )
        )
    )


class Unsettled(NamedTuple):
    """What is left to be judged: the paths, and how many files are not among them."""

    paths: set[RelPath]
    settled_files: int


def unsettled(situation: Situation, *, checksum: bool) -> Unsettled:
    """Return every path of either side or of the base but those that are, on both sides, exactly as the base has them.

    Nearly all paths of nearly all runs are so; each costs a few comparisons here instead of a whole judgement. With
    `checksum` none is left out: equal sizes and dates are no proof then.
    """
    local, remote, base = situation.local, situation.remote, situation.base
    if checksum:
        return Unsettled({*local, *remote, *base}, 0)
    found: set[RelPath] = set()
    files = remotes = bases = 0
    for path, here in local.items():
        there, agreed = remote.get(path), base.get(path)
        remotes += there is not None
        bases += agreed is not None
        if (
            there is not None
            and agreed is not None
            and (then := agreed.remote) is not None
            and here == agreed.local
            and there.kind is then.kind is here.kind is not Kind.OTHER
            and there.mtime_ns == then.mtime_ns
            and there.size_bytes == then.size_bytes
        ):
            files += here.kind is Kind.FILE
        else:
            found.add(path)
    # Looked for only where there are any.
    if remotes < len(remote):
        found.update(remote.keys() - local.keys())
    if bases < len(base):
        found.update(base.keys() - local.keys())
    return Unsettled(found, files)


class Verdict(enum.Enum):
    """What became of a file that exists on both sides."""

    EQUAL = "equal"
    HERE = "changed here"
    THERE = "changed in the space"
    BOTH = "changed on both sides"
    UNDECIDED = "equal size, other time"


def compare(path: RelPath, here: Entry, there: Entry, situation: Situation, *, checksum: bool) -> Verdict:
    """Judge a file that exists on both sides."""
    agreed = situation.base.get(path)
    known = situation.same_content.get(path)
    here_same = there_same = False
    if agreed is not None and agreed.local is not None and agreed.remote is not None:
        here_same = same_local(here, agreed.local)
        there_same = same_remote(there, agreed.remote, step_ns=situation.step_ns)
        if here_same and there_same and not checksum:
            return Verdict.EQUAL
        if here_same is not there_same and not checksum:
            # A new date alone is no new content, but proving that costs a read; sending or fetching costs the same.
            return Verdict.THERE if here_same else Verdict.HERE
    if here.size_bytes != there.size_bytes:
        if here_same is not there_same:
            return Verdict.THERE if here_same else Verdict.HERE
        return Verdict.BOTH
    if not checksum and twins(here, there, step_ns=situation.step_ns):
        return Verdict.EQUAL
    if known is None:
        return Verdict.UNDECIDED
    if known:
        return Verdict.EQUAL
    if here_same is not there_same:
        return Verdict.THERE if here_same else Verdict.HERE
    return Verdict.BOTH


def same_member(standing: Entry, member: Entry) -> bool:
    """Tell whether what stands at a path is what an archive makes there: size, and the second of the time where known."""
    if standing.kind is not member.kind:
        return False
    if standing.kind is not Kind.FILE:
        return True
    if standing.size_bytes != member.size_bytes:
        return False
    if standing.mtime_ns is None or member.mtime_ns is None:
        return True
    return standing.mtime_ns // 1_000_000_000 == member.mtime_ns // 1_000_000_000


def is_extracted(standing: Entry, member: Entry, *, step_ns: int | None, zoneless: bool = False) -> bool:
    """Tell whether what stands at a member's path may be what the extraction left: as far as the listing tells times.

    Args:
        standing: what the space lists.
        member: what the archive makes, by this machine's reckoning.
        step_ns: how exact the listing is.
        zoneless: the archive's times have no zone, and the space may have taken its own.
    """
    if same_member(standing, member) or twins(standing, member, step_ns=step_ns):
        return True
    if not zoneless or standing.kind is not member.kind or standing.size_bytes != member.size_bytes:
        return False
    if standing.mtime_ns is None or member.mtime_ns is None:
        return False  # unknown times were taken for equal above
    apart_ns = abs(standing.mtime_ns - member.mtime_ns)
    off_ns = min(apart_ns % ZONE_STEP_NS, -apart_ns % ZONE_STEP_NS)
    return apart_ns <= FARTHEST_ZONE_NS and off_ns <= max(step_ns or 0, 1_000_000_000)
