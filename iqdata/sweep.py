"""Remove what killed runs left in the space under temporary names.

Refuses to compare clocks of two machines: a name goes when runs of this workspace have seen it unchanged for long enough,
and it has not changed since the listing either. An upload under way grows or gets its date, and so stays.
"""

from collections.abc import Mapping

from iqdata.compare import same_remote
from iqdata.errors import TransportError, UnsafePath
from iqdata.paths import ROOT, RelPath
from iqdata.rules import is_temporary
from iqdata.state import State
from iqdata.transports.base import Transport
from iqdata.transports.pool import Pool
from iqdata.tree import Entry, Kind

_DEEPEST = 8


def sweep_space(
    found: Mapping[RelPath, Entry],
    *,
    pool: Pool,
    state: State,
    now_s: float,
    older_than_s: float,
    step_ns: int | None,
) -> list[RelPath]:
    """Remove what has stood unchanged for `older_than_s` seconds of this machine's clock, and return it.

    Args:
        found: the temporary names that this run has seen.
        pool: connections to the space.
        state: remembers what is not old enough yet.
        now_s: this machine's clock, seconds since 1970.
        older_than_s: 0 removes whatever is found.
        step_ns: precision of the listing's times.
    """
    known = state.leftovers()
    waiting: dict[RelPath, tuple[Entry, float]] = {}
    removed = []
    for path, entry in found.items():
        if entry.kind is Kind.OTHER or not is_temporary(path.name):
            continue
        before, since = known.get(path, (None, now_s))
        # A clock that was put back since says nothing about age; the count begins anew.
        if not same_remote(entry, before, step_ns=step_ns) or since > now_s:
            since = now_s
        if now_s - since < older_than_s or not _remove(pool, path, entry, step_ns):
            waiting[path] = (entry, since)
        else:
            removed.append(path)
    if waiting != known:
        with state.transaction():
            state.keep_leftovers(waiting)
    return removed


def discard(pool: Pool, paths: list[RelPath]) -> None:
    """Try to remove temporary files of this very run, whose connections broke; what cannot be removed is swept one day."""
    for path in paths:
        try:
            with pool.lease() as transport:
                transport.remove(path, Kind.FILE)
        except TransportError as exc:
            if exc.retryable:
                return  # the space does not answer: each further try would cost another time-out


def _remove(pool: Pool, path: RelPath, entry: Entry, step_ns: int | None) -> bool:
    """Remove one if it still is as listed; tell whether it is gone."""
    try:
        with pool.lease() as transport:
            now = transport.stat(path)
            if now is not None and not same_remote(now, entry, step_ns=step_ns):
                return False
            if now is not None:
                _remove_tree(transport, path, entry.kind)
    except (TransportError, UnsafePath):
        return False
    return True


def beside_the_areas(pool: Pool) -> dict[RelPath, Entry]:
    """Return the temporary names in the space's root, where a killed probe leaves its folder."""
    try:
        listing = pool.ask(lambda transport: transport.list_folder(ROOT))
    except (TransportError, UnsafePath):
        return {}  # a root that may not be listed holds nothing of ours
    return {RelPath(name): entry for name, entry in listing.items() if is_temporary(name)}


def _remove_tree(transport: Transport, path: RelPath, kind: Kind, *, depth: int = 0) -> None:
    """Remove a file, or a folder of ours with all that it holds: its name says that nobody else put anything there."""
    if kind is Kind.FOLDER and depth < _DEEPEST:
        for name, entry in transport.list_folder(path).items():
            _remove_tree(transport, path.joined(name), entry.kind, depth=depth + 1)
    transport.remove(path, kind)
