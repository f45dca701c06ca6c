"""What a data path means: the whole table of the rules, links, archives, and messages for what is missing."""

import json
import tarfile
import zipfile

import pytest

import iqeval
from iqdata import manifest
from iqdata.paths import RelPath
from iqeval import data
from iqeval.data import DataMissing, PathRefused, resolve


@pytest.fixture
def space(tmp_path, monkeypatch):
    monkeypatch.delenv("IQEVAL_SPACE", raising=False)
    root = tmp_path / "space"
    for name in (
        "train_data/user.bin",
        "train_data/sub/b.csv",
        "train_data/train_data/inner",
        "train_data/train_data_extra/x",
        "train_data/other_datas/here",
        "group_data/shared.bin",
        "other_datas/x",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("user.bin", "train_data/user.bin"),
        ("./user.bin", "train_data/user.bin"),
        ("sub/b.csv", "train_data/sub/b.csv"),
        ("sub//./b.csv", "train_data/sub/b.csv"),
        ("train_data/user.bin", "train_data/user.bin"),
        ("./train_data/user.bin", "train_data/user.bin"),
        ("train_data/train_data/inner", "train_data/train_data/inner"),
        ("train_data_extra/x", "train_data/train_data_extra/x"),
        ("group_data/shared.bin", "group_data/shared.bin"),
        ("group_data/", "group_data"),
        ("group_data", "group_data"),
        ("train_data", "train_data"),
        ("", "train_data"),
        (".", "train_data"),
        ("other_datas/here", "train_data/other_datas/here"),
    ],
)
def test_what_names_mean(space, name, means):
    found = resolve(name, space=space)
    assert found == space / means
    assert resolve(found, space=space) == found


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "~/x",
        "~",
        "~root/x",
        "C:\\x",
        "C:x",
        "a\\b",
        "a\0b",
        "..",
        "../x",
        "sub/../user.bin",
        "group_data/..",
        "/",
        b"x",
    ],
)
def test_what_is_refused(space, name):
    with pytest.raises(PathRefused):
        resolve(name, space=space)


def test_an_absolute_path_in_another_place_of_the_space_is_refused(space):
    with pytest.raises(PathRefused):
        resolve(str(space / "other_datas" / "x"), space=space)
    with pytest.raises(PathRefused):
        resolve(f"{space}/train_data_extra/x", space=space)


def test_links(space):
    (space / "train_data" / "inside").symlink_to("sub/b.csv")
    (space / "train_data" / "evil").symlink_to("/etc/passwd")
    (space / "train_data" / "across").symlink_to("../group_data/shared.bin")
    (space / "train_data" / "gone").symlink_to("/nonexistent/secret")
    (space / "train_data" / "dangling").symlink_to("nothing-here")
    assert resolve("inside", space=space) == space / "train_data" / "inside"
    for name in ("evil", "across", "gone"):
        with pytest.raises(PathRefused):
            resolve(name, space=space)
    with pytest.raises(DataMissing):
        resolve("dangling", space=space)


def test_a_loop_is_missing_not_a_crash(space):
    (space / "train_data" / "loop").symlink_to("loop")
    with pytest.raises(DataMissing):
        resolve("loop", space=space)


def test_an_area_may_itself_be_a_link(space, tmp_path):
    real = tmp_path / "owner" / "group_data"
    real.mkdir(parents=True)
    (real / "g").write_text("g")
    other = tmp_path / "member"
    other.mkdir()
    (other / "group_data").symlink_to(real)
    assert resolve("group_data/g", space=other) == other / "group_data" / "g"


def test_the_root_is_the_argument_then_the_variable_then_here(space, tmp_path, monkeypatch):
    monkeypatch.chdir(space)
    assert resolve("user.bin") == space / "train_data" / "user.bin"
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "train_data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataMissing, match="neither train_data nor group_data"):
        resolve("user.bin")
    monkeypatch.setenv("IQEVAL_SPACE", str(space))
    assert iqeval.resolve("user.bin") == space / "train_data" / "user.bin"
    with pytest.raises(DataMissing):
        resolve("user.bin", space=elsewhere)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("USER.BIN", "'user.bin'"),
        ("usr.bin", "did you mean 'user.bin'"),
        ("shared.bin", "there is group_data/shared.bin"),
        ("deep/nested/file", "nearest folder that exists is train_data"),
        ("sub/inner", "train_data/train_data/inner"),
        ("group_data/none", "shared.bin"),
        ("other_datas/x", "train_data/other_datas/x"),
        ("user.bin/x", "nearest folder"),
    ],
)
def test_a_missing_file_says_what_is_near(space, name, says):
    with pytest.raises(DataMissing) as caught:
        resolve(name, space=space)
    assert says in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == str(caught.value.path)


