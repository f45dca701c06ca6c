"""Archive names → paths, per tool. Every row was seen with GNU tar 1.34 or 7-Zip 26.02."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqdata.extract.mapping import NoPath, link_refusal, sevenzip_path, stream_name, tar_path
from iqdata.paths import RelPath


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"a", "a"),
        (b"./a", "a"),
        (b"a/", "a"),
        (b"/a/b", "a/b"),
        (b"///a", "a"),
        (b"a//b/./c", "a/b/c"),
        (b"./", ""),
        (b".", ""),
        (b"a\\b", "a\\b"),
        (b"C:x", "C:x"),
        (b"\xff", "\udcff"),
        (b"...", "..."),
    ],
)
def test_tar_paths(raw, path):
    assert tar_path(raw) == path


@pytest.mark.parametrize("raw", [b"..", b"../a", b"a/..", b"a/../b", b"/..", b"/../x"])
def test_tar_skips_every_dot_dot(raw):
    with pytest.raises(NoPath):
        tar_path(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"../evil.txt", "evil.txt"),
        (b"d/../../e", "d/e"),
        (b"a/..", "a/_"),
        (b"..", "_"),
        (b".", "_"),
        (b"/p/x", "p/x"),
        (b"a//b", "a/b"),
        (b"a/", "a/_"),
        (b"a\\b", "a\\b"),
        (b"C:/x", "C:/x"),
    ],
)
def test_sevenzip_paths_of_files(raw, path):
    assert sevenzip_path(raw, folder=False) == path


@pytest.mark.parametrize(("raw", "path"), [(b"a/", "a"), (b"../", ""), (b"./", ""), (b"a/../b/", "a/b")])
def test_sevenzip_paths_of_folders(raw, path):
    assert sevenzip_path(raw, folder=True) == path


@given(st.binary(max_size=60))
def test_no_name_leads_out(raw):
    for path in (sevenzip_path(raw, folder=False), sevenzip_path(raw, folder=True), _tar_or_nothing(raw)):
        assert not path.startswith("/")
        assert all(part not in ("", ".", "..") for part in path.split("/")) or not path


def _tar_or_nothing(raw):
    try:
        return tar_path(raw)
    except NoPath:
        return RelPath("")


@pytest.mark.parametrize(
    ("archive", "name"),
    [
        ("a.csv.gz", "a.csv"),
        ("a.gz", "a"),
        (".gz", ".gz~"),
        ("..gz", "_"),
        (" .gz", "_"),
        (".a.gz", ".a"),
        ("a..gz", "a."),
        ("a .gz", "a"),
        ("a.gz.gz", "a.gz"),
        ("a.csv.gz2", "a.csv"),
    ],
)
def test_names_of_single_streams(archive, name):
    assert stream_name(archive) == name


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("n", "t", True),
        ("d/n", "../t", True),
        ("d/e/n", "../../t", True),
        ("n", "../t", False),
        ("d/n", "../../t", False),
        ("n", "/etc/passwd", False),
        ("n", "", False),
        ("d/n", "x/../../..", False),
        ("d/n", "x/../y", False),
        ("d/n", "./../t", True),
    ],
)
def test_only_links_that_stay_inside_are_made(path, target, inside):
    assert (link_refusal(RelPath(path), target) is None) == inside
