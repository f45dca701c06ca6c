"""The planner's tables: one path, what stands on each side, what comes out."""

import pytest

from iqdata.actions import (
    Agreed,
    ArchiveFacts,
    Conflict,
    ConflictPolicy,
    Direction,
    Download,
    ExtractRemote,
    Habits,
    Policy,
    RenameRemote,
    Side,
    Situation,
    Skip,
    Upload,
)
from iqdata.paths import RelPath
from iqdata.plan import plan, undecided
from iqdata.rules import is_inert
from iqdata.tree import FOLDER, Entry, Kind

S = 1_000_000_000
OLD = Entry(Kind.FILE, 10, 100 * S, 7)
NEW = Entry(Kind.FILE, 20, 200 * S, 7)
NEWER = Entry(Kind.FILE, 30, 300 * S)
REDATED = Entry(Kind.FILE, 10, 900 * S)
LINK = Entry(Kind.OTHER, 0, 1 * S)
AREA = RelPath("train_data")
P = RelPath("train_data/a.csv")
Q = RelPath("train_data/b.csv")
TAR = RelPath("train_data/x.tar.gz")
TAR2 = RelPath("train_data/y.tar")

PUSH, PULL, BOTH = Direction.PUSH, Direction.PULL, Direction.BOTH


def on_known_ground(*, local, remote, base=None, **more):
    """Return a situation in which the folders above every path stand on both sides and are agreed on."""
    above = {folder for side in (local, remote) for path in side for folder in path.ancestors()} - {SUB}
    ground = dict.fromkeys(above, FOLDER)
    agreed = dict.fromkeys(above, Agreed(FOLDER, FOLDER))
    return Situation(
        local={**ground, **local}, remote={**ground, **remote}, base={**agreed, **(base or {})}, **more
    )


def decide(here, there, agreed=None, *, direction=BOTH, **policy):
    """Plan for one path and return its actions in short."""
    situation = on_known_ground(
        local={AREA: FOLDER} | ({P: here} if here else {}),
        remote={AREA: FOLDER} | ({P: there} if there else {}),
        base={AREA: Agreed(FOLDER, FOLDER)} | ({P: Agreed(*agreed)} if agreed else {}),
    )
    return [
        type(action).__name__ for action in plan(situation, Policy(direction=direction, **policy)).actions
    ]


@pytest.mark.parametrize(
    ("here", "there", "agreed", "push", "pull", "both"),
    [
        pytest.param(OLD, None, None, ["Upload"], [], ["Upload"], id="new here"),
        pytest.param(None, OLD, None, [], ["Download"], ["Download"], id="new there"),
        pytest.param(OLD, OLD, None, [], [], [], id="equal at first contact"),
        pytest.param(OLD, OLD, (OLD, OLD), [], [], [], id="unchanged"),
        pytest.param(NEW, OLD, (OLD, OLD), ["Upload"], ["Skip"], ["Upload"], id="changed here"),
        pytest.param(OLD, NEW, (OLD, OLD), ["Skip"], ["Download"], ["Download"], id="changed there"),
        pytest.param(
            NEW, NEWER, (OLD, OLD), ["Conflict", "Upload"], ["Conflict", "Download"], ["Conflict", "Upload", "Download"],
            id="changed on both sides",
        ),
        pytest.param(NEW, NEW, (OLD, OLD), [], [], [], id="changed alike"),
        pytest.param(
            OLD, NEW, None, ["Conflict", "Upload"], ["Conflict", "Download"], ["Conflict", "Upload", "Download"],
            id="different at first contact",
        ),
        pytest.param(None, OLD, (OLD, OLD), ["Skip"], ["Download"], ["Skip"], id="deleted here"),
        pytest.param(OLD, None, (OLD, OLD), ["Upload"], ["Skip"], ["Skip"], id="deleted there"),
        pytest.param(None, NEW, (OLD, OLD), ["Skip"], ["Download"], ["Download"], id="deleted here, changed there"),
        pytest.param(NEW, None, (OLD, OLD), ["Upload"], [], ["Upload"], id="changed here, deleted there"),
        pytest.param(None, None, (OLD, OLD), [], [], [], id="deleted on both sides"),
        pytest.param(LINK, None, None, ["Skip"], ["Skip"], ["Skip"], id="a link"),
        pytest.param(FOLDER, None, None, ["MakeFolder"], [], ["MakeFolder"], id="new folder here"),
        pytest.param(None, FOLDER, None, [], ["MakeFolder"], ["MakeFolder"], id="new folder there"),
        pytest.param(FOLDER, OLD, None, ["Skip"], ["Skip"], ["Skip"], id="a folder against a file"),
    ],
)  # fmt: skip
def test_one_path(here, there, agreed, push, pull, both):
    assert decide(here, there, agreed, direction=PUSH) == push
    assert decide(here, there, agreed, direction=PULL) == pull
    assert decide(here, there, agreed, direction=BOTH) == both


