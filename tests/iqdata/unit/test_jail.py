"""Nothing leaves the home, whichever way the kernel lets us look."""

import os

import pytest

from iqdata.paths import RelPath
from iqdata.server import jail as jail_module
from iqdata.server.jail import Jail


@pytest.fixture(params=["openat2", "step by step"])
def home(request, tmp_path, monkeypatch):
    if request.param == "openat2":
        if not jail_module._has_openat2():
            pytest.skip("this kernel has no openat2")
    else:
        monkeypatch.setattr(jail_module, "_has_openat2", lambda: False)
    home = tmp_path / "home"
    (home / "train_data" / "sub").mkdir(parents=True)
    (home / "train_data" / "sub" / "inside.txt").write_text("inside")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (home / "train_data" / "out").symlink_to(tmp_path / "secret")
    (home / "train_data" / "up").symlink_to("../../secret")
    (home / "train_data" / "file").symlink_to("../../secret.txt")
    (home / "train_data" / "in").symlink_to("sub")
    os.mkfifo(home / "train_data" / "fifo")
    jail = Jail(home)
    yield jail
    jail.close()


def path(text):
    return RelPath(text)


@pytest.mark.parametrize("text", ["train_data/out/file", "train_data/up/file", "train_data/file"])
def test_reading_never_leaves_the_home(home, text):
    with pytest.raises(OSError):  # noqa: PT011  ENOENT, ELOOP or ENOTDIR: which one is the kernel's choice
        home.open_read(path(text))


@pytest.mark.parametrize("folder", ["out", "up", "in"])
def test_writing_follows_no_link_at_all(home, folder, tmp_path):
    target = path(f"train_data/{folder}/new")
    for act in (
        lambda: home.open_new(target),
        lambda: home.open_existing(target, append=True),
        lambda: home.make_folder(target),
        lambda: home.rename(path("train_data/sub/inside.txt"), target),
        lambda: home.remove_file(path(f"train_data/{folder}/file")),
        lambda: home.set_mtime(path(f"train_data/{folder}/file"), 0),
        lambda: home.open_folder_strictly(path(f"train_data/{folder}")),
    ):
        with pytest.raises(OSError):  # noqa: PT011  see above
            act()
    assert sorted(entry.name for entry in (tmp_path / "secret").iterdir()) == ["file"]
    assert (home.home / "train_data/sub/inside.txt").read_text() == "inside"


def test_a_link_is_replaced_or_removed_itself(home, tmp_path):
    with home.open_new(path("train_data/file")) as file:
        file.write(b"mine")
    assert (tmp_path / "secret.txt").read_text() == "secret"
    assert (home.home / "train_data/file").read_text() == "mine"
    home.remove_file(path("train_data/out"))
    assert (tmp_path / "secret/file").exists()


def test_a_new_file_is_a_new_inode_and_breaks_hard_links(home):
    first = home.home / "train_data/sub/inside.txt"
    os.link(first, home.home / "train_data/other.txt")
    with first.open() as old:
        with home.open_new(path("train_data/sub/inside.txt")) as file:
            file.write(b"new")
        assert old.read() == "inside", "who reads the old one reads it to its end"
    assert (home.home / "train_data/other.txt").read_text() == "inside"


def test_appending_to_a_file_with_other_names_is_refused(home):
    os.link(home.home / "train_data/sub/inside.txt", home.home / "train_data/other.txt")
    with pytest.raises(OSError, match="hard links"):
        home.open_existing(path("train_data/other.txt"), append=True)


def test_a_pipe_neither_blocks_nor_opens(home):
    with pytest.raises(OSError):  # noqa: PT011  EINVAL or ENXIO
        home.open_read(path("train_data/fifo"))
    with pytest.raises(OSError):  # noqa: PT011  EINVAL or ENXIO
        home.open_existing(path("train_data/fifo"), append=True)


def test_a_folder_is_never_replaced_by_a_file(home):
    with pytest.raises(IsADirectoryError):
        home.open_new(path("train_data/sub"))
    assert (home.home / "train_data/sub/inside.txt").exists()


def test_links_inside_are_followed_for_reading_only_where_the_kernel_vouches_for_it(home):
    if jail_module._has_openat2():
        with home.open_read(path("train_data/in/inside.txt")) as file:
            assert file.read() == b"inside"
    else:
        with pytest.raises(OSError):  # noqa: PT011  ELOOP or ENOTDIR
            home.open_read(path("train_data/in/inside.txt"))
