"""Damaged archives: always a status, never a traceback, a cut or wrong file, or anything left behind.

A sample of what `scripts/fuzz-extraction` does in full.
"""

import pytest

from tests.support.fuzz import Judge, cuts, field_lies, flips, noise, samples

SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_cut_anywhere(name, tmp_path):
    judge = Judge(tmp_path / "x")
    truth = judge.truth(name, SAMPLES[name])
    for label, data in cuts(SAMPLES[name], step=1 + len(SAMPLES[name]) // 60):
        judge.judge(f"{name} {label}", name, data, truth)
    assert judge.tally.bad == []


@pytest.mark.parametrize("name", SAMPLES)
def test_one_flipped_bit(name, tmp_path):
    judge = Judge(tmp_path / "x")
    truth = judge.truth(name, SAMPLES[name])
    for label, data in flips(name, SAMPLES[name], 50, seed=1):
        judge.judge(f"{name} {label}", name, data, truth)
    assert judge.tally.bad == []


@pytest.mark.parametrize("name", ["s.tar", "s.zip", "d.zip", "s.7z", "s.tar.gz"])
def test_lies_in_numbers(name, tmp_path):
    judge = Judge(tmp_path / "x")
    truth = judge.truth(name, SAMPLES[name])
    for index, (label, data) in enumerate(field_lies(SAMPLES[name])):
        if index % 7 == 0:
            judge.judge(f"{name} {label}", name, data, truth)
    assert judge.tally.bad == []


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.gz"])
def test_noise(name, tmp_path):
    judge = Judge(tmp_path / "x")
    for label, data in noise(60, seed=3):
        judge.judge(f"{name} {label}", name, data, {})
    assert [bad for bad in judge.tally.bad if bad not in judge.tally.wrong] == []
