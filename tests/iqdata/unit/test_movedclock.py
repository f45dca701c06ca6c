"""A server's clock that was put forward or back moves all files; anything else is somebody's change."""

import pytest

from iqdata.actions import Agreed
from iqdata.movedclock import shift_ns
from iqdata.paths import RelPath
from iqdata.tree import FOLDER, Entry, Kind

HOUR_NS = 3600 * 1_000_000_000
QUARTER_NS = HOUR_NS // 4
DAY_NS = 24 * HOUR_NS
START_NS = 1_790_000_040 * 1_000_000_000


def sides(moves, *, grown=(), coarse=(), unknown=()):
    """Return a base and a listing of as many files as there are moves."""
    base, there = {RelPath("d"): Agreed(FOLDER, FOLDER)}, {RelPath("d"): FOLDER}
    for number, move in enumerate(moves):
        path, then = RelPath(f"d/{number}"), START_NS + number * 60 * 1_000_000_000
        base[path] = Agreed(
            Entry(Kind.FILE, 5, then), Entry(Kind.FILE, 5, None if number in unknown else then)
        )
        there[path] = Entry(
            Kind.FILE, 6 if number in grown else 5, then + move, coarse_ns=DAY_NS if number in coarse else 0
        )
    return base, there


@pytest.mark.parametrize(
    ("moves", "options", "expected"),
    [
        pytest.param([HOUR_NS] * 3, {}, HOUR_NS, id="forward"),
        pytest.param([-HOUR_NS] * 5, {}, -HOUR_NS, id="back"),
        pytest.param([HOUR_NS // 2] * 3, {}, HOUR_NS // 2, id="Lord Howe moves half an hour"),
        pytest.param([QUARTER_NS] * 3, {}, QUARTER_NS, id="another zone"),
        pytest.param([HOUR_NS] * 2, {}, 0, id="too few to tell"),
        pytest.param([0] * 9, {}, 0, id="nothing moved"),
        pytest.param([HOUR_NS] * 30 + [0], {}, 0, id="one stands still"),
        pytest.param([HOUR_NS] * 30 + [5 * HOUR_NS], {}, HOUR_NS, id="one was edited besides"),
        pytest.param(
            [HOUR_NS, 2 * HOUR_NS, 3 * HOUR_NS, HOUR_NS, HOUR_NS], {}, 0, id="many were edited besides"
        ),
        pytest.param([HOUR_NS + 1] * 5, {}, 0, id="no zone moves so"),
        pytest.param([27 * HOUR_NS] * 5, {}, 0, id="no zone is so far"),
        pytest.param([HOUR_NS] * 4, {"grown": (0, 1)}, 0, id="other sizes say nothing"),
        pytest.param(
            [HOUR_NS] * 3 + [0], {"coarse": (3,)}, HOUR_NS, id="a date without an hour says nothing"
        ),
        pytest.param([HOUR_NS] * 4, {"unknown": (0, 1)}, 0, id="unknown times say nothing"),
        pytest.param([], {}, 0, id="no files"),
    ],
)
def test_by_how_much_a_clock_has_moved(moves, options, expected):
    assert shift_ns(*sides(moves, **options)) == expected


def test_what_is_on_one_side_only_says_nothing():
    base, there = sides([HOUR_NS] * 3)
    there[RelPath("d/new")] = Entry(Kind.FILE, 1, START_NS)
    base[RelPath("d/gone")] = Agreed(Entry(Kind.FILE, 1, START_NS), Entry(Kind.FILE, 1, START_NS))
    assert shift_ns(base, there) == HOUR_NS