@pytest.mark.parametrize(
    ("here", "there", "agreed", "direction", "expected"),
    [
        pytest.param(None, OLD, (OLD, OLD), PUSH, ["Delete"], id="push deletes there"),
        pytest.param(OLD, None, (OLD, OLD), PULL, ["Delete"], id="pull deletes here"),
        pytest.param(None, OLD, (OLD, OLD), BOTH, ["Delete"], id="sync deletes there"),
        pytest.param(OLD, None, (OLD, OLD), BOTH, ["Delete"], id="sync deletes here"),
        pytest.param(None, OLD, None, PUSH, [], id="no base, no deletion there"),
        pytest.param(OLD, None, None, PULL, [], id="no base, no deletion here"),
        pytest.param(None, NEW, (OLD, OLD), PUSH, ["Skip"], id="changed since: not deleted there"),
        pytest.param(NEW, None, (OLD, OLD), PULL, [], id="changed since: not deleted here"),
    ],
)
def test_deleting_needs_evidence(here, there, agreed, direction, expected):
    assert decide(here, there, agreed, direction=direction, delete=True) == expected


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        (ConflictPolicy.LOCAL, [(Conflict, Side.REMOTE), (Upload, None)]),
        (ConflictPolicy.REMOTE, [(Conflict, Side.LOCAL), (Download, None)]),
        (ConflictPolicy.NEWER, [(Conflict, Side.LOCAL), (Download, None)]),
    ],
)
def test_conflict_policies_keep_the_loser(conflict, expected):
    situation = on_known_ground(local={P: NEW}, remote={P: NEWER}, base={P: Agreed(OLD, OLD)})
    actions = plan(situation, Policy(direction=BOTH, conflict=conflict)).actions
    assert [(type(action), getattr(action, "loser", None)) for action in actions] == expected
    assert actions[0].keep.value == "trash"


def test_keep_both_names_the_copy_so_that_no_rule_applies():
    situation = on_known_ground(
        local={TAR: NEW}, remote={TAR: NEWER}, base={TAR: Agreed(OLD, OLD)}, archives={TAR: ArchiveFacts()}
    )
    actions = plan(situation, Policy(direction=PUSH, label="20260301T120000Z")).actions
    conflict = next(action for action in actions if isinstance(action, Conflict))
    assert conflict.copy.parent == AREA
    assert is_inert(conflict.copy.name)
    assert "x%2Etar%2Egz" in conflict.copy.name


def test_equal_size_and_other_time_is_settled_by_content():
    situation = on_known_ground(local={P: OLD}, remote={P: REDATED})
    assert undecided(situation) == [P]
    equal = on_known_ground(local={P: OLD}, remote={P: REDATED}, same_content={P: True})
    chosen = plan(equal, Policy(direction=BOTH))
    assert chosen.actions == ()
    assert chosen.adopted == {P: Agreed(OLD, REDATED)}
    differs = on_known_ground(local={P: OLD}, remote={P: REDATED}, same_content={P: False})
    assert isinstance(plan(differs, Policy(direction=BOTH)).actions[0], Conflict)


def test_a_space_without_exact_times_is_compared_with_what_it_said_before():
    listed = Entry(Kind.FILE, 10, 5 * S)
    situation = on_known_ground(
        local={P: OLD}, remote={P: listed}, base={P: Agreed(OLD, listed)}, step_ns=None
    )
    assert plan(situation, Policy(direction=BOTH)).actions == ()


def test_a_rename_is_sent_as_a_rename():
    situation = on_known_ground(local={Q: OLD}, remote={P: OLD}, base={P: Agreed(OLD, OLD)})
    actions = plan(situation, Policy(direction=PUSH)).actions
    assert actions == (RenameRemote(source=P, path=Q, entry=OLD, expect=OLD),)


