"""The installed command, as people type it: output, files, exit codes; scaffolds and published run scripts."""

import json
import os
import subprocess
import sys
import tarfile
from textwrap import dedent

import pytest

pytestmark = pytest.mark.live


def iqeval(*words, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "iqeval", *map(str, words)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=110,
    )


ALWAYS = """
    class Model:
        def pre_run(self): pass
        def solve(self, question): return [question["id"], [1]]
    def get_model_object(category): return Model()
"""


def test_version_and_help():
    assert iqeval("--version").stdout.startswith("iqeval ")
    shown = iqeval("--help").stdout
    for verb in ("run", "score", "pack", "check", "new", "script", "resolve"):
        assert f"\n  {verb} " in shown
        assert iqeval(verb, "--help").returncode == 0


def test_run_prints_a_table(make_model, two_categories, tmp_path):
    done = iqeval("run", make_model(ALWAYS), "-c", two_categories, "-w", tmp_path / "w")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    row = next(line for line in lines if line.startswith("seq"))
    assert row.split()[:2] == ["seq", "0.5000"]
    assert "2/4" in row
    assert "sandbox: " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_run_in_ascii(make_model, two_categories, tmp_path):
    done = iqeval(
        "run",
        make_model(ALWAYS),
        "-c",
        two_categories,
        "-w",
        tmp_path / "w",
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert "##########.........." in done.stdout


def test_run_json_is_one_line_and_the_report_without_questions(make_model, two_categories, tmp_path):
    done = iqeval("run", make_model(ALWAYS), "-c", two_categories, "-w", tmp_path / "w", "--json")
    assert done.stdout.count("\n") == 1
    record = json.loads(done.stdout)
    report = json.loads((tmp_path / "w" / "report.json").read_text())
    questions = report.pop("questions")
    assert report == record
    assert record["schema"] == 1
    assert record["categories"][0]["result"]["score"] == 0.5
    assert [question["right"] for question in questions] == [True, False] * 4


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (ALWAYS, 0),
        ("def get_model_object(category): return None", 0),
        ("def get_model_object(category): return category", 1),
        ("x = 1", 2),
    ],
)
def test_exit_codes(make_model, two_categories, tmp_path, source, code):
    assert iqeval("run", make_model(source), "-c", two_categories, "-w", tmp_path / "w").returncode == code


def test_what_cannot_be_run_is_said_in_one_line(make_model, two_categories, tmp_path):
    for words, says in (
        (("run", tmp_path / "none", "-c", two_categories), "no such folder"),
        (("run", make_model(ALWAYS), "-c", tmp_path / "none.json"), "none.json: no such file"),
        (("run", make_model(ALWAYS), "-c", two_categories.parent), "a folder; expected the file config.json"),
        (("run", make_model(ALWAYS), "-c", two_categories, "-w", "/"), "the work root is /"),
        (("run", make_model(ALWAYS), "-c", two_categories, "--memory", "much"), "'much' is no size"),
        (("score", "-c", two_categories, "-w", tmp_path), "output.answer.json: no such file"),
        (("script", tmp_path / "none.py"), "none.py: no such file"),
    ):
        done = iqeval(*words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert says in done.stderr
        assert "Traceback" not in done.stderr + done.stdout


def test_without_a_sandbox_a_server_does_not_run(make_model, two_categories, tmp_path):
    # An empty PATH hides bwrap; Landlock cannot be hidden, so it is asked for what it is not.
    done = iqeval(
        "run",
        make_model(ALWAYS),
        "-c",
        two_categories,
        "-w",
        tmp_path / "w",
        "--server",
        "--sandbox",
        "bubblewrap",
        env={"PATH": "/nonexistent"},
    )
    assert done.returncode == 3
    assert "apt-get install bubblewrap" in done.stderr
    assert not (tmp_path / "w" / "result.json").exists()


def test_a_fallback_says_what_is_not_enforced(make_model, two_categories, tmp_path):
    done = iqeval("run", make_model(ALWAYS), "-c", two_categories, "-w", tmp_path / "w", "--sandbox", "none")
    assert "NOT enforced" in done.stderr
    assert "the network can be reached" in done.stderr
    done = iqeval(
        "run", make_model(ALWAYS), "-c", two_categories, "-w", tmp_path / "w", env={"PATH": "/nonexistent"}
    )
    assert done.returncode == 0
    assert "bubblewrap: bwrap is not installed" in done.stderr


def test_server_and_score_equal_client(make_model, two_categories, tmp_path):
    model = make_model(ALWAYS)
    iqeval("run", model, "-c", two_categories, "-w", tmp_path / "client")
    data = two_categories.parent
    answers = tmp_path / "answers"
    answers.mkdir()
    for path in data.glob("*.answer.json"):
        path.rename(answers / path.name)
    done = iqeval("run", model, "-c", two_categories, "-w", tmp_path / "server", "--server")
    assert done.returncode == 0, done.stderr
    assert "not scored" in done.stdout
    assert not (tmp_path / "server" / "result.json").exists()
    report = (tmp_path / "server" / "report.json").read_text()
    assert "expected" not in report
    assert '"right"' not in report
    done = iqeval("score", "-c", two_categories, "-w", tmp_path / "server", "-a", answers)
    assert done.returncode == 0, done.stderr
    for name in ("output.answer.json", "result.json"):
        assert (tmp_path / "server" / name).read_bytes() == (tmp_path / "client" / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ('{"seq": 1}', "seq: expected an object with pass"),
        ('{"seq": {"pass": 1, "predict_suites": {"../x": []}}}', "leads out of the data folder"),
        ('{"seq": {"pass": 1, "predict_suites": 3}}', "expected an object (suite"),
    ],
)
def test_predictions_that_cannot_be_scored(two_categories, tmp_path, text, says):
    (tmp_path / "output.answer.json").write_text(text)
    done = iqeval("score", "-c", two_categories, "-w", tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert json.loads((tmp_path / "result.json").read_text()) == {}


@pytest.mark.parametrize("predictions", ["null", "[1]", '["ab"]', "[[0]]", '[["nobody", [1]]]'])
def test_predictions_of_another_shape_fail_their_category(two_categories, tmp_path, predictions):
    entry = '{"pass": 1, "predict_suites": {"%s": %s}, "message": null}'
    text = f'{{"seq": {entry % ("s", predictions)}, "verbal": {entry % ("v", "[[0, [1]]]")}}}'
    (tmp_path / "output.answer.json").write_text(text)
    done = iqeval("score", "-c", two_categories, "-w", tmp_path, "--json")
    assert done.returncode == 1, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["seq"]["pass"], result["seq"]["score"]) == (0, -1)
    assert result["verbal"] == {"pass": 1, "score": 0.25, "message": None}


