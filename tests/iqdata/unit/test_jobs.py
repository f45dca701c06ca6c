"""How many connections a run opens where nobody says how many."""

import itertools
import threading

import pytest

from iqdata.actions import Direction, Policy
from iqdata.config import FAR_JOBS, USUAL_JOBS, Settings
from iqdata.location import Location
from iqdata.sync import Clocks, Request, run
from iqdata.transports.memory import MemorySpace, MemoryTransport

FILES = 2 * FAR_JOBS


class Gathering(MemoryTransport):
    """Publishes once as many connections publish as were to come, and counts them."""

    def __init__(self, space, gate, busy):
        super().__init__(space)
        self._gate = gate
        self._busy = busy

    def publish(self, jobs):
        """Wait for the others, then publish."""
        self._busy.append(self)
        self._gate.wait(60)
        yield from super().publish(jobs)


@pytest.mark.parametrize(
    ("jobs", "tick_s", "expected"),
    [
        pytest.param(None, 1.0, FAR_JOBS, id="far"),
        pytest.param(None, 0.0, USUAL_JOBS, id="near"),
        pytest.param(3, 1.0, 3, id="as said, though far"),
    ],
)
def test_distance_decides_unless_the_user_does(tmp_path, jobs, tick_s, expected):
    data = tmp_path / "train_data"
    data.mkdir()
    for number in range(FILES):
        (data / f"f{number:03}").write_bytes(b"x")
    space, gate, busy = MemorySpace(), threading.Barrier(expected), []
    moments = itertools.count()
    report = run(
        Settings(workspace=tmp_path, location=Location.parse("memory://jobs/"), jobs=jobs),
        Request(policy=Policy(direction=Direction.PUSH)),
        lambda: Gathering(space, gate, busy),
        listener=lambda _event: None,
        clocks=Clocks(monotonic=lambda: next(moments) * tick_s),
    )
    assert (report.failed, len(report.outcomes) >= FILES) == (0, True)
    assert len(busy) == expected
