"""Leftovers of killed runs: removed when they have stood unchanged for a day, and nothing else ever is."""

import io

import pytest

from iqdata.paths import RelPath
from iqdata.rules import temporary_name
from iqdata.state import open_state
from iqdata.sweep import beside_the_areas, sweep_space
from iqdata.transports.memory import MemorySpace, MemoryTransport
from iqdata.transports.pool import Pool
from iqdata.tree import Kind

DAY = 86_400.0
PART = RelPath("train_data").joined(temporary_name("a" * 20))
PROBE = RelPath(temporary_name("b" * 20, purpose="probe"))
MINE = RelPath("train_data/iqdata-notes")


@pytest.fixture
def space():
    """A space with a part, a probe's folder and a file of the user's."""
    transport = MemoryTransport(MemorySpace())
    for folder in (RelPath("train_data"), PROBE):
        transport.make_folder(folder)
    for path in (PART, MINE, PROBE.joined("x.tar")):
        transport.write_from(path, io.BytesIO(b"half"), on_bytes=lambda _size: None)
    return transport


def sweep(space, tmp_path, now_s, *, older_than_s=DAY):
    """Sweep as a run does that sees the space as it is."""
    found = {
        RelPath("train_data").joined(name): entry
        for name, entry in space.list_folder(RelPath("train_data")).items()
    }
    pool = Pool(lambda: space, limit=1)
    found |= beside_the_areas(pool)
    with open_state(tmp_path, space="memory://x/") as state:
        return sorted(
            sweep_space(found, pool=pool, state=state, now_s=now_s, older_than_s=older_than_s, step_ns=1)
        )


def test_what_stands_unchanged_for_a_day_goes(space, tmp_path):
    assert sweep(space, tmp_path, 1000.0) == []
    assert sweep(space, tmp_path, 1000.0 + DAY / 2) == []
    assert sweep(space, tmp_path, 1000.0 + DAY) == sorted([PART, PROBE])
    assert space.stat(PART) is None
    assert space.stat(PROBE) is None
    assert space.stat(MINE).kind is Kind.FILE


def test_an_upload_that_goes_on_stays(space, tmp_path):
    sweep(space, tmp_path, 1000.0)
    space.write_from(PART, io.BytesIO(b"half and more"), on_bytes=lambda _size: None)
    assert PART not in sweep(space, tmp_path, 1000.0 + 2 * DAY)
    assert PART in sweep(space, tmp_path, 1000.0 + 3 * DAY)


def test_a_clock_put_back_begins_the_count_anew(space, tmp_path):
    sweep(space, tmp_path, 10 * DAY)
    assert sweep(space, tmp_path, 5 * DAY) == []
    assert sweep(space, tmp_path, 5.5 * DAY) == []
    assert sweep(space, tmp_path, 6 * DAY) == sorted([PART, PROBE])


def test_age_nought_removes_at_first_sight(space, tmp_path):
    assert sweep(space, tmp_path, 1000.0, older_than_s=0) == sorted([PART, PROBE])