def test_another_form_of_the_same_letters(space):
    (space / "train_data" / "re\u0301sume\u0301.txt").write_text("x")
    with pytest.raises(DataMissing, match="another form"):
        resolve("r\u00e9sum\u00e9.txt", space=space)


def test_a_file_in_an_archive_that_was_not_extracted(space):
    with tarfile.open(space / "train_data" / "a.tar.gz", "w:gz") as tar:
        tar.add(space / "train_data" / "user.bin", "a/b.csv")
    with zipfile.ZipFile(space / "train_data" / "z.zip", "w") as archive:
        archive.writestr("in.txt", "x")
    with pytest.raises(DataMissing, match=r"train_data/a\.tar\.gz holds it, but not extracted"):
        resolve("a/b.csv", space=space)
    with pytest.raises(DataMissing, match=r"train_data/z\.zip holds it"):
        resolve("in.txt", space=space)


def test_the_manifest_says_how_an_extraction_ended(space):
    (space / "train_data" / "big.7z").write_bytes(b"7z")
    (space / "train_data" / "numbers.gz").write_bytes(b"gz")
    with manifest.writable(space) as database:
        for archive, status, error, produced in (
            ("train_data/big.7z", "too-large", "over the quota", ()),
            ("train_data/numbers.gz", "ok", None, ("train_data/numberbatch-en.txt",)),
        ):
            manifest.record(
                database,
                manifest.ExtractionRecord(
                    archive=RelPath(archive),
                    size_bytes=2,
                    mtime_ns=0,
                    tool="7z",
                    status=status,
                    error=error,
                    finished_at="2026-01-01T00:00:00Z",
                ),
                [
                    manifest.ProducedPath(path=RelPath(path), kind="file", size_bytes=1, mtime_ns=None)
                    for path in produced
                ],
            )
    with pytest.raises(DataMissing, match="over the quota"):
        resolve("big/data.csv", space=space)
    with pytest.raises(DataMissing, match=r"numberbatch-en\.txt"):
        resolve("numbers", space=space)
    with pytest.raises(DataMissing, match="had left it there"):
        resolve("numberbatch-en.txt", space=space)


def test_a_team_home_keeps_its_extractions_in_a_log(space):
    (space / "train_data" / "a.tar").write_bytes(b"")
    (space / ".iqdata").mkdir()
    line = {
        "time": "2026-01-01T00:00:00Z",
        "archive": "train_data/a.tar",
        "tool": "tar",
        "status": "damaged",
        "error": "cut short",
    }
    (space / ".iqdata" / "extractions.jsonl").write_text(json.dumps(line) + "\nnot json\n")
    with pytest.raises(DataMissing, match=r"damaged.*cut short"):
        resolve("a/x", space=space)


def test_open_exists_and_list(space):
    with data.open("user.bin", space=space) as stream:
        assert stream.read() == "train_data/user.bin"
    with data.open("user.bin", "rb", space=space) as stream:
        assert stream.read() == b"train_data/user.bin"
    with pytest.raises(ValueError, match="read-only"):
        data.open("user.bin", "w", space=space)
    assert data.exists("user.bin", space=space)
    assert not data.exists("nothing", space=space)
    assert data.list("sub", space=space) == ("b.csv",)
    assert "user.bin" in data.list(space=space)


def test_a_name_too_long_is_missing(space):
    with pytest.raises(DataMissing):
        resolve("x" * 5000, space=space)
    with pytest.raises((DataMissing, PathRefused)):
        resolve("\udcff\udc00", space=space)
    assert resolve("", space=space).is_dir()
