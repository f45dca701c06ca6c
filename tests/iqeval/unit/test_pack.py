"""What is packed, what is refused, what is said; and that the same folder gives the same bytes."""

import os
import stat
import tarfile
import time

import pytest

from iqeval.errors import PackError
from iqeval.findings import Level
from iqeval.pack import Packing, pack, plan_pack

SOURCE = """
    def get_model_object(category):
        return None
"""


def names(plan):
    return [member.name for member in plan.members]


def said(plan, level=None):
    return [finding.text_line for finding in plan.findings if level is None or finding.level is level]


def test_name_place_prefix_and_default_excludes(make_model):
    model = make_model(
        SOURCE, **{"run_script.py": "x", "pkg__run_script.py": "x", "pkg__a.py": "x = 1", "__pycache__": ""}
    )
    (model / ".hidden").write_text("kept")
    (model / ".git").mkdir()
    (model / ".git" / "HEAD").write_text("kept, as published, with a warning")
    (model / "empty").mkdir()
    plan = plan_pack(model, Packing())
    assert plan.target == model / "upload.tar.gz"
    assert names(plan) == [
        "model/.git/HEAD",
        "model/.hidden",
        "model/empty",
        "model/entry.json",
        "model/entry_model.py",
        "model/pkg/a.py",
    ]
    packed = pack(plan)
    with tarfile.open(packed.path) as tar:
        assert sorted(tar.getnames()) == sorted(names(plan))
        # Python 3.11.4 brought filters, 3.12 warns where none is chosen.
        chosen = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(model.parent / "unpacked", **chosen)
    assert (model.parent / "unpacked" / "model" / "entry.json").is_file()
    assert any(".git" in line for line in said(plan, Level.WARNING))


def test_the_same_folder_gives_the_same_bytes(make_model):
    model = make_model(SOURCE, **{"b.py": "b = 1", "a.py": "a = 1"})
    first = pack(plan_pack(model, Packing())).path.read_bytes()
    os.utime(model / "a.py", (1, 1))
    (model / "b.py").chmod(0o600)
    time.sleep(0.01)
    assert pack(plan_pack(model, Packing())).path.read_bytes() == first
    with tarfile.open(model / "upload.tar.gz") as tar:
        assert {(info.mtime, info.uid, info.gid, info.uname) for info in tar} == {(0, 0, 0, "")}


def test_executables_stay_executable(make_model):
    model = make_model(SOURCE, **{"tool.sh": "#!/bin/sh"})
    (model / "tool.sh").chmod(0o755)
    with tarfile.open(pack(plan_pack(model, Packing())).path) as tar:
        assert tar.getmember("model/tool.sh").mode & stat.S_IXUSR


@pytest.mark.parametrize(
    ("given", "becomes"), [(None, "upload.tar.gz"), ("x", "x.tar.gz"), ("x.tar.gz", "x.tar.gz")]
)
def test_the_archives_name(make_model, given, becomes):
    model = make_model(SOURCE)
    plan = plan_pack(model, Packing(name=given))
    assert plan.target.name == becomes
    pack(plan)
    assert becomes not in " ".join(names(plan_pack(model, Packing(name=given))))


@pytest.mark.parametrize("name", ["a/b", "..\\x", "/tmp/x.tar.gz"])
def test_the_archives_place_is_the_model_folder(make_model, name):
    with pytest.raises(PackError, match="the archive's place"):
        plan_pack(make_model(SOURCE), Packing(name=name))


def test_excludes_patterns_and_the_ignore_file(make_model):
    model = make_model(
        SOURCE, **{"a.log": "x", "sub__a.log": "x", "notes.md": "x", "big__data.bin": "x", "keep.txt": "x"}
    )
    (model / ".iqignore").write_text("/big/\n*.md\n")
    plan = plan_pack(model, Packing(excludes=("keep.txt",), patterns=(r".*\.log",)))
    assert names(plan) == ["model/.iqignore", "model/entry.json", "model/entry_model.py", "model/sub"]
    with pytest.raises(PackError, match="no regular expression"):
        plan_pack(model, Packing(patterns=("[",)))


