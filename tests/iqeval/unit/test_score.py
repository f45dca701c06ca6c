"""Scores: equality, denominators, first answers, near misses, intervals."""

import pytest

from iqeval.score import NoSuchAnswer, by_kind, judge, lenient_form, wilson


class Key:
    """Answers in a dictionary."""

    def __init__(self, answers):
        self._keys = {key: place for place, key in enumerate(answers)}
        self._values = list(answers.values())

    def __len__(self):
        return len(self._values)

    def place(self, key):
        return self._keys.get(key)

    def value(self, place):
        return self._values[place]


ONE = Key({"1": [1]})
TEXT = Key({"1": "6"})


@pytest.mark.parametrize(
    ("key", "given", "right", "near"),
    [
        pytest.param(ONE, [1], True, False, id="the answer"),
        pytest.param(ONE, [1.0], True, False, id="a float of the same value"),
        pytest.param(ONE, [True], True, False, id="true equals one"),
        pytest.param(ONE, 1, False, True, id="unwrapped number"),
        pytest.param(ONE, "1", False, True, id="number as text"),
        pytest.param(ONE, ["1"], False, True, id="text in a list"),
        pytest.param(ONE, [1, 2], False, False, id="two options"),
        pytest.param(ONE, [2], False, False, id="another option"),
        pytest.param(ONE, None, False, False, id="null"),
        pytest.param(TEXT, "6", True, False, id="open answer"),
        pytest.param(TEXT, ["6"], False, True, id="open answer in a list"),
        pytest.param(TEXT, 6, False, True, id="open answer as a number"),
        pytest.param(TEXT, " 6 ", False, True, id="open answer with spaces"),
        pytest.param(TEXT, "7", False, False, id="another open answer"),
    ],
)
def test_equality(key, given, right, near):
    verdicts = judge([[1, given]], key)
    assert verdicts.right(0) is right
    assert verdicts.near(0) is near
    assert verdicts.count.correct == int(right)


def test_unanswered_questions_count_as_wrong():
    count = judge([[1, [1]]], Key({"1": [1], "2": [1], "3": [1], "4": [1]})).count
    assert (count.correct, count.total, count.answered) == (1, 4, 1)
    assert count.score == 0.25


def test_no_answers_give_zero():
    assert judge([], Key({})).count.score == 0.0


def test_the_first_prediction_for_an_id_counts():
    assert judge([[1, [2]], [1, [1]]], ONE).count.correct == 0
    assert judge([[1, [1]], [1, [2]]], ONE).count.correct == 1


def test_ids_are_compared_as_text_and_may_be_negative():
    key = Key({"-1": [1], "a": [1]})
    assert judge([[-1, [1]], ["a", [1]]], key).count.correct == 2


def test_a_prediction_without_id_is_dropped_and_further_elements_ignored():
    assert judge([[None, [1]], [None], [1, [1], "why"]], ONE).count.correct == 1


def test_an_id_without_answer_is_an_error():
    with pytest.raises(NoSuchAnswer, match="id 9"):
        judge([[9, [1]]], ONE)


def test_sub_scores_follow_the_questions_own_category():
    key = Key({"1": [1], "2": [1], "3": "x"})
    verdicts = judge([[1, [1]], [2, [2]], [3, ["x"]]], key)
    counts = by_kind([("1", "a"), ("2", "a"), ("3", "b"), ("4", "b")], key, verdicts)
    assert (counts["a"].correct, counts["a"].total) == (1, 2)
    assert (counts["b"].open_near, counts["b"].total) == (1, 1)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (193, 1076, 0.1576, 0.2034)],
)
def test_wilson_against_published_values(correct, total, low, high):
    interval = wilson(correct, total)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_lenient_form_ends_on_nesting_and_length():
    deep = [1, 2]
    for _ in range(500):
        deep = [deep, deep[0]]
    assert lenient_form(deep)
    assert lenient_form("x" * 100_000) == "x" * 100_000