def test_a_rename_is_not_believed_when_the_space_changed_the_file():
    situation = on_known_ground(local={Q: OLD}, remote={P: NEW}, base={P: Agreed(OLD, OLD)})
    assert {type(action) for action in plan(situation, Policy(direction=PUSH)).actions} == {Upload, Skip}


# --- archives

MEMBER = Entry(Kind.FILE, 5, 50 * S)
EDITED = Entry(Kind.FILE, 6, 60 * S)
CLAIMED = RelPath("train_data/d/m.csv")
SUB = RelPath("train_data/d")


def facts(**changes):
    return ArchiveFacts(members={SUB: FOLDER, CLAIMED: MEMBER}, **changes)


def kinds(situation, **policy):
    return [(type(action).__name__, str(action.path)) for action in plan(situation, Policy(**policy)).actions]


def test_a_new_archive_goes_first_and_its_members_are_not_sent():
    situation = on_known_ground(
        local={AREA: FOLDER, TAR: NEW, SUB: FOLDER, CLAIMED: MEMBER, P: OLD},
        remote={AREA: FOLDER},
        archives={TAR: facts()},
    )
    assert kinds(situation, direction=PUSH) == [("Upload", TAR), ("ExtractRemote", TAR), ("Upload", P)]


def test_a_loose_file_wins_over_an_archives_member():
    situation = on_known_ground(
        local={TAR: NEW, SUB: FOLDER, CLAIMED: EDITED}, remote={}, archives={TAR: facts()}
    )
    actions = plan(situation, Policy(direction=PUSH)).actions
    assert actions[-1] == Upload(
        path=CLAIMED, entry=EDITED, expect=MEMBER, reason=f"a loose file wins over {TAR}", after=TAR
    )
    assert isinstance(actions[0], Upload)
    assert isinstance(actions[1], ExtractRemote)


def test_derived_files_in_the_space_are_not_foreign():
    situation = on_known_ground(
        local={TAR: NEW}, remote={TAR: NEW, SUB: FOLDER, CLAIMED: MEMBER}, base={TAR: Agreed(NEW, NEW)},
        archives={TAR: facts(current_there=True)},
    )  # fmt: skip
    assert kinds(situation, direction=PUSH, delete=True) == []
    assert kinds(situation, direction=BOTH, delete=True) == [("ExtractLocal", TAR)]


def test_an_archive_that_the_space_removed_is_no_deletion():
    situation = on_known_ground(
        local={TAR: NEW}, remote={CLAIMED: MEMBER, SUB: FOLDER}, base={TAR: Agreed(NEW, NEW)},
        archives={TAR: facts(current_there=True)}, habits=Habits(keeps_archive=False),
    )  # fmt: skip
    assert kinds(situation, direction=PUSH, delete=True) == []
    assert ("Delete", TAR) not in kinds(situation, direction=BOTH, delete=True)


def test_a_foreign_file_in_an_archives_way_is_kept_first():
    situation = on_known_ground(
        local={TAR: NEW}, remote={SUB: FOLDER, CLAIMED: EDITED}, archives={TAR: facts()}
    )
    actions = plan(situation, Policy(direction=PUSH)).actions
    assert isinstance(actions[0], Conflict)
    assert (actions[0].path, actions[0].loser) == (CLAIMED, Side.REMOTE)


def test_members_of_an_older_generation_go_only_with_delete():
    gone = RelPath("train_data/d/gone.csv")
    situation = on_known_ground(
        local={TAR: NEW}, remote={TAR: OLD, SUB: FOLDER, CLAIMED: MEMBER, gone: MEMBER}, base={TAR: Agreed(OLD, OLD)},
        archives={TAR: facts(published={CLAIMED: MEMBER, gone: MEMBER})},
    )  # fmt: skip
    assert ("Skip", gone) in kinds(situation, direction=PUSH)
    assert kinds(situation, direction=PUSH, delete=True)[-1] == ("Delete", gone)
    changed = {**situation.remote, gone: EDITED}
    edited = on_known_ground(
        local=situation.local, remote=changed, base=situation.base, archives=situation.archives
    )
    assert ("Delete", gone) not in kinds(edited, direction=PUSH, delete=True)


