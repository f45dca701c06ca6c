"""Counting bytes by home."""

from pathlib import Path

from iqdata.server.quota import QuotaKeeper

HOME = Path("/h")


def test_taking_and_giving_back():
    keeper = QuotaKeeper()
    assert keeper.take(HOME, 10**12), "no limit was set"
    keeper = QuotaKeeper()
    keeper.set_limit(HOME, 100)
    keeper.counted(HOME, 60)
    assert keeper.left(HOME) == 40
    assert not keeper.take(HOME, 41)
    assert keeper.take(HOME, 40)
    assert keeper.left(HOME) == 0
    keeper.give_back(HOME, 30)
    assert keeper.left(HOME) == 30
    keeper.give_back(HOME, 1000)
    assert keeper.left(HOME) == 100
    keeper.set_limit(HOME, None)
    assert keeper.left(HOME) is None
    assert keeper.is_known(HOME)
    assert not keeper.is_known(Path("/other"))
