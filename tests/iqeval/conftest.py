"""Models, suites and sandboxes for the tests of iqeval."""

import json
import os
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from iqeval import kernel
from iqeval.sandbox.base import Kind

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = Path(os.environ.get("IQTEST_DATA", ROOT.parent / "shared" / "iqtest-data"))

# What needs the published questions is not collected where they are not at hand.
collect_ignore_glob = [] if (QUESTIONS / "config.json").is_file() else ["*_published.py"]


def sandboxes_here() -> list[Kind]:
    """The sandboxes this machine has; the plain child is always there."""
    found = [Kind.BUBBLEWRAP] if shutil.which("bwrap") else []
    if kernel.landlock_abi() >= 1:
        found.append(Kind.LANDLOCK)
    return [*found, Kind.NONE]


def pytest_generate_tests(metafunc):
    if "sandbox" in metafunc.fixturenames:
        kinds = sandboxes_here()
        metafunc.parametrize("sandbox", kinds, ids=[kind.value for kind in kinds])
    if "closed_sandbox" in metafunc.fixturenames:
        kinds = [kind for kind in sandboxes_here() if kind is not Kind.NONE]
        metafunc.parametrize("closed_sandbox", kinds, ids=[kind.value for kind in kinds])


@pytest.fixture
def make_model(tmp_path):
    """Write a model folder from source text; further files by name."""

    def make(source, *, name="entry_model", folder="model", **files):
        where = tmp_path / folder
        where.mkdir(parents=True, exist_ok=True)
        (where / "entry.json").write_text(json.dumps({"model": name}))
        path = where / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))
        for file, text in files.items():
            path = where / file.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return where

    return make


@pytest.fixture
def make_suites(tmp_path):
    """Write a config with suites: category → {suite: [(question fields, answer)]}; returns the config's path."""

    def make(categories, *, folder="data", version="1"):
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        names = {}
        for category, suites in categories.items():
            names[category] = list(suites)
            for suite, rows in suites.items():
                questions, answers = [], {}
                for number, row in enumerate(rows):
                    fields, answer = row if isinstance(row, tuple) else ({}, row)
                    question = {
                        "stem": f"{suite} {number}",
                        "options": ["a", "b"],
                        "category": category,
                        "id": number,
                        **fields,
                    }
                    if isinstance(answer, str):
                        question["options"] = []
                    questions.append(question)
                    answers[str(question["id"])] = {"answer": answer, "hint": ""}
                path = root / f"{suite}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(questions))
                (root / f"{suite}.answer.json").write_text(json.dumps(answers))
        config = {"test_suites": names} | ({"version": version} if version else {})
        (root / "config.json").write_text(json.dumps(config))
        return root / "config.json"

    return make


@pytest.fixture
def two_categories(make_suites):
    """Two categories of four questions, the right answers [1] and [2] in turn."""
    rows = [[1], [2], [1], [2]]
    return make_suites({"seq": {"s": rows}, "verbal": {"v": rows}})


@pytest.fixture
def work(tmp_path):
    """A work root with a file in each area and one beside them."""
    root = tmp_path / "work"
    (root / "train_data").mkdir(parents=True)
    (root / "group_data").mkdir()
    (root / "train_data" / "user.bin").write_text("private")
    (root / "group_data" / "shared.bin").write_text("shared")
    (root / "other.txt").write_text("invisible")
    return root


@pytest.fixture
def published():
    """The folder with the published questions."""
    return QUESTIONS
