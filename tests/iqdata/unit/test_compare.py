"""Whether what stands at a member's path is the extraction's work, or somebody's own."""

import pytest

from iqdata.compare import is_extracted
from iqdata.tree import FOLDER, Entry, Kind

S = 1_000_000_000
HOUR = 3600 * S
MEMBER = Entry(Kind.FILE, 6, 1_700_000_000 * S)


def at(offset_ns, *, size=6, coarse_ns=0):
    return Entry(Kind.FILE, size, 1_700_000_000 * S + offset_ns, coarse_ns=coarse_ns)


@pytest.mark.parametrize(
    ("standing", "step_ns", "zoneless", "expected"),
    [
        pytest.param(at(0), 1, False, True, id="size and time"),
        pytest.param(at(S // 2), 1, False, True, id="the fraction of a second is not kept"),
        pytest.param(at(-20 * S), 60 * S, False, True, id="as far as the listing tells times"),
        pytest.param(at(40 * S, coarse_ns=24 * HOUR), 60 * S, False, True, id="a date without an hour"),
        pytest.param(at(0, size=7), 1, False, False, id="another size"),
        pytest.param(at(28 * S), 2 * S, False, False, id="another time"),
        pytest.param(FOLDER, 1, False, False, id="a folder"),
        pytest.param(FOLDER, 1, True, False, id="a folder, whatever its zone"),
        pytest.param(at(2 * HOUR), 1, False, False, id="another zone where the archive knows its own"),
        pytest.param(at(2 * HOUR), 1, True, True, id="another zone"),
        pytest.param(at(-HOUR // 4), 1, True, True, id="a zone a quarter of an hour off"),
        pytest.param(at(2 * HOUR + 28 * S), 2 * S, True, False, id="no zone is off so"),
        pytest.param(at(27 * HOUR), 1, True, False, id="no zone is so far"),
        pytest.param(at(2 * HOUR, size=7), 1, True, False, id="another zone and size"),
        pytest.param(Entry(Kind.FILE, 6, None), 1, False, True, id="an unknown time tells nothing"),
    ],
)
def test_what_may_be_a_members_extraction(standing, step_ns, zoneless, expected):
    assert is_extracted(standing, MEMBER, step_ns=step_ns, zoneless=zoneless) is expected