def test_links(make_model, tmp_path):
    model = make_model(SOURCE, **{"sub__a.py": "x = 1"})
    (model / "inside").symlink_to("sub")
    (model / "file").symlink_to("sub/a.py")
    plan = plan_pack(model, Packing())
    assert {"model/inside/a.py", "model/file"} <= set(names(plan))
    assert not plan.errors
    (tmp_path / "secret").write_text("x")
    (model / "evil").symlink_to(tmp_path / "secret")
    (model / "gone").symlink_to("nothing")
    (model / "loop").symlink_to(".")
    text = "\n".join(said(plan_pack(model, Packing()), Level.ERROR))
    assert "evil: error: a link that leaves the folder" in text
    assert "gone: error: a link to nothing" in text
    assert "loop: error: a link that leads back" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda m: (m / "entry.json").unlink(), "entry.json: error: no such file", id="no entry"),
        pytest.param(
            lambda m: (m / "entry.json").write_text("{"), "entry.json: error: line 1: not JSON", id="bad JSON"
        ),
        pytest.param(
            lambda m: (m / "entry.json").write_text('{"model": 1}'),
            "expected the name of a module, found 1",
            id="no string",
        ),
        pytest.param(
            lambda m: (m / "entry.json").write_text('{"model": "other"}'),
            "there is no module 'other'",
            id="no module",
        ),
        pytest.param(
            lambda m: (m / "entry.json").write_text('{"model": "pkg.x"}'),
            "there is no module 'pkg.x'",
            id="no inner module",
        ),
        pytest.param(
            lambda m: (m / "entry_model.py").write_text("x = 1"), "defines neither", id="no function"
        ),
        pytest.param(
            lambda m: (m / "entry_model.py").write_text("x = (\n\ny ="),
            "entry_model.py:1: error: syntax error",
            id="syntax",
        ),
        pytest.param(
            lambda m: (m / "helper.py").write_text("\n\nif:"),
            "helper.py:3: error: syntax error",
            id="syntax in a helper",
        ),
        pytest.param(
            lambda m: (m / "entry_model.py").write_text("\ndef get_model_object(): pass"),
            "entry_model.py:2: error: get_model_object is called with one argument",
            id="signature",
        ),
        pytest.param(
            lambda m: (m / "Helper.py").write_text("x = 1") and (m / "helper.py").write_text("y = 1"),
            "only in capitals",
            id="case",
        ),
        pytest.param(
            lambda m: (m / "huge").write_bytes(b"x" * 2000),
            "2,000 bytes; a single file may have 1,000",
            id="size",
        ),
    ],
)
def test_errors_stop_packing(make_model, change, says):
    model = make_model(SOURCE)
    change(model)
    plan = plan_pack(model, Packing(most_bytes=1000))
    assert says in "\n".join(said(plan, Level.ERROR))
    with pytest.raises(PackError):
        pack(plan)
    assert not (model / "upload.tar.gz").exists()


def test_warnings_name_file_and_line(make_model, tmp_path):
    model = make_model(
        """
        import json
        import nothing_like_this
        from iqtest import iqtest_base
        import helper
        "train_data/only-words.txt in a text for people"
        WEIGHTS = "./train_data/missing.bin"
        THERE = "train_data/there.bin"
        HOME = "/home/me/data.csv"
        def get_model_object(category): return open(f"train_data/{category}.txt")
        """,
        **{"helper.py": "x = 1", "venv__pyvenv.cfg": "home = x", "result.json": "{}"},
    )
    (tmp_path / "train_data").mkdir()
    (tmp_path / "train_data" / "there.bin").write_text("x")
    (model / "data.csv").write_bytes(b"x" * (51 << 20))
    plan = plan_pack(model, Packing())
    assert not plan.errors
    lines = said(plan)
    assert (
        "entry_model.py:3: warning: imports 'nothing_like_this', which is neither in the folder nor installed here"
        in lines
    )
    assert any(line.startswith("entry_model.py:7: warning: './train_data/missing.bin'") for line in lines)
    assert any(
        line.startswith("entry_model.py:9: warning: '/home/me/data.csv' is an absolute path")
        for line in lines
    )
    assert any("51 MB of data; they belong in train_data" in line for line in lines)
    assert any("virtual environment" in line for line in lines)
    assert any(line.startswith("result.json: warning: the result of a run") for line in lines)
    assert len(lines) == 6


@pytest.mark.parametrize(
    "source",
    [
        "from helper import get_model_object",
        "from helper import *",
        "get_eval_cls = lambda category: None",
        "def get_model_object(category, device='cpu'): pass",
        "def get_eval_cls(*args): pass",
        "if True:\n    def get_model_object(category): pass",
        "try:\n    from fast import get_model_object\nexcept ImportError:\n    from helper import get_model_object",
    ],
)
def test_functions_defined_in_other_ways_are_found(make_model, source):
    model = make_model(SOURCE, **{"helper.py": "def get_model_object(category): pass"})
    (model / "entry_model.py").write_text(source)
    assert not plan_pack(model, Packing()).errors


def test_a_published_package_entry_can_be_packed(make_model):
    model = make_model(SOURCE, name="pkg.inner", **{"pkg____init__.py": ""})
    assert not plan_pack(model, Packing()).errors


def test_no_folder(tmp_path):
    assert plan_pack(tmp_path / "none", Packing()).errors
