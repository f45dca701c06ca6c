"""Settings, locations, filters, paths and safety: tables."""

import pytest

from iqdata.actions import ConflictPolicy, Delete, Plan, Side, Situation
from iqdata.config import find_workspace, load_settings, need_workspace, parse_size
from iqdata.errors import ConfigError, PlanRefused, UnsafePath
from iqdata.filters import build_filter
from iqdata.location import Location, Scheme
from iqdata.paths import RelPath, check_name
from iqdata.safety import check_plan, parse_max_delete
from iqdata.tree import Entry, Kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", 10), ("1k", 1024), ("1.5M", 1572864), ("2GiB", 2 * 1024**3), ("3 MB/s", 3 * 1024**2), ("0", 0)],
)
def test_sizes(text, expected):
    assert parse_size(text, what="x") == expected


@pytest.mark.parametrize("text", ["", "many", "-1", "1X", "1 2"])
def test_no_sizes(text):
    with pytest.raises(ConfigError, match="x: "):
        parse_size(text, what="x")


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "user", "root"),
    [
        ("ftp://team@host/", Scheme.FTP, "host", 21, "team", "/"),
        ("FTP://host:2121/a/b/", Scheme.FTP, "host", 2121, "", "/a/b"),
        ("ftpes://t%40x@h/", Scheme.FTPES, "h", 21, "t@x", "/"),
        ("ftps://h/x%20y", Scheme.FTPS, "h", 990, "", "/x y"),
        ("sftp://u@[::1]:22/r", Scheme.SFTP, "::1", 22, "u", "/r"),
        ("file:///mnt/space", Scheme.FILE, "", 0, "", "/mnt/space"),
    ],
)
def test_locations(url, scheme, host, port, user, root):
    location = Location.parse(url)
    assert (location.scheme, location.host, location.port, location.user, location.root) == (
        scheme,
        host,
        port,
        user,
        root,
    )
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize(
    "url", ["", "host", "http://h/", "ftp:///", "ftp://h:x/", "ftp://h:70000/", "ftp://h/%0d%0aDELE"]
)
def test_no_locations(url):
    with pytest.raises(ConfigError):
        Location.parse(url)


def test_a_password_in_a_url_is_never_shown():
    location = Location.parse("ftp://team:hunter2@host/")
    assert location.password == "hunter2"
    assert "hunter2" not in str(location) + repr(location)
    with pytest.raises(ConfigError) as caught:
        Location.parse("ftp://team:hunter2@/x")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["a", "a/b c", "train_data/größe", "a.b/..c", "x" * 255])
def test_paths(text):
    path = RelPath.parse(text)
    assert path == text
    assert path.parent.joined(path.name) == path


@pytest.mark.parametrize(
    "text", ["/a", "a/", "a//b", ".", "a/..", "../a", "a\0", "a\nb", "\x1b[2J", "x" * 256, "ü" * 128]
)
def test_no_paths(text):
    with pytest.raises(UnsafePath):
        RelPath.parse(text)


def test_a_name_with_a_separator_is_no_name():
    with pytest.raises(UnsafePath):
        check_name("a/b")


@pytest.mark.parametrize(
    ("given", "path", "folder", "expected"),
    [
        ({}, "train_data/a", False, True),
        ({"exclude": ["*.tmp"]}, "train_data/x/a.tmp", False, False),
        ({"exclude": ["*.tmp", "!keep.tmp"]}, "train_data/keep.tmp", False, True),
        ({"exclude": ["scratch/"]}, "train_data/scratch", True, False),
        ({"exclude": ["scratch/"]}, "train_data/scratch", False, True),
        ({"include": ["*.csv"]}, "train_data/a.csv", False, True),
        ({"include": ["*.csv"]}, "train_data/a.bin", False, False),
        ({"include": ["*.csv"]}, "train_data/folder", True, True),
        ({"only": [RelPath("train_data/a")]}, "train_data/a/b", False, True),
        ({"only": [RelPath("train_data/a")]}, "train_data/ab", False, False),
        ({"only": [RelPath("train_data/a/b")]}, "train_data/a", True, True),
        ({"only": [RelPath("train_data/a/b")]}, "train_data/a", False, False),
    ],
)
def test_filters(given, path, folder, expected):
    assert build_filter(**given)(RelPath(path), folder) is expected


def test_settings_come_from_file_environment_and_command_line(tmp_path):
    (tmp_path / "iqdata.toml").write_text(
        'space = "ftp://a@one/"\njobs = 3\nconflict = "newer"\nexclude = ["*.x"]\n'
    )
    (tmp_path / ".iqdataignore").write_text("*.y\n")
    settings = load_settings(tmp_path, env={})
    assert (settings.location.host, settings.jobs, settings.conflict) == ("one", 3, ConflictPolicy.NEWER)
    assert settings.exclude == ("*.x", "*.y")
    assert load_settings(tmp_path, env={"IQDATA_SPACE": "ftp://a@two/"}).location.host == "two"
    assert (
        load_settings(tmp_path, space="ftp://a@three/", env={"IQDATA_SPACE": "ftp://a@two/"}).location.host
        == "three"
    )


@pytest.mark.parametrize(
    "text", ["jobs = 'x'", "unknown = 1", "conflict = 'both'", "space = 'http://x'", "areas = ['x']", "["]
)
def test_settings_that_are_wrong_name_the_file(tmp_path, text):
    (tmp_path / "iqdata.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, env={})
    assert "\n" not in str(caught.value)


def test_a_workspace_is_found_upwards(tmp_path):
    with pytest.raises(ConfigError, match="iqdata init"):
        need_workspace(tmp_path)
    (tmp_path / "train_data" / "deep").mkdir(parents=True)
    need_workspace(tmp_path)
    assert find_workspace(tmp_path / "train_data" / "deep") == tmp_path


FILE = Entry(Kind.FILE, 1, 1)


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [("25%", 1000, 250), ("25%", 8, 10), ("3", 1000, 3), ("0", 10, 0), ("100%", 5, 10), ("100%", 500, 500)],
)
def test_how_many_may_go(text, known, expected):
    assert parse_max_delete(text, known_files=known) == expected


@pytest.mark.parametrize("text", ["", "some", "-3", "5%%"])
def test_no_numbers(text):
    with pytest.raises(ConfigError, match="--max-delete"):
        parse_max_delete(text, known_files=1)


def situation(going, staying, here):
    """Return a plan that deletes `going` of the space's files, and what it was made from."""
    paths = [RelPath(f"train_data/{index}") for index in range(going + staying)]
    deletes = tuple(Delete(path=path, side=Side.REMOTE, expect=FILE, reason="") for path in paths[:going])
    local = {RelPath(f"train_data/here{index}"): FILE for index in range(here)}
    return Plan(actions=deletes), Situation(local=local, remote=dict.fromkeys(paths, FILE))


@pytest.mark.parametrize(
    ("going", "staying", "here", "max_delete", "refused"),
    [
        (10, 100, 5, "25%", False),
        (30, 70, 5, "25%", True),
        (30, 70, 5, "30", False),
        (8, 0, 1, "25%", False),
        (8, 0, 0, "25%", True),
        (8, 0, 0, "100%", False),
        (8, 0, 0, "8", False),
        (1, 0, 0, "25%", False),
    ],
)
def test_plans_that_look_like_accidents(going, staying, here, max_delete, refused):
    chosen, made_from = situation(going, staying, here)
    if refused:
        with pytest.raises(PlanRefused, match="--max-delete"):
            check_plan(chosen, made_from, max_delete=max_delete)
    else:
        check_plan(chosen, made_from, max_delete=max_delete)
