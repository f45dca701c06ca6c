"""What is asked of a space is asked again after a break; what is lent is not."""

import pytest

from iqdata.errors import ConnectFailed, CutOff, Missing, Refused
from iqdata.filters import everything
from iqdata.paths import ROOT, RelPath
from iqdata.scan import scan_space
from iqdata.transports.memory import MemorySpace, MemoryTransport
from iqdata.transports.pool import Pool


class Breaking:
    """A connection whose listings fail as often as the test says, all connections together."""

    def __init__(self, inner, failures):
        self._inner = inner
        self._failures = failures

    def list_folder(self, path):
        if self._failures:
            raise self._failures.pop(0)
        return self._inner.list_folder(path)

    def __getattr__(self, name):
        return getattr(self._inner, name)


def pool_of(failures, *, retries=3, connects=()):
    space = MemorySpace()
    first = MemoryTransport(space)
    first.make_folder(RelPath("train_data"))
    first.make_folder(RelPath("train_data/d"))
    refusals, opened, slept = list(connects), [], []

    def connect():
        if refusals and (refusal := refusals.pop(0)) is not None:
            raise refusal
        opened.append(Breaking(MemoryTransport(space), failures))
        return opened[-1]

    return Pool(connect, limit=1, retries=retries, sleep=slept.append), opened, slept


def cut():
    return CutOff("the connection broke", op="list", retryable=True)


def test_a_scan_goes_on_over_another_connection():
    pool, opened, slept = pool_of([cut(), cut()])
    assert set(scan_space(pool, ["train_data"], everything).entries) == {"train_data", "train_data/d"}
    assert len(opened) == 3
    assert slept


def test_a_space_that_is_busy_is_asked_again_over_the_same():
    busy = Refused("450 busy", op="list", reply="450 busy", retryable=True)
    pool, opened, _ = pool_of([busy])
    assert pool.ask(lambda transport: transport.list_folder(ROOT))
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("failures", "retries", "kind"),
    [
        pytest.param([cut() for _ in range(3)], 2, CutOff, id="more failures than tries"),
        pytest.param([cut()], 0, CutOff, id="no tries wanted"),
        pytest.param([Missing("gone", op="list")], 3, Missing, id="nothing that passes"),
        pytest.param([CutOff("it does not end", op="list")], 3, CutOff, id="a listing without end"),
    ],
)
def test_what_does_not_pass_is_an_error(failures, retries, kind):
    pool, _, _ = pool_of(failures, retries=retries)
    with pytest.raises(kind):
        pool.ask(lambda transport: transport.list_folder(ROOT))


def refused():
    return ConnectFailed("nobody answers", op="connect", retryable=True)


def test_where_no_server_ever_answered_nobody_waits_for_one():
    pool, _, slept = pool_of([], connects=[refused()])
    with pytest.raises(ConnectFailed):
        pool.ask(lambda transport: transport.list_folder(ROOT))
    assert not slept


def test_a_server_that_went_away_is_waited_for():
    pool, opened, slept = pool_of([cut()], connects=[None, refused(), refused()])
    assert pool.ask(lambda transport: transport.list_folder(ROOT))
    assert len(opened) == 2
    assert slept


def test_the_end_of_the_pool_ends_a_pause():
    pool, _, slept = pool_of([])
    pool._sleep = lambda seconds: (slept.append(seconds), pool.abort())
    pool.pause(50)
    assert len(slept) == 1
    assert slept[0] <= 0.2
