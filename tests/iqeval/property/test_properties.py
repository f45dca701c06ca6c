"""What holds for any input: paths, scores, messages from a child, streamed JSON, plans of many children."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqeval import child, protocol, wire
from iqeval.data import DataMissing, PathRefused, resolve
from iqeval.jsonstream import elements, members
from iqeval.questions import Config
from iqeval.score import judge, lenient_form, wilson
from iqeval.tasks import plan_tasks

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.sampled_from(
    [
        "train_data",
        "group_data",
        "a",
        "b.csv",
        "..",
        ".",
        "",
        "~",
        "link",
        "out",
        "x.tar",
        "\0",
        "\\",
        "C:",
        "é",
        "e\u0301",
        "\udc80",
    ]
)
SLOW_OK = settings(
    max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    root = tmp_path_factory.mktemp("space")
    for name in ("train_data/a/b.csv", "train_data/a/a", "group_data/a", "train_data/train_data/a", "other"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (root / "train_data" / "link").symlink_to("a")
    (root / "train_data" / "out").symlink_to(root)
    (root / "train_data" / "x.tar").write_bytes(b"no archive")
    return root


@SLOW_OK
@given(parts=st.lists(PARTS | st.text(max_size=4), max_size=5), absolute=st.booleans())
def test_resolve_stays_inside_is_idempotent_and_fails_in_two_ways_only(space, parts, absolute):
    name = (f"{space}/" if absolute else "") + "/".join(parts)
    try:
        found = resolve(name, space=space)
    except (PathRefused, DataMissing):
        return
    assert resolve(found, space=space) == found
    real = os.path.realpath(found)
    assert any(
        real == str(space / area) or real.startswith(f"{space / area}/")
        for area in ("train_data", "group_data")
    )


class Key:
    def __init__(self, answers):
        self._keys = {key: place for place, key in enumerate(answers)}
        self._values = list(answers.values())

    def __len__(self):
        return len(self._values)

    def place(self, key):
        return self._keys.get(key)

    def value(self, place):
        return self._values[place]


@given(answers=st.dictionaries(st.integers(0, 9).map(str), VALUES, min_size=1), data=st.data())
def test_a_score_is_a_share_and_ignores_order(answers, data):
    ids = data.draw(st.lists(st.sampled_from(sorted(answers)), unique=True))
    predictions = [[name, data.draw(st.just(answers[name]) | VALUES)] for name in ids]
    count = judge(predictions, Key(answers)).count
    assert 0 <= count.score <= count.lenient <= 1
    assert count.interval.low <= count.score <= count.interval.high
    assert judge(data.draw(st.permutations(predictions)), Key(answers)).count == count
    assert judge([[name, value] for name, value in answers.items()], Key(answers)).count.score == 1.0


@given(value=VALUES)
def test_equal_values_have_equal_lenient_forms(value):
    again = json.loads(json.dumps(value))
    assert lenient_form(value) == lenient_form(again)


@given(total=st.integers(0, 10_000), data=st.data())
def test_wilson_contains_the_share(total, data):
    correct = data.draw(st.integers(0, total))
    interval = wilson(correct, total)
    assert 0 <= interval.low <= (correct / total if total else 0.5) <= interval.high <= 1


@given(raw=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_line_from_a_child_is_a_message_or_garbled(raw):
    try:
        protocol.parse(raw)
    except protocol.Garbled:
        return


@given(
    fields=st.fixed_dictionaries(
        {"is": st.sampled_from(["answer", "failed", "ready", "closed", "confined", "opened", "x"])},
        optional=dict.fromkeys(
            (
                "i",
                "ms",
                "p",
                "where",
                "kind",
                "text",
                "count",
                "form",
                "models",
                "failed",
                "refused",
                "allowed",
                "note",
            ),
            VALUES,
        ),
    )
)
def test_any_message_of_a_child_is_read_or_garbled(fields):
    try:
        protocol.parse(json.dumps(fields).encode())
    except protocol.Garbled:
        return


@given(value=VALUES)
def test_any_prediction_has_the_json_form_it_had(value):
    assert json.loads(child.json_of([1, value])) == json.loads(json.dumps([1, value]))


@given(value=VALUES)
def test_a_fault_is_found_in_all_but_pairs(value):
    fault = wire.prediction_fault(value)
    if isinstance(value, list) and len(value) >= 2 and not isinstance(value[0], (list, dict)):
        assert fault is None
    elif not isinstance(value, list) or not value:
        assert fault


@SLOW_OK
@given(
    value=st.lists(VALUES, max_size=6),
    small=st.booleans(),
    chunk=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
)
def test_streams_read_what_was_written(tmp_path_factory, monkeypatch, value, small, chunk, indent):
    monkeypatch.setattr("iqeval.jsonstream._CHUNK", chunk)
    monkeypatch.setattr("iqeval.jsonstream._SMALL_BYTES", 1 << 20 if small else -1)
    path = tmp_path_factory.mktemp("s") / "x.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=True), encoding="utf-8-sig")
    assert list(elements(path)) == value
    named = {f"k{number}": item for number, item in enumerate(value)}
    path.write_text(json.dumps(named, indent=indent))
    assert dict(members(path)) == named


@given(
    counts=st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 9), max_size=3), max_size=4),
    jobs=st.integers(1, 5),
    split=st.booleans(),
)
def test_plans_cover_every_question_once(counts, jobs, split):
    config = Config(
        categories={
            name: tuple(f"{name}{place}" for place in range(len(sizes))) for name, sizes in counts.items()
        }
    )
    sizes = {f"{name}{place}": size for name, each in counts.items() for place, size in enumerate(each)}
    groups = plan_tasks(config, list(counts), sizes, jobs=jobs, split=split)
    assert len(groups) <= max(jobs, 1)
    covered = {suite: [] for suite in sizes}
    for group in groups:
        for task in group:
            stop = sizes[task.suite] if task.stop is None else task.stop
            covered[task.suite] += range(task.start, stop)
    assert {suite: sorted(found) for suite, found in covered.items()} == {
        suite: list(range(size)) for suite, size in sizes.items()
    }
    # A model that takes suites whole is given each by the part that starts it: there is one.
    starts = [task.suite for group in groups for task in group if task.start == 0]
    assert sorted(starts) == sorted(sizes)
