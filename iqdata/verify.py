"""Compare content, not dates: every file of both sides, by hash or by reading.

Refuses to change anything, the base included.
"""

import dataclasses
import enum
from collections.abc import Iterator

from iqdata.config import USUAL_JOBS, Settings, need_workspace
from iqdata.content import compare_all
from iqdata.filters import build_filter
from iqdata.paths import RelPath
from iqdata.scan import scan_folder, scan_space
from iqdata.transports.base import Connector
from iqdata.transports.pool import Pool
from iqdata.tree import Kind


class Verdict(enum.Enum):
    """What became of one path; the words of the JSON."""

    SAME = "same"
    DIFFERENT = "different"
    ONLY_HERE = "only-here"
    ONLY_THERE = "only-there"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One path; `how` is the hash that told, `read`, `size`, or None where there was nothing to compare."""

    path: RelPath
    verdict: Verdict
    how: str | None = None
    error: str | None = None


def verify(settings: Settings, connect: Connector, *, only: tuple[RelPath, ...] = ()) -> Iterator[Verified]:
    """Yield a verdict for every file of the workspace's areas and the space's.

    Raises:
        ConfigError: no workspace.
        TransportError: the space cannot be reached.
    """
    need_workspace(settings.workspace)
    allowed = build_filter(exclude=settings.exclude, include=settings.include, only=only)
    areas = settings.named_areas or settings.areas
    pool = Pool(connect, limit=settings.jobs or USUAL_JOBS, retries=settings.retries)
    try:
        here, there = scan_folder(settings.workspace, areas, allowed), scan_space(pool, areas, allowed)
        for item in (*here.blocked, *there.blocked):
            yield Verified(path=item.path, verdict=Verdict.FAILED, error=item.reason)
        both = []
        for path in sorted({*here.entries, *there.entries}):
            mine, theirs = here.entries.get(path), there.entries.get(path)
            if path.area in there.refused_areas:
                continue
            if theirs is None and mine is not None and mine.kind is Kind.FILE:
                yield Verified(path=path, verdict=Verdict.ONLY_HERE)
            elif mine is None and theirs is not None and theirs.kind is Kind.FILE:
                yield Verified(path=path, verdict=Verdict.ONLY_THERE)
            elif mine is None or theirs is None or mine.kind is theirs.kind is Kind.FOLDER:
                continue
            elif mine.kind is not theirs.kind or mine.size_bytes != theirs.size_bytes:
                yield Verified(path=path, verdict=Verdict.DIFFERENT, how="size")
            else:
                both.append(path)
        for found in compare_all(pool, settings.workspace, both):
            verdict = Verdict.FAILED if found.error else Verdict.SAME if found.same else Verdict.DIFFERENT
            yield Verified(path=found.path, verdict=verdict, how=found.how, error=found.error)
    finally:
        pool.close()
