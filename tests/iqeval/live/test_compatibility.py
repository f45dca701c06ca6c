"""What published models rely on: forms, order, names, shapes of files."""

import json

import pytest

from iqeval.errors import SuiteError
from iqeval.outcome import Outcome
from iqeval.run import Settings, run

pytestmark = pytest.mark.live

LOUD = """
    print("import")
    class Model:
        def __init__(self, name): self.name = name
        def pre_run(self): print("pre_run", self.name)
        def solve(self, question):
            print("solve", self.name, question["id"])
            return [question["id"], [1]]
    def get_model_object(category):
        print("get", category)
        return None if category == "none" else Model(category)
    def global_pre_run():
        print("global_pre_run")
"""


def words(out):
    return (out / "model.log").read_text().splitlines()


def test_order_of_calls(make_model, make_suites, tmp_path):
    config = make_suites(
        {"seq": {"a": [[1]], "b": [[1]]}, "empty": {}, "none": {"c": [[1]]}, "verbal": {"d": [[1]], "e": []}}
    )
    run(make_model(LOUD), config, Settings(work=tmp_path / "w"))
    assert words(tmp_path / "w") == [
        "import",
        "get seq",
        "get empty",
        "get none",
        "get verbal",
        "global_pre_run",
        "pre_run seq",
        "solve seq 0",
        "pre_run seq",
        "solve seq 0",
        "pre_run verbal",
        "solve verbal 0",
    ]


def test_whole_suites_are_given_even_when_empty(make_model, make_suites, tmp_path):
    config = make_suites({"seq": {"a": [[1], [2]], "b": []}})
    model = make_model("""
        class Eval:
            def eval_questions(self, questions):
                print("asked", [question["id"] for question in questions])
                return [(question["id"], [1]) for question in questions]
        def get_eval_cls(category): return Eval()
    """)
    record = run(model, config, Settings(work=tmp_path / "w"))
    assert words(tmp_path / "w") == ["asked [0, 1]", "asked []"]
    assert record.categories[0].count.score == 0.5
    predictions = json.loads((tmp_path / "w" / "output.answer.json").read_text())
    assert predictions == {
        "seq": {"pass": 1, "predict_suites": {"a": [[0, [1]], [1, [1]]], "b": []}, "message": None}
    }


def test_get_model_object_wins_even_where_it_returns_none(make_model, two_categories, tmp_path):
    model = make_model("""
        def get_model_object(category): return None
        def get_eval_cls(category): raise AssertionError
    """)
    record = run(model, two_categories, Settings(work=tmp_path / "w"))
    assert json.loads((tmp_path / "w" / "result.json").read_text()) == {
        "seq": {"pass": -1, "score": -1, "message": None},
        "verbal": {"pass": -1, "score": -1, "message": None},
    }
    assert record.exit_code == 0


def test_a_model_that_is_falsy_is_a_model(make_model, two_categories, tmp_path):
    model = make_model("""
        class Model:
            def __len__(self): return 0
            def pre_run(self): pass
            def solve(self, question): return [question["id"], [1]]
        def get_model_object(category): return Model()
    """)
    assert [
        result.count.score for result in run(model, two_categories, Settings(work=tmp_path / "w")).categories
    ] == [0.5, 0.5]


MINIMAL = """
    import {helper}
    class Model:
        def pre_run(self): pass
        def solve(self, question): return [question["id"], [{helper}.ONE]]
    def get_model_object(category): return Model()
"""


@pytest.mark.parametrize(
    "name", ["entry_model", "pkg.inner", "with-hyphen", "модель", "json", "random", "traceback", "iqeval"]
)
def test_entry_modules_of_any_name(make_model, two_categories, tmp_path, name):
    files = {"helper.py": "ONE = 1", "pkg__data__deep.py": "ONE = 1"}
    if name.startswith("pkg."):
        files["pkg____init__.py"] = ""
    model = make_model(MINIMAL.format(helper="helper"), name=name, **files)
    record = run(model, two_categories, Settings(work=tmp_path / "w"))
    assert [result.outcome for result in record.categories] == [Outcome.OK, Outcome.OK], record.categories[
        0
    ].message


