"""Plans + what stands there → effects and warnings."""

import pytest

from iqdata.extract.model import ArchiveStatus, ExtractionPlan, MemberKind, PlannedEntry, SkippedMember
from iqdata.extract.warnings import advice_without_rule
from iqdata.paths import RelPath
from iqdata.preview import Effect, clashes, preview, union
from iqdata.rules import Tool
from iqdata.tree import FOLDER, Entry, Kind

TIME = 1_500_000_000_000_000_000


def planned(path, kind=MemberKind.FILE, size=3, mtime=TIME, refused=None):
    return PlannedEntry(path=RelPath(path), kind=kind, size_bytes=size, mtime_ns=mtime, refused=refused)


def plan_of(*entries, skipped=()):
    return ExtractionPlan(
        tool=Tool.TAR,
        rule="name contains .tar",
        status=ArchiveStatus.OK,
        entries=entries,
        total_bytes=sum(entry.size_bytes or 0 for entry in entries),
        skipped=skipped,
    )


DIR = MemberKind.DIRECTORY
SAME = Entry(Kind.FILE, 3, TIME)


@pytest.mark.parametrize(
    ("there", "effect"),
    [
        pytest.param(None, Effect.CREATE, id="nothing"),
        pytest.param(SAME, Effect.UNCHANGED, id="the same file"),
        pytest.param(Entry(Kind.FILE, 3, TIME + 5), Effect.UNCHANGED, id="the same second"),
        pytest.param(Entry(Kind.FILE, 4, TIME), Effect.OVERWRITE, id="another size"),
        pytest.param(Entry(Kind.FILE, 3, TIME + 10**9), Effect.OVERWRITE, id="another time"),
        pytest.param(Entry(Kind.FILE, 3, None), Effect.OVERWRITE, id="a time nobody knows"),
        pytest.param(Entry(Kind.OTHER), Effect.OVERWRITE, id="a link"),
        pytest.param(FOLDER, Effect.REFUSE, id="a folder"),
    ],
)
def test_what_becomes_of_a_file(there, effect):
    one = preview("train_data/a.tar", plan_of(planned("x")), look_up={"train_data/x": there}.get)
    assert [entry.effect for entry in one.entries] == [effect]
    assert one.entries[0].path == "train_data/x"
    assert any("will be overwritten" in warning for warning in one.warnings) == (effect is Effect.OVERWRITE)


def test_below_a_new_folder_nothing_is_looked_up():
    asked = []

    def look_up(path):
        asked.append(path)

    one = preview("a.tar", plan_of(planned("d", DIR), planned("d/e", DIR), planned("d/e/x")), look_up=look_up)
    assert {entry.effect for entry in one.entries} == {Effect.CREATE}
    assert asked == ["d"]


@pytest.mark.parametrize("there", [SAME, Entry(Kind.OTHER)])
def test_what_stands_in_the_way_of_a_folder_refuses_all_below(there):
    one = preview(
        "a.tar", plan_of(planned("d", DIR), planned("d/e", DIR), planned("d/e/x")), look_up={"d": there}.get
    )
    assert {entry.effect for entry in one.entries} == {Effect.REFUSE}
    assert all("where a folder is needed" in entry.reason for entry in one.entries)


def test_refused_and_skipped_members_are_listed_with_their_reasons():
    plan = plan_of(planned("n", refused="why"), skipped=(SkippedMember(name="../x", reason="because"),))
    one = preview("a/b.tar", plan, look_up=lambda _path: None)
    assert [(entry.path, entry.effect, entry.reason) for entry in one.entries] == [
        ("a/n", Effect.REFUSE, "why"),
        ("a/../x", Effect.REFUSE, "because"),
    ]


def test_quota_and_older_members_are_warned_about():
    one = preview(
        "a.tar",
        plan_of(planned("x", size=10)),
        look_up={"old": SAME}.get,
        quota_left_bytes=5,
        older=["old", "x", "gone"],
    )
    assert any("has 5 left" in warning for warning in one.warnings)
    stale = [warning for warning in one.warnings if "older version" in warning]
    assert len(stale) == 1
    assert stale[0].startswith("old came")


def test_archives_that_write_the_same_files_are_told():
    one = preview("a.tar", plan_of(planned("x"), planned("y"), planned("b.zip")), look_up=lambda _path: None)
    two = preview("b.zip", plan_of(planned("x"), planned("y")), look_up=lambda _path: None)
    three = preview("d/c.tar", plan_of(planned("x")), look_up=lambda _path: None)
    found = clashes([one, two, three])
    assert any("a.tar and b.zip both write x and 1 more" in sentence for sentence in found)
    assert any("b.zip is itself an archive" in sentence for sentence in found)
    assert len(found) == 2
    assert sorted(union([one, two, three])) == ["b.zip", "d/x", "x", "y"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.tgz", "a.tar.gz"),
        ("a.tbz2", "a.tar.bz2"),
        ("A.TAR", "a.tar"),
        ("A.ZIP", "A.zip"),
        ("Data.Gz", "Data.gz"),
        ("a.bz2", ".gz or .xz"),
        ("a.rar", ".7z or .zip"),
        ("a.7z.001", "volume"),
        ("a.z01", "volume"),
    ],
)
def test_near_misses_say_what_would_work(name, word):
    assert word in " ".join(advice_without_rule(name))


@pytest.mark.parametrize("name", ["a.csv", "README", "a.csv.001", "notes.z"])
def test_ordinary_names_get_no_advice(name):
    assert advice_without_rule(name) == ()
