"""Data that hold the questions asked are named; others are not."""

import json

import pytest

from iqeval.leakage import leaks
from iqeval.suites import survey

QUESTIONS = [
    {"stem": f"{number},?", "options": ["a", "b"], "category": "x", "id": number} for number in range(8)
]


@pytest.fixture
def facts(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "s.json").write_text(json.dumps(QUESTIONS))
    return [survey(tmp_path / "data", "s")]


def found(tmp_path, facts, name, content, **options):
    path = tmp_path / "train_data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return list(leaks([tmp_path / "train_data"], facts, shown_from=tmp_path, **options))


def test_questions_under_other_ids_with_answers_are_found(tmp_path, facts):
    trained = [{**question, "id": 99 + question["id"], "answer": [1]} for question in QUESTIONS[:6]]
    (text,) = found(tmp_path, facts, "deep/seq-train.json", "\ufeff" + json.dumps(trained))
    assert text.startswith("train_data/deep/seq-train.json holds 6 of the 8 questions of s;")


def test_questions_by_id_with_the_unknown_filled_in_are_found(tmp_path):
    rows = [
        (f"{number},{number + 2},{number + 4},?", f"{number},{number + 2},{number + 4},{number + 6}")
        for number in range(6)
    ]
    (tmp_path / "data").mkdir()
    questions = [{"stem": asked, "options": [], "id": number} for number, (asked, _) in enumerate(rows)]
    (tmp_path / "data" / "s.json").write_text(json.dumps(questions))
    trained = {str(number): {"stem": filled, "answer": "x"} for number, (_, filled) in enumerate(rows)}
    (text,) = found(tmp_path, [survey(tmp_path / "data", "s")], "seq-train.json", json.dumps(trained))
    assert "holds 6 of the 6 questions" in text


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[",
        "[1, 2]",
        "not json",
        json.dumps(QUESTIONS[:4]),
        json.dumps([{**question, "stem": "other"} for question in QUESTIONS]),
    ],
)
def test_other_files_are_not(tmp_path, facts, content):
    assert found(tmp_path, facts, "x.json", content) == []


def test_the_suites_own_folder_is_left_out(tmp_path, facts):
    assert found(tmp_path, facts, "x.json", json.dumps(QUESTIONS), leave_out={tmp_path / "train_data"}) == []