def test_a_space_that_does_not_extract_gets_every_file():
    situation = on_known_ground(
        local={TAR: NEW, SUB: FOLDER, CLAIMED: MEMBER},
        remote={},
        archives={TAR: facts()},
        habits=Habits(extracts=False),
    )
    assert kinds(situation, direction=PUSH) == [
        ("MakeFolder", SUB),
        ("Upload", CLAIMED),
        ("Upload", TAR),
    ] or kinds(situation, direction=PUSH) == [("MakeFolder", SUB), ("Upload", TAR), ("Upload", CLAIMED)]


def test_a_cut_archive_is_not_sent():
    situation = on_known_ground(
        local={TAR: NEW}, remote={}, archives={TAR: facts(unreadable="cut after 10 bytes")}
    )
    (skip,) = plan(situation, Policy(direction=PUSH)).actions
    assert isinstance(skip, Skip)
    assert skip.failed


def test_two_archives_for_one_file_are_reported():
    situation = on_known_ground(
        local={TAR: NEW, TAR2: NEW}, remote={}, archives={TAR: facts(), TAR2: facts()}
    )
    chosen = plan(situation, Policy(direction=PUSH))
    assert [note for note in chosen.notes if str(CLAIMED) in note]


def test_a_later_archive_is_sent_again_when_an_earlier_one_overwrites_its_file():
    there = {TAR: OLD, TAR2: NEW, SUB: FOLDER, CLAIMED: MEMBER}
    situation = on_known_ground(
        local={TAR: NEW, TAR2: NEW, SUB: FOLDER, CLAIMED: EDITED}, remote=there,
        base={TAR: Agreed(OLD, OLD), TAR2: Agreed(NEW, NEW)},
        archives={TAR: facts(), TAR2: facts(current_there=True)},
    )  # fmt: skip
    assert kinds(situation, direction=PUSH) == [
        ("Upload", TAR), ("ExtractRemote", TAR), ("Upload", TAR2), ("ExtractRemote", TAR2), ("Upload", CLAIMED),
    ]  # fmt: skip


def test_folders_are_deleted_after_their_files_and_areas_never():
    folder = RelPath("train_data/sub")
    inside = RelPath("train_data/sub/f.csv")
    situation = Situation(
        local={}, remote={AREA: FOLDER, folder: FOLDER, inside: OLD},
        base={AREA: Agreed(FOLDER, FOLDER), folder: Agreed(FOLDER, FOLDER), inside: Agreed(OLD, OLD)},
    )  # fmt: skip
    assert kinds(situation, direction=PUSH, delete=True) == [("Delete", inside), ("Delete", folder)]


def test_an_edited_derived_file_is_fetched_or_sent():
    base = {TAR: Agreed(NEW, NEW), CLAIMED: Agreed(MEMBER, MEMBER), SUB: Agreed(FOLDER, FOLDER)}
    known = {TAR: facts(current_there=True, produced={CLAIMED: MEMBER}, published={CLAIMED: MEMBER})}
    there_edited = on_known_ground(
        local={TAR: NEW, SUB: FOLDER, CLAIMED: MEMBER},
        remote={TAR: NEW, SUB: FOLDER, CLAIMED: EDITED},
        base=base,
        archives=known,
    )
    assert kinds(there_edited, direction=BOTH) == [("Download", CLAIMED)]
    here_edited = on_known_ground(
        local={TAR: NEW, SUB: FOLDER, CLAIMED: EDITED},
        remote={TAR: NEW, SUB: FOLDER, CLAIMED: MEMBER},
        base=base,
        archives=known,
    )
    assert kinds(here_edited, direction=BOTH) == [("Upload", CLAIMED)]


@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        ("train_data/A.csv", "train_data/a.csv", "in case"),
        ("train_data/\u00e9.csv", "train_data/e\u0301.csv", "in Unicode form"),
    ],
)
def test_names_that_some_systems_take_for_one_are_told(first, second, how):
    first, second = RelPath(first), RelPath(second)
    new = on_known_ground(
        local={first: OLD, second: NEW}, remote={first: OLD}, base={first: Agreed(OLD, OLD)}
    )
    (note,) = plan(new, Policy(direction=PUSH)).notes
    assert how in note
    known = on_known_ground(
        local={first: OLD, second: NEW}, remote={first: OLD, second: NEW},
        base={first: Agreed(OLD, OLD), second: Agreed(NEW, NEW)},
    )  # fmt: skip
    assert plan(known, Policy(direction=PUSH)).notes == ()
