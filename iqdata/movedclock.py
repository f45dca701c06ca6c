"""A space whose listings follow a local clock shows every file an hour off once that clock is put forward or back.

Without more, each file would count as changed there, and be fetched again. Here the base follows the clock instead, once
content has proved that the files are the same. Refuses to follow where a single file stands still, where listings are
exact (they are in UTC), and where nothing here can prove it.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from iqdata.actions import Agreed
from iqdata.compare import FARTHEST_ZONE_NS, ZONE_STEP_NS, same_local
from iqdata.content import compare_all
from iqdata.paths import RelPath
from iqdata.state import State
from iqdata.transports.pool import Pool
from iqdata.tree import Entry, Kind, Tree

MINUTE_NS = 60 * 1_000_000_000
_FEWEST = 3
_OTHERS_AT_MOST = 0.1
"""So many of the files may have changed besides."""
_PROOFS = 3


def shift_ns(base: Mapping[RelPath, Agreed], there: Tree) -> int:
    """Return by how much the space's clock has moved since the base was written, 0 where it has not.

    At least three files must show the same move of whole quarters of an hour, and none no move at all.
    """
    moves: Counter[int] = Counter()
    for path, agreed in base.items():
        move = _move(agreed.remote, there.get(path))
        if move == 0:
            return 0
        if move is not None:
            moves[move] += 1
    if not moves:
        return 0
    move, files = moves.most_common(1)[0]
    is_zone = move % ZONE_STEP_NS == 0 and abs(move) <= FARTHEST_ZONE_NS
    enough = files >= _FEWEST and moves.total() - files <= _OTHERS_AT_MOST * files
    return move if is_zone and enough else 0


def _move(then: Entry | None, now: Entry | None) -> int | None:
    """Return how far a file's time has moved; None where that says nothing of the clock."""
    if then is None or now is None or now.kind is not Kind.FILE or then.kind is not Kind.FILE:
        return None
    if then.mtime_ns is None or now.mtime_ns is None or now.coarse_ns or then.size_bytes != now.size_bytes:
        return None
    return now.mtime_ns - then.mtime_ns


def follow(
    known: Mapping[RelPath, Agreed],
    *,
    here: Tree,
    there: Tree,
    step_ns: int | None,
    pool: Pool,
    workspace: Path,
) -> tuple[int, dict[RelPath, Agreed]]:
    """Return by how much the space's clock has moved, and the rows of the base that move along.

    Args:
        known: the base.
        here: the workspace as scanned.
        there: the space as listed.
        step_ns: how exact its listings are.
        pool: connections to it, to compare the content of the smallest files.
        workspace: where the local files are.
    """
    move = shift_ns(known, there) if step_ns is not None and step_ns >= MINUTE_NS else 0
    if not move:
        return 0, {}
    moved = {
        path: Agreed(agreed.local, there[path])
        for path, agreed in known.items()
        if _move(agreed.remote, there.get(path)) == move
    }
    provable = [
        path
        for path, agreed in moved.items()
        if (mine := here.get(path)) is not None
        and agreed.local is not None
        and same_local(mine, agreed.local)
    ]
    smallest = sorted(provable, key=lambda path: there[path].size_bytes)[:_PROOFS]
    proved = list(compare_all(pool, workspace, smallest))
    if not proved or not all(item.same for item in proved):
        return 0, {}
    return move, moved


def remember(state: State, moved: Mapping[RelPath, Agreed]) -> None:
    """Write the rows that moved into the base, and move what extractions left along."""
    with state.transaction():
        state.agree(moved)
        for archive, members in state.left_there().items():
            along = {
                path: agreed.remote
                for path in members
                if (agreed := moved.get(path)) is not None and agreed.remote is not None
            }
            if along:
                state.leave(archive, {**members, **along})
