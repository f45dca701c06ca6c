"""Outputs get to their places together and whole, or not at all."""

import pytest

from iqeval.outputs import OUTPUTS, RESULT, Replacing, remove_old, write_no_result


def test_files_are_replaced_together(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("before")
    with Replacing() as files:
        files.open(old).write("after \udc80")
        files.open(new).write("new")
        assert old.read_text() == "before"
        assert not new.exists()
    assert (old.read_text(), new.read_text()) == ("after \\udc80", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_block_that_fails_leaves_everything_as_it_was(tmp_path):
    old = tmp_path / "old"
    old.write_text("before")

    def interrupted():
        files.open(old).write("after")
        files.open(tmp_path / "new").write("new")
        raise RuntimeError

    with pytest.raises(RuntimeError), Replacing() as files:
        interrupted()
    assert old.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_place_that_cannot_be_had_leaves_nothing_beside(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError), Replacing() as files:  # noqa: PT011  # which one is the system's affair
        files.open(tmp_path / "taken").write("x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_old_outputs_go_and_nothing_else(tmp_path):
    for name in (*OUTPUTS, "mine.json"):
        (tmp_path / name).write_text("x")
    remove_old(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]
    write_no_result(tmp_path)
    assert (tmp_path / RESULT).read_text() == "{}"
