"""Counting bytes by home."""

import os
from pathlib import Path

import pytest

from iqdata.server.quota import QuotaKeeper, usage_of

HOME = Path("/h")


@pytest.fixture
def keeper():
    keeper = QuotaKeeper(lambda _home: 60)
    keeper.set_limit(HOME, 100)
    return keeper


def test_taking_and_giving_back(keeper):
    assert keeper.left(HOME) == 40
    assert not keeper.take(HOME, 41)
    assert keeper.take(HOME, 40)
    assert keeper.left(HOME) == 0
    keeper.give_back(HOME, 30)
    assert keeper.left(HOME) == 30
    keeper.give_back(HOME, -10)
    assert keeper.left(HOME) == 20
    keeper.give_back(HOME, 1000)
    assert keeper.left(HOME) == 100


def test_without_a_limit_anything_goes(keeper):
    other = Path("/other")
    assert keeper.take(other, 10**12)
    assert (keeper.left(other), keeper.used(other), keeper.is_limited(other)) == (None, None, False)
    keeper.set_limit(HOME, None)
    assert keeper.left(HOME) is None


def test_another_limit_does_not_count_anew(keeper):
    keeper.take(HOME, 10)
    keeper.set_limit(HOME, 1000)
    assert keeper.used(HOME) == 70


def test_a_limit_for_a_home_in_use_counts_it_first_and_once_more_when_it_is_quiet(keeper):
    other = Path("/other")
    keeper.set_limit(other, 100, in_use=True)
    assert keeper.take(other, 10)
    assert (keeper.used(other), keeper.is_in_doubt(other)) == (70, True)
    keeper.settle(other, lambda: True)
    assert (keeper.used(other), keeper.is_in_doubt(other)) == (60, False)


def test_a_home_in_doubt_is_counted_anew_when_it_is_quiet(keeper):
    assert keeper.take(HOME, 40)
    keeper.settle(HOME, lambda: True)
    assert keeper.used(HOME) == 100, "nobody doubts it"
    keeper.doubt(HOME)
    keeper.settle(HOME, lambda: False)
    assert keeper.is_in_doubt(HOME)
    keeper.settle(HOME, lambda: True)
    assert (keeper.used(HOME), keeper.is_in_doubt(HOME)) == (60, False)


def test_what_comes_while_it_is_counted_makes_the_count_worthless():
    counts = []

    def measure(home):
        counts.append(keeper.take(home, 5) if counts else None)
        return 60

    keeper = QuotaKeeper(measure)
    keeper.set_limit(HOME, 100)
    assert keeper.take(HOME, 10)
    keeper.doubt(HOME)
    keeper.settle(HOME, lambda: True)
    assert (keeper.used(HOME), keeper.is_in_doubt(HOME)) == (75, True)


def test_usage_counts_a_file_once_and_nothing_of_the_space_s_own(tmp_path):
    (tmp_path / "train_data").mkdir()
    (tmp_path / ".iqdata").mkdir()
    (tmp_path / ".iqdata/extractions.jsonl").write_bytes(bytes(1000))
    (tmp_path / "train_data/a").write_bytes(bytes(10))
    os.link(tmp_path / "train_data/a", tmp_path / "train_data/b")
    (tmp_path / "train_data/c").symlink_to("a")
    (tmp_path / "train_data/.iqdata").mkdir()
    (tmp_path / "train_data/.iqdata/d").write_bytes(bytes(5))
    assert usage_of(tmp_path) == 15
