"""How runs and categories fail: starts, limits, errors of the data; and what is left on disk then."""

import json

import pytest

from iqeval.outcome import Fault, Outcome
from iqeval.run import Settings, run
from iqeval.sandbox.base import Limits
from iqeval.tasks import OnError

pytestmark = pytest.mark.live

MODEL = """
    import os, sys, time
    class Model:
        def pre_run(self): {pre_run}
        def solve(self, question):
            {solve}
            return [question["id"], [1]]
    def get_model_object(category):
        {get}
        return Model()
    def global_pre_run():
        {start}
"""


def source(*, pre_run="pass", solve="pass", get="pass", start="pass"):
    return MODEL.format(pre_run=pre_run, solve=solve, get=get, start=start)


def result_of(out):
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize(
    ("entry", "module", "says"),
    [
        pytest.param(None, "x = 1", "no such file", id="no entry.json"),
        pytest.param("{", "x = 1", "entry.json, line 1: not JSON", id="not JSON"),
        pytest.param("{}", "x = 1", "expected the name of a module, found nothing", id="no model"),
        pytest.param('{"model": 3}', "x = 1", "found 3", id="model is a number"),
        pytest.param('["x"]', "x = 1", "expected an object", id="a list"),
        pytest.param('{"model": "entry_modle"}', "x = 1", "did you mean 'entry_model'", id="misspelt"),
        pytest.param('{"model": "entry_model.py"}', "x = 1", "leave out the .py", id="with its ending"),
        pytest.param(
            '{"model": "entry_model"}',
            "x = 1",
            "neither get_model_object(category) nor get_eval_cls",
            id="no function",
        ),
        pytest.param(
            '{"model": "entry_model"}', "import nothing_like_it", "ModuleNotFoundError", id="import fails"
        ),
        pytest.param('{"model": "entry_model"}', "def (", "SyntaxError", id="syntax error"),
        pytest.param(
            '{"model": "entry_model"}', "import sys; sys.exit(4)", "SystemExit: 4", id="exits at import"
        ),
        pytest.param(
            '{"model": "entry_model"}', "import os; os._exit(0)", "exit status 0", id="dies at import"
        ),
        pytest.param(
            '{"model": "entry_model"}',
            "import time\ntime.sleep(60)",
            "no answer within 1 s",
            id="never returns from import",
        ),
    ],
)
def test_a_run_that_cannot_start(make_model, two_categories, tmp_path, entry, module, says):
    model = make_model(module)
    if entry is None:
        (model / "entry.json").unlink()
    else:
        (model / "entry.json").write_text(entry)
    work = tmp_path / "w"
    work.mkdir()
    for stale in ("output.answer.json", "result.json", "report.json"):
        (work / stale).write_text("stale")
    record = run(model, two_categories, Settings(work=work, limits=Limits(start_s=1)))
    assert record.exit_code == 2
    assert record.could_not_start
    result = result_of(work)
    assert set(result) == {"seq", "verbal"}
    for category in result.values():
        assert (category["pass"], category["score"]) == (0, -1)
        assert says in category["message"]
    predictions = json.loads((work / "output.answer.json").read_text())
    assert {entry["pass"] for entry in predictions.values()} == {0}
    assert json.loads((work / "report.json").read_text())["exit_code"] == 2


def test_a_failing_global_pre_run_fails_every_category_also_empty_ones(make_model, make_suites, tmp_path):
    config = make_suites({"seq": {"s": [[1]]}, "diagram": {}})
    record = run(
        make_model(source(start="raise RuntimeError('no weights')")), config, Settings(work=tmp_path / "w")
    )
    assert record.exit_code == 1
    result = result_of(tmp_path / "w")
    assert set(result) == {"seq", "diagram"}
    assert all("RuntimeError: no weights" in category["message"] for category in result.values())


def test_get_model_object_fails_for_one_category_only(make_model, two_categories, tmp_path):
    record = run(
        make_model(source(get="1 / (category != 'seq')")), two_categories, Settings(work=tmp_path / "w")
    )
    assert [result.outcome for result in record.categories] == [Outcome.START_FAILED, Outcome.OK]
    assert "ZeroDivisionError" in record.categories[0].message
    assert record.exit_code == 1


def test_pre_run_fails(make_model, two_categories, tmp_path):
    record = run(
        make_model(source(pre_run="raise OSError('numberbatch missing')")),
        two_categories,
        Settings(work=tmp_path / "w"),
    )
    assert {result.outcome for result in record.categories} == {Outcome.MODEL_ERROR}
    assert "pre_run" in record.categories[0].message


