"""The published questions, whole: scores to the last digit, under every sandbox of this machine."""

import json

import pytest

from iqeval.run import Settings, run
from iqeval.sandbox.base import Wanted

ALWAYS = """
    from iqtest import iqtest_base

    class Model(iqtest_base.IQTestModelBase):
        def solve(self, question):
            return [question["id"], [{option}]]

    def get_model_object(category):
        return Model()
"""
SCORES = {
    1: {"seq": 0.17936802973977695, "verbal": 0.17886178861788618},
    2: {"seq": 0.25185873605947956, "verbal": 0.25609756097560976},
}


@pytest.mark.live
@pytest.mark.parametrize("option", [1, 2])
def test_always_one_option_scores_as_published(make_model, published, tmp_path, sandbox, option):
    model = make_model(ALWAYS.format(option=option))
    record = run(
        model, published / "config.json", Settings(work=tmp_path / "w", sandbox=Wanted(sandbox.value))
    )
    result = json.loads((tmp_path / "w" / "result.json").read_text())
    assert result == {
        name: {"pass": 1, "score": score, "message": None} for name, score in SCORES[option].items()
    }
    assert record.exit_code == 0
    assert record.sandbox.kind == sandbox.value


@pytest.mark.live
@pytest.mark.parametrize("answer", ["'6'", "['6']", "6"])
def test_open_answers_count_only_as_text(make_model, published, tmp_path, answer):
    source = f"""
        class Model:
            def pre_run(self): pass
            def solve(self, question):
                return [question["id"], [1] if question["options"] else {answer}]
        def get_model_object(category):
            return Model() if category == "seq" else None
    """
    record = run(make_model(source), published / "config.json", Settings(work=tmp_path / "w"))
    answers = json.loads((published / "seq-public.answer.json").read_text())
    sixes = sum(entry["answer"] == "6" for entry in answers.values())
    assert sixes > 0
    ones = sum(entry["answer"] == [1] for entry in answers.values())
    count = record.categories[0].count
    assert count.correct == ones + (sixes if answer == "'6'" else 0)
    assert count.open_near >= (0 if answer == "'6'" else sixes)
    assert count.score == count.correct / 1076


@pytest.mark.live
def test_warnings_name_what_is_odd_about_the_data(make_model, published, tmp_path):
    record = run(
        make_model(ALWAYS.format(option=1)), published / "config.json", Settings(work=tmp_path / "w")
    )
    text = "\n".join(record.warnings)
    assert "291 of 1076 questions" in text
    assert "127 groups" in text
    assert "9 groups of equal questions have different answers" in text
    assert "99/576" in text