def test_an_entry_package(make_model, two_categories, tmp_path):
    model = make_model(MINIMAL.format(helper="helper"), name="whole", **{"helper.py": "ONE = 1"})
    (model / "whole").mkdir()
    (model / "whole.py").rename(model / "whole" / "__init__.py")
    (model / "whole" / "inner.py").write_text("ONE = 1")
    assert run(model, two_categories, Settings(work=tmp_path / "w")).exit_code == 0


def test_an_entry_named_like_a_standard_module_does_not_replace_it(make_model, two_categories, tmp_path):
    model = make_model(
        """
        import decimal, email, logging
        from iqtest import iqtest_base
        class Model(iqtest_base.IQTestModelBase):
            def solve(self, question): return [question["id"], [1]]
        def get_model_object(category):
            import json
            assert json.loads("1") == 1
            return Model()
        """,
        name="json",
    )
    record = run(model, two_categories, Settings(work=tmp_path / "w"))
    assert record.exit_code == 0, record.categories[0].message


def test_base_classes_under_their_published_names(make_model, two_categories, tmp_path):
    model = make_model("""
        from iqtest import *
        from iqtest.iqtest_base import *
        class Model(iqtest_base.IQTestModelBase):
            def solve(self, question): return [question["id"], [1]]
        class Eval(IQTestEvalDefault): pass
        def get_eval_cls(category): return Eval(Model())
    """)
    record = run(model, two_categories, Settings(work=tmp_path / "w"))
    assert [result.count.score for result in record.categories] == [0.5, 0.5], record.categories[0].message


def test_unimplemented_methods_fail_their_category(make_model, two_categories, tmp_path):
    model = make_model("""
        from iqtest import iqtest_base
        def get_model_object(category): return iqtest_base.IQTestModelBase()
    """)
    record = run(model, two_categories, Settings(work=tmp_path / "w"))
    assert {result.outcome for result in record.categories} == {Outcome.MODEL_ERROR}


def test_the_working_folder_is_the_work_root(make_model, two_categories, work, tmp_path, sandbox):
    from iqeval.sandbox.base import Wanted

    model = make_model("""
        import os
        import iqeval
        from iqeval import data
        class Model:
            def pre_run(self): pass
            def solve(self, question):
                assert open("./train_data/user.bin").read() == "private"
                assert open("group_data/shared.bin").read() == "shared"
                assert iqeval.resolve("user.bin").read_text() == "private"
                assert data.open("group_data/shared.bin").read() == "shared"
                assert data.list() == ("user.bin",)
                open("mine.txt", "w").write("scratch")
                assert open("mine.txt").read() == "scratch"
                os.unlink("mine.txt")
                try:
                    open("entry.json")
                except OSError:
                    return [question["id"], [1]]
        def get_model_object(category): return Model()
    """)
    record = run(
        model, two_categories, Settings(work=work, out=tmp_path / "out", sandbox=Wanted(sandbox.value))
    )
    assert [result.count.score for result in record.categories] == [0.5, 0.5], record.categories[0].message
    assert not (work / "mine.txt").exists()


def test_questions_come_as_stored(make_model, make_suites, tmp_path):
    fields = {
        "stem": "7,9,√2, é\\n?",
        "options": ["½", "b"],
        "category": "own",
        "id": 5,
        "more": {"x": [1, None, 2.5]},
    }
    config = make_suites({"seq": {"s": [(fields, [1])]}})
    model = make_model(f"""
        class Model:
            def pre_run(self): pass
            def solve(self, question):
                return [question["id"], [1] if question == {fields!r} else [2]]
        def get_model_object(category): return Model()
    """)
    assert run(model, config, Settings(work=tmp_path / "w")).categories[0].count.correct == 1