def test_the_message_has_the_question_the_traceback_and_the_last_output(make_model, two_categories, tmp_path):
    solve = "print('thinking about', question['id']); 1 / (question['id'] != 2)"
    record = run(make_model(source(solve=solve)), two_categories, Settings(work=tmp_path / "w"))
    message = record.categories[0].problem.details
    assert "question 3 (id 2)" in message
    assert "ZeroDivisionError" in message
    assert "thinking about 2" in message
    assert record.categories[0].problem.index == 2
    assert record.categories[0].suites[0].answered == 2


def test_files_of_the_model_with_names_of_the_library_do_not_spoil_its_tracebacks(
    make_model, two_categories, tmp_path
):
    model = make_model(
        source(solve="import helper; helper.fail()"),
        **{"helper.py": "def fail():\n    raise KeyError('where it fails')\n"},
        **{"tokenize.py": "raise RuntimeError('not the library')", "linecache.py": "x = 1"},
    )
    record = run(model, two_categories, Settings(work=tmp_path / "w"))
    problem = record.categories[0].problem
    assert problem is not None
    assert "helper.py" in problem.text
    assert "raise KeyError('where it fails')" in problem.text


def test_a_timeout_shows_where_the_model_was(make_model, two_categories, tmp_path, sandbox):
    from iqeval.sandbox.base import Wanted

    model = make_model(source(solve="question['id'] == 1 and time.sleep(60)"))
    record = run(
        model,
        two_categories,
        Settings(work=tmp_path / "w", sandbox=Wanted(sandbox.value), limits=Limits(question_s=1.5)),
    )
    problem = record.categories[0].problem
    assert problem.outcome is Outcome.TIMEOUT
    assert (problem.where, problem.index) == ("solve", 1)
    assert 'entry_model.py", line 6 in solve' in problem.stack
    assert "child.py" not in problem.stack
    assert "0x" not in problem.message


def test_limits_of_suite_and_run(make_model, two_categories, make_suites, tmp_path):
    slow = make_model(source(solve="time.sleep(0.3)"))
    record = run(slow, two_categories, Settings(work=tmp_path / "w", limits=Limits(suite_s=0.7)))
    assert {result.outcome for result in record.categories} == {Outcome.TIMEOUT}
    assert "no answer within 0.7 s" in record.categories[0].message
    record = run(slow, two_categories, Settings(work=tmp_path / "w", limits=Limits(run_s=0.8)))
    assert {result.outcome for result in record.categories} <= {Outcome.TIMEOUT, Outcome.START_FAILED}
    assert "the whole run had 0.8 s" in record.categories[0].message
    whole = make_model(
        "import time\nclass E:\n    def eval_questions(self, q): time.sleep(60)\ndef get_eval_cls(c): return E()",
        folder="m2",
    )
    record = run(whole, two_categories, Settings(work=tmp_path / "w", limits=Limits(suite_s=0.5)))
    assert {result.outcome for result in record.categories} == {Outcome.TIMEOUT}
    assert record.categories[0].problem.where == "eval_questions"


