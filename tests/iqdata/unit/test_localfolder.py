"""Files that users save in the very moment in which a run replaces or makes them."""

import datetime

import pytest

from iqdata import localfolder
from iqdata.errors import WorldMoved
from iqdata.localfolder import LocalFolder
from iqdata.paths import RelPath

PATH = RelPath("train_data/a.txt")


@pytest.fixture
def folder(tmp_path):
    """A workspace with an empty area."""
    (tmp_path / "train_data").mkdir()
    return LocalFolder(tmp_path, now=lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))


def fetched(folder, content=b"fetched"):
    """Return a complete download."""
    temporary = folder.new_temporary()
    temporary.write_bytes(content)
    return temporary


def saved_just_before(folder, monkeypatch, content):
    """Let a user save the file between the last look and the rename."""
    real = localfolder._rename
    left = [content]

    def late(source, target, flags):
        if left:
            beside = folder.workspace / "beside"
            beside.write_bytes(left.pop())
            beside.replace(folder.workspace / PATH)
        return real(source, target, flags)

    monkeypatch.setattr(localfolder, "_rename", late)


def test_a_file_that_appears_is_not_replaced(folder, monkeypatch):
    saved_just_before(folder, monkeypatch, b"the user's")
    with pytest.raises(WorldMoved, match="appeared"):
        folder.place(fetched(folder), PATH, expected=None)
    assert (folder.workspace / PATH).read_bytes() == b"the user's"


def test_a_file_that_is_saved_meanwhile_stays(folder, monkeypatch):
    (folder.workspace / PATH).write_bytes(b"old")
    expected = folder.current(PATH)
    saved_just_before(folder, monkeypatch, b"the user's newest")
    with pytest.raises(WorldMoved, match="changed"):
        folder.place(fetched(folder), PATH, expected=expected)
    assert (folder.workspace / PATH).read_bytes() == b"the user's newest"


@pytest.mark.parametrize("supported", [True, False])
def test_what_is_replaced_is_kept(folder, monkeypatch, supported):
    if not supported:
        monkeypatch.setattr(localfolder, "_rename", lambda *_: False)
    contents = [b"first", b"second", b"third"]
    for content in contents:
        folder.place(fetched(folder, content), PATH, expected=folder.current(PATH))
    assert (folder.workspace / PATH).read_bytes() == b"third"
    trash = folder.workspace / ".iqdata" / "trash"
    assert {path.read_bytes() for path in trash.rglob("*") if path.is_file()} == {b"first", b"second"}
    assert not list((folder.workspace / ".iqdata" / "tmp").iterdir())