def test_suites_of_odd_names_twice_and_without_version(make_model, make_suites, tmp_path):
    config = make_suites({"кат": {"deep/ünder": [[1], [1]]}}, version=None)
    content = json.loads(config.read_text())
    content["test_suites"]["кат"] *= 2
    content["test_suites"]["null"] = None
    config.write_text("\ufeff" + json.dumps(content, ensure_ascii=False), "utf-8")
    suite = config.parent / "deep" / "ünder.json"
    suite.write_text("\ufeff" + suite.read_text(), "utf-8")
    model = make_model(LOUD)
    entry = model / "entry.json"
    entry.write_text("\ufeff" + json.dumps({"description": "x", "model": "entry_model"}), "utf-8")
    record = run(model, config, Settings(work=tmp_path / "w"))
    assert [(result.category, result.count.total, result.count.score) for result in record.categories] == [
        ("кат", 2, 1.0)
    ]


def test_ids_of_any_kind(make_model, make_suites, tmp_path):
    rows = [({"id": -1}, [1]), ({"id": "text"}, [1]), ({"id": 7}, [1])]
    record = run(make_model(LOUD), make_suites({"seq": {"s": rows}}), Settings(work=tmp_path / "w"))
    assert record.categories[0].count.score == 1.0


def test_a_repeated_id_counts_once(make_model, make_suites, tmp_path):
    rows = [({"id": 1}, [1]), ({"id": 1}, [1]), ({"id": 2}, [2])]
    record = run(make_model(LOUD), make_suites({"seq": {"s": rows}}), Settings(work=tmp_path / "w"))
    count = record.categories[0].count
    assert (count.correct, count.total) == (1, 2)
    assert any("repeat an id" in text for text in record.warnings)


def test_paths_mean_what_they_mean_to_the_caller(make_model, two_categories, work, tmp_path, monkeypatch):
    from pathlib import Path

    make_model(LOUD, folder="work/model")
    monkeypatch.chdir(tmp_path)
    record = run(Path("work/model"), Path("data/config.json"), Settings(work=Path("work")))
    assert record.exit_code == 0
    assert (work / "result.json").is_file()


def test_a_work_root_that_is_not_there_is_made(make_model, two_categories, tmp_path):
    assert run(make_model(LOUD), two_categories, Settings(work=tmp_path / "a" / "b")).exit_code == 0


def test_outputs_have_the_published_shape(make_model, two_categories, tmp_path):
    model = make_model("""
        class Model:
            def pre_run(self): pass
            def solve(self, question):
                if question["category"] == "verbal": raise ValueError("no words")
                return (question["id"], (1,))
        def get_model_object(category): return Model()
    """)
    run(model, two_categories, Settings(work=tmp_path / "w"))
    predictions = (tmp_path / "w" / "output.answer.json").read_text()
    assert predictions.startswith(
        '{"seq": {"pass": 1, "predict_suites": {"s": [[0, [1]], [1, [1]], [2, [1]], [3, [1]]]}, "message": null}, "verbal": {"pass": 0,'
    )
    result = json.loads((tmp_path / "w" / "result.json").read_text())
    assert result["seq"] == {"pass": 1, "score": 0.5, "message": None}
    assert (result["verbal"]["pass"], result["verbal"]["score"]) == (0, -1)
    message = result["verbal"]["message"]
    assert "ValueError: no words" in message
    assert 'entry_model.py", line 5, in solve' in message
    assert "iqeval/child.py" not in message


def test_an_unusable_config_leaves_a_valid_result(make_model, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SuiteError, match=r"config\.json, line 1: not JSON"):
        run(make_model(LOUD), tmp_path / "config.json", Settings(work=tmp_path / "w"))
    assert json.loads((tmp_path / "w" / "result.json").read_text()) == {}