@pytest.mark.parametrize(
    ("solve", "outcome"),
    [
        ("1 / (question['id'] != 1)", Outcome.MODEL_ERROR),
        ("if question['id'] == 1: time.sleep(60)", Outcome.TIMEOUT),
        ("if question['id'] == 1: os._exit(5)", Outcome.KILLED),
        ("if question['id'] == 1: return {2}", Outcome.BAD_ANSWER),
        ("if question['id'] == 1: sys.exit()", Outcome.MODEL_ERROR),
    ],
)
def test_a_failing_question_counts_as_unanswered_where_asked_for(
    make_model, two_categories, tmp_path, solve, outcome
):
    record = run(
        make_model(source(solve=solve)),
        two_categories,
        Settings(work=tmp_path / "w", on_error=OnError.CONTINUE, limits=Limits(question_s=1.5)),
    )
    assert record.exit_code == 0
    for result in record.categories:
        assert result.outcome is Outcome.OK
        assert (result.count.correct, result.count.answered, result.count.total) == (2, 3, 4)
        assert result.suites[0].errors == 1
    rows = json.loads((tmp_path / "w" / "report.json").read_text())["questions"]
    assert [row["error"] is not None for row in rows] == [False, True, False, False] * 2
    assert rows[1]["error"].startswith(outcome.value)
    predictions = json.loads((tmp_path / "w" / "output.answer.json").read_text())
    assert predictions["seq"]["predict_suites"]["s"] == [[0, [1]], [2, [1]], [3, [1]]]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        pytest.param(lambda d: (d / "s.json").unlink(), "s.json: no such file", id="no suite"),
        pytest.param(
            lambda d: (d / "s.json").write_text('[{"id": 1},\n{"id"'),
            "s.json, line 2: not JSON",
            id="cut suite",
        ),
        pytest.param(
            lambda d: (d / "s.json").write_text('{"id": 1}'),
            "expected an array of questions, found an object",
            id="an object",
        ),
        pytest.param(
            lambda d: (d / "s.json").write_text('[{"id": 1}, 7]'),
            "[1]: expected a question (an object), found a number (7)",
            id="a number",
        ),
        pytest.param(
            lambda d: (d / "s.json").write_text('[{"stem": "x"}]'),
            "[0].id: expected a number or a text, found nothing",
            id="no id",
        ),
        pytest.param(
            lambda d: (d / "s.json").write_text('[{"id": 0, "options": "ab"}]'),
            "[0].options: expected a list",
            id="options",
        ),
        pytest.param(
            lambda d: (d / "s.json").write_text('[{"id": 0, "stem": "![](s/media/x.png)"}]'),
            "shows the image 's/media/x.png'",
            id="image",
        ),
        pytest.param(lambda d: (d / "s.json").write_bytes(b"\xff\xfe[]"), "not UTF-8", id="encoding"),
        pytest.param(
            lambda d: (d / "s.answer.json").unlink(), "s.answer.json: no such file", id="no answers"
        ),
        pytest.param(
            lambda d: (d / "s.answer.json").write_text('{"0": {"hint": 1}}'),
            "'0'.answer: expected",
            id="no answer",
        ),
        pytest.param(
            lambda d: (d / "s.answer.json").write_text('{"0": [1]}'),
            "'0': expected an object with answer, found an array",
            id="bare answer",
        ),
        pytest.param(
            lambda d: (d / "s.answer.json").write_text("{} x"),
            "expected the end of the file",
            id="more after it",
        ),
    ],
)
def test_errors_of_the_data_are_the_datas(make_model, two_categories, tmp_path, broken, says):
    broken(two_categories.parent)
    record = run(make_model(source()), two_categories, Settings(work=tmp_path / "w"))
    first, second = record.categories
    assert first.outcome is Outcome.DATA_ERROR
    assert first.fault is Fault.DATA
    assert says in first.message
    assert second.count.score == 0.5
    assert record.exit_code == 1


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[]", "expected an object with test_suites, found an array"),
        ("{}", "test_suites: expected an object (category → list of suites), found nothing"),
        (
            '{"test_suites": {"seq": "s"}}',
            'test_suites.seq: expected a list of suite names, found a string ("s")',
        ),
        ('{"test_suites": {"seq": [1]}}', "test_suites.seq[0]: expected a suite name, found a number (1)"),
        ('{"test_suites": {"seq": ["../x"]}}', "leads out of the data folder"),
    ],
)
def test_errors_of_the_config(make_model, tmp_path, config, says):
    from iqeval.errors import SuiteError

    (tmp_path / "config.json").write_text(config)
    with pytest.raises(SuiteError) as caught:
        run(make_model(source()), tmp_path / "config.json", Settings(work=tmp_path / "w"))
    assert says in str(caught.value)


def test_images_of_questions_can_be_read_and_answers_beside_them_cannot(
    make_model, make_suites, tmp_path, closed_sandbox
):
    from iqeval.sandbox.base import Wanted

    config = make_suites({"diagram": {"s": [({"stem": "![figure](s/media/x.png)"}, [1])]}})
    media = config.parent / "s" / "media"
    media.mkdir(parents=True)
    (media / "x.png").write_bytes(b"PNG")
    model = make_model("""
        import os
        class Model:
            def pre_run(self): pass
            def solve(self, question):
                root = os.environ["IQEVAL_DATA_ROOT"]
                assert open(os.path.join(root, "s/media/x.png"), "rb").read() == b"PNG"
                try:
                    open(os.path.join(root, "s.answer.json"))
                except OSError:
                    return [question["id"], [1]]
        def get_model_object(category): return Model()
    """)
    record = run(model, config, Settings(work=tmp_path / "w", sandbox=Wanted(closed_sandbox.value)))
    assert record.categories[0].outcome is Outcome.OK, record.categories[0].message


def test_shared_state_survives_a_healthy_run_and_a_failed_category_does_not_spoil_it(
    make_model, make_suites, tmp_path
):
    config = make_suites({name: {name: [[1], [1]]} for name in ("a", "b", "c")})
    model = make_model("""
        import os
        print("loaded")
        class Model:
            count = 0
            def pre_run(self): pass
            def solve(self, question):
                Model.count += 1
                if question["category"] == "b": os._exit(1)
                print("count", Model.count)
                return [question["id"], [1]]
        shared = Model()
        def get_model_object(category): return shared
    """)
    record = run(model, config, Settings(work=tmp_path / "w"))
    assert [result.outcome for result in record.categories] == [Outcome.OK, Outcome.KILLED, Outcome.OK]
    assert record.starts == 3  # b once more in a fresh child, then c in another
    assert (tmp_path / "w" / "model.log").read_text().split().count("loaded") == 3
