"""Killed runs go on where they were; many children give what one gives."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from iqeval.run import Settings, run
from iqeval.tasks import OnError

pytestmark = pytest.mark.live

SLOW = """
    import time
    class Model:
        def pre_run(self): pass
        def solve(self, question):
            print("solve", question["stem"])
            time.sleep({pause})
            if question["id"] == 3 and question["category"] == "bad": raise ValueError("three")
            return [question["id"], [question["id"] % 3 + 1]]
    def get_model_object(category):
        return None if category == "none" else Model()
"""
EVAL = """
    class Eval:
        def eval_questions(self, questions):
            return [[question["id"], [question["id"] % 3 + 1]] for question in questions]
    def get_eval_cls(category):
        return Eval()
"""
COUNT = 40


@pytest.fixture
def config(make_suites):
    rows = [[number % 2 + 1] for number in range(COUNT)]
    return make_suites(
        {"a": {"a1": rows, "a2": rows[:7]}, "bad": {"b": rows}, "none": {"n": rows}, "c": {"c": rows}}
    )


def outputs(out):
    return [(out / name).read_bytes() for name in ("output.answer.json", "result.json")]


def children_of_everybody(marker):
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # names are all that is needed
        if name.isdigit() and int(name) != os.getpid():
            try:
                if marker.encode() in Path("/proc", name, "environ").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found


def start(model, config, out, *more, marker):
    return subprocess.Popen(
        [sys.executable, "-m", "iqeval", "run", str(model), "-c", str(config), "-w", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_MARKER": marker},
    )


def wait_for_answers(out, number, process):
    journal = out / ".iqeval" / "journal.jsonl"
    for _ in range(2000):
        if journal.exists() and journal.read_bytes().count(b'"p":') >= number:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise AssertionError("no answers")


def answered_stems(out):
    """The stems of the questions whose answer a journal holds; a cut last line holds none."""
    journal = out / ".iqeval" / "journal.jsonl"
    names, found = {}, set()
    for line in journal.read_text().split("\n")[:-1] if journal.exists() else ():
        entry = json.loads(line)
        if "suite" in entry:
            names[entry["suite"]] = entry["name"]
        elif "p" in entry:
            found.add(f"{names[entry['t']]} {entry['i']}")
    return found


def asked_stems(out):
    lines = (out / "model.log").read_text().splitlines()
    return {line.removeprefix("solve ") for line in lines if line.startswith("solve ")}


def gone(marker):
    for _ in range(400):
        if not children_of_everybody(marker):
            return True
        time.sleep(0.01)
    return False


def test_a_run_killed_three_times_ends_with_the_same_bytes(make_model, config, tmp_path, sandbox):
    model = make_model(SLOW.format(pause=0.004))
    whole = tmp_path / "whole"
    run(model, config, Settings(work=whole))
    out = tmp_path / "out"
    marker = f"iqeval-resume-{os.getpid()}-{tmp_path.name}"
    for number in (5, 30, 70):
        known = answered_stems(out)
        process = start(model, config, out, "--resume", "--sandbox", sandbox.value, marker=marker)
        wait_for_answers(out, number, process)
        process.kill()
        process.communicate()
        assert gone(marker)
        assert known.isdisjoint(asked_stems(out))
        assert not (out / "result.json").exists()
    known = answered_stems(out)
    assert len(known) >= 70
    process = start(model, config, out, "--resume", "--sandbox", sandbox.value, marker=marker)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said  # the category `bad` fails by itself
    assert outputs(out) == outputs(whole)
    assert known.isdisjoint(asked_stems(out))
    assert len(known) + len(asked_stems(out)) == COUNT * 2 + 7 + 4


def test_killing_the_child_fails_one_category_and_the_rest_resumes(make_model, config, tmp_path):
    model = make_model(SLOW.format(pause=0.01))
    out = tmp_path / "out"
    marker = f"iqeval-child-{os.getpid()}-{tmp_path.name}"
    process = start(model, config, out, marker=marker)
    wait_for_answers(out, 5, process)
    victims = [pid for pid in children_of_everybody(marker) if pid != process.pid]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate(timeout=60)
    result = json.loads((out / "result.json").read_text())
    assert result["a"]["pass"] == 0
    assert "SIGKILL" in result["a"]["message"]
    assert result["c"]["pass"] == 1


def test_an_interrupted_run_says_so_and_leaves_nothing_running(make_model, config, tmp_path):
    marker = f"iqeval-int-{os.getpid()}-{tmp_path.name}"
    process = start(make_model(SLOW.format(pause=0.02)), config, tmp_path / "out", "-j", "2", marker=marker)
    wait_for_answers(tmp_path / "out", 5, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"--resume" in said
    assert b"Traceback" not in said
    assert gone(marker)


def test_a_finished_run_resumes_without_asking(make_model, config, tmp_path):
    model = make_model(SLOW.format(pause=0))
    out = tmp_path / "out"
    run(model, config, Settings(work=out))
    before = outputs(out)
    record = run(model, config, Settings(work=out, resume=True))
    assert outputs(out) == before
    assert record.starts == 0
    assert not (out / "model.log").exists()


@pytest.mark.parametrize("what", ["model", "question", "journal", "settings"])
def test_what_has_changed_is_asked_again(make_model, config, tmp_path, what):
    model = make_model(SLOW.format(pause=0))
    out = tmp_path / "out"
    run(model, config, Settings(work=out, on_error=OnError.CONTINUE))
    settings = Settings(work=out, resume=True, on_error=OnError.CONTINUE)
    journal = out / ".iqeval" / "journal.jsonl"
    if what == "model":
        (model / "helper.py").write_text("x = 1")
    elif what == "question":
        suite = config.parent / "a2.json"
        questions = json.loads(suite.read_text())
        questions[3]["stem"] = "changed"
        suite.write_text(json.dumps(questions))
    elif what == "journal":
        journal.write_bytes(b"\0garbage\n")
    else:
        settings = Settings(work=out, resume=True, on_error=OnError.FAIL)
    notes = []
    record = run(model, config, settings, on_event=lambda event: notes.append(getattr(event, "text", "")))
    log = (out / "model.log").read_text()
    if what == "question":
        assert log.split("\n")[:-1] == ["solve changed"]
    else:
        assert log.count("solve") >= COUNT
        assert any("nothing to resume" in text for text in notes)
    assert record.categories[0].count.answered == COUNT + 7


@pytest.mark.parametrize("source", [SLOW.format(pause=0), EVAL], ids=["model", "eval"])
@pytest.mark.parametrize("on_error", OnError)
@pytest.mark.parametrize("jobs", [2, 3, 7])
@pytest.mark.parametrize("split", [False, True])
def test_many_children_give_what_one_gives(make_model, config, tmp_path, source, on_error, jobs, split):
    model = make_model(source)
    run(model, config, Settings(work=tmp_path / "one", on_error=on_error))
    record = run(model, config, Settings(work=tmp_path / "many", on_error=on_error, jobs=jobs, split=split))
    assert outputs(tmp_path / "many") == outputs(tmp_path / "one")
    assert record.jobs == jobs


@pytest.mark.parametrize("source", [SLOW.format(pause=0), EVAL], ids=["model", "eval"])
def test_any_executor_will_do(make_model, config, tmp_path, source):
    model = make_model(source)
    run(model, config, Settings(work=tmp_path / "one"))
    with ThreadPoolExecutor(2) as pool:
        run(model, config, Settings(work=tmp_path / "threads", jobs=2, split=True), executor=pool)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        run(model, config, Settings(work=tmp_path / "processes", jobs=2, split=True), executor=pool)
    assert outputs(tmp_path / "threads") == outputs(tmp_path / "one")
    assert outputs(tmp_path / "processes") == outputs(tmp_path / "one")


@pytest.mark.parametrize("source", [SLOW.format(pause=0), EVAL], ids=["model", "eval"])
@pytest.mark.parametrize("change", ["shorter", "longer", "other"])
def test_a_suite_that_has_changed_is_scored_as_it_is_now(make_model, config, tmp_path, source, change):
    model = make_model(source)
    out = tmp_path / "out"
    run(model, config, Settings(work=out))
    suite = config.parent / "c.json"
    questions = json.loads(suite.read_text())
    if change == "shorter":
        questions = questions[:9]
    elif change == "longer":
        questions.append({**questions[0], "id": 77})
        answers = config.parent / "c.answer.json"
        answers.write_text(json.dumps({**json.loads(answers.read_text()), "77": {"answer": [1]}}))
    else:
        questions[4]["stem"] = "another"
    suite.write_text(json.dumps(questions))
    run(model, config, Settings(work=tmp_path / "fresh"))
    run(model, config, Settings(work=out, resume=True))
    assert outputs(out) == outputs(tmp_path / "fresh")


def test_a_seed_makes_random_models_repeat(make_model, config, tmp_path):
    model = make_model("""
        import random
        class Model:
            def pre_run(self): pass
            def solve(self, question): return [question["id"], [random.randint(1, 4), hash("x") % 100]]
        def get_model_object(category): return Model()
    """)
    for name in ("one", "two"):
        run(model, config, Settings(work=tmp_path / name, seed=5))
    run(model, config, Settings(work=tmp_path / "other", seed=6))
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")
    assert outputs(tmp_path / "one") != outputs(tmp_path / "other")