def test_resolve(work):
    assert iqeval("resolve", "user.bin", "-w", work).stdout.strip() == str(work / "train_data" / "user.bin")
    assert iqeval("resolve", "group_data/shared.bin", cwd=work).stdout.strip() == str(
        work / "group_data" / "shared.bin"
    )
    done = iqeval("resolve", "usr.bin", "-w", work)
    assert done.returncode == 1
    assert "did you mean 'user.bin'" in done.stderr
    done = iqeval("resolve", "../x", "-w", work, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["status"] == "refused"


SCAFFOLD_SCORES = {
    "model": {"seq": 5 / 12, "verbal": 1 / 9},
    "eval": {"seq": 3 / 12, "verbal": 3 / 9},
    "traindata": {"seq": -1, "verbal": 6 / 9},
}


@pytest.mark.parametrize("template", SCAFFOLD_SCORES)
def test_scaffolds_run_in_every_mode(tmp_path, template):
    folder = tmp_path / "mine"
    done = iqeval("new", folder, "--template", template)
    assert done.returncode == 0, done.stderr
    wanted = SCAFFOLD_SCORES[template]

    def scores():
        return {
            name: entry["score"] for name, entry in json.loads((folder / "result.json").read_text()).items()
        }

    done = iqeval("script", folder / "run_script.py")
    assert done.returncode == 0, done.stderr
    assert "(None," in done.stdout
    assert scores() == pytest.approx(wanted)
    (folder / "result.json").unlink()
    done = iqeval("script", "run_script.py", "server", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Succ:output to" in done.stdout
    assert scores() == pytest.approx(wanted)
    (folder / "result.json").unlink()
    done = iqeval("run", folder, "-c", folder / "data" / "config.json", "-w", folder)
    assert done.returncode == 0, done.stderr
    assert scores() == pytest.approx(wanted)
    done = iqeval("script", folder / "run_script.py", "pack")
    assert done.returncode == 0, done.stderr
    with tarfile.open(folder / "upload.tar.gz") as tar:
        members = tar.getnames()
    assert "mine/entry.json" in members
    assert not [name for name in members if "answer" in name or "run_script" in name or "_data" in name]
    done = iqeval("check", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert iqeval("new", folder).returncode == 2


PUBLISHED = '''
    """A run script of the published form: positions, star import, option lists, one call a mode."""
    import os
    import sys
    from pprint import pprint
    from iqtest import *

    MODEL_ROOT = os.path.dirname(__file__)
    WORK_ROOT = os.path.abspath(os.path.join(MODEL_ROOT, ".."))
    DATA_ROOT = os.path.join(WORK_ROOT, "data")
    CONFIG_FILE = os.path.join(DATA_ROOT, "config.json")

    def client_mode():
        sys.argv = [sys.argv[0], "-c", CONFIG_FILE, "--verbose", "--output", "-w", WORK_ROOT, MODEL_ROOT]
        pprint(run_model.run())

    def server_mode():
        sys.argv = [sys.argv[0], "-s", "-c", CONFIG_FILE, "-w", WORK_ROOT, MODEL_ROOT]
        run_model.run()
        eval_result.run_analysis(DATA_ROOT, WORK_ROOT, DATA_ROOT)

    def pack_model():
        pack_models.pack_models(os.path.dirname(__file__))

    if __name__ == "__main__":
        globals()[sys.argv[1]]()
'''


@pytest.fixture
def published_layout(make_model, make_suites, tmp_path):
    """The published tree: a model folder beside train_data, group_data and data."""
    make_suites({"seq": {"s": [[1], [2]]}, "diagram": {"d": [[1]]}, "verbal": {}})
    for area in ("train_data", "group_data"):
        (tmp_path / area).mkdir()
    (tmp_path / "train_data" / "user_train_data.bin").write_text("trained")
    model = make_model(
        """
        from iqtest import iqtest_base
        class Sequence(iqtest_base.IQTestEvalBase):
            def eval_questions(self, question_list):
                return [[question["id"], [1]] for question in question_list]
        class Diagram(iqtest_base.IQTestEvalBase):
            def eval_questions(self, question_list):
                raise Exception("test exception")
        def get_eval_cls(category):
            return {"seq": Sequence(), "diagram": Diagram()}.get(category)
        def global_pre_run():
            with open("./train_data/user_train_data.bin") as stream:
                print(stream.read())
        """
    )
    (model / "run_script.py").write_text(dedent(PUBLISHED))
    return model


def test_a_published_run_script_in_client_mode(published_layout, tmp_path):
    done = iqeval("script", published_layout / "run_script.py", "client_mode")
    assert done.returncode == 1  # its diagram model raises
    assert "(None," in done.stdout
    assert "'seq': {'message': None, 'pass': 1, 'score': 0.5}" in done.stdout
    assert "Exception: test exception" in done.stdout
    assert "trained" in (tmp_path / "model.log").read_text()


def test_a_published_run_script_in_server_mode(published_layout, tmp_path):
    done = iqeval("script", "run_script.py", "server_mode", cwd=published_layout)
    assert f"Succ:output to {tmp_path / 'result.json'}" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["seq"] == {"pass": 1, "score": 0.5, "message": None}
    assert (result["diagram"]["pass"], result["diagram"]["score"]) == (0, -1)
    assert "verbal" not in result


def test_a_published_run_script_packs(published_layout):
    done = iqeval("script", published_layout / "run_script.py", "pack_model")
    assert done.returncode == 0, done.stderr
    assert f"gz file: {published_layout / 'upload.tar.gz'}" in done.stdout
    with tarfile.open(published_layout / "upload.tar.gz") as tar:
        assert sorted(tar.getnames()) == ["model/entry.json", "model/entry_model.py"]


def test_a_script_that_fails_or_exits(tmp_path):
    for text, code in (("import sys; sys.exit(7)", 7), ("import sys; sys.exit('no')", 1), ("print(1)", 0)):
        (tmp_path / "s.py").write_text(text)
        assert iqeval("script", tmp_path / "s.py").returncode == code


@pytest.mark.parametrize(
    ("source", "says", "code"),
    [
        pytest.param(ALWAYS, "6 questions answered", 0, id="fine"),
        pytest.param(
            ALWAYS.replace("[1]]", "1]"),
            "an option is answered as [number]; 1 never counts",
            0,
            id="bare number",
        ),
        pytest.param(ALWAYS.replace("[1]]", "[0]]"), "options are counted from 1", 0, id="counted from zero"),
        pytest.param(
            "def get_model_object(category): return object()",
            "has no attribute 'pre_run'",
            1,
            id="no methods",
        ),
        pytest.param(
            "def get_model_object(category): return None", "no category has a model", 1, id="no model"
        ),
        pytest.param(
            "import missing_module\ndef get_model_object(category): pass",
            "entry_model.py:1: warning: imports 'missing_module'",
            1,
            id="import",
        ),
        pytest.param(
            "def get_model_object(category)\n    pass",
            "entry_model.py:1: error: syntax error",
            1,
            id="syntax",
        ),
        pytest.param(
            "x = 1",
            "defines neither get_model_object(category) nor get_eval_cls(category)",
            1,
            id="no function",
        ),
    ],
)
def test_check_says_all_that_is_wrong(make_model, source, says, code):
    done = iqeval("check", make_model(source))
    assert says in done.stdout + done.stderr
    assert done.returncode == code, done.stdout + done.stderr


def test_check_without_entry(tmp_path):
    done = iqeval("check", tmp_path)
    assert done.returncode == 1
    assert "entry.json: error: no such file" in done.stderr


def test_pack_on_the_command_line(make_model):
    model = make_model(ALWAYS, **{"notes.txt": "x"})
    done = iqeval("pack", model, "-e", "notes.txt", "--dry-run")
    assert done.returncode == 0
    assert "nothing was written" in done.stdout
    assert not (model / "upload.tar.gz").exists()
    done = iqeval("pack", model, "mine", "-e", "notes.txt", "--json")
    told = json.loads(done.stdout)
    assert told["archive"] == str(model / "mine.tar.gz")
    assert [member["name"] for member in told["members"]] == ["model/entry.json", "model/entry_model.py"]
    (model / "entry.json").unlink()
    done = iqeval("pack", model)
    assert done.returncode == 1
    assert "nothing was packed" in done.stderr
