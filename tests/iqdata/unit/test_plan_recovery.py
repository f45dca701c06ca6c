"""What the planner does after crashes, with late extractions and with members of standing archives: one row a bug it once had."""

from iqdata.actions import Agreed, ArchiveFacts, Direction, ExtractRemote, Habits, Policy, Situation
from iqdata.paths import RelPath
from iqdata.plan import plan
from iqdata.tree import FOLDER, Entry, Kind

S = 1_000_000_000
AREA = RelPath("train_data")
TAR, TAR2 = RelPath("train_data/v.tar.gz"), RelPath("train_data/w.zip")
MADE = RelPath("train_data/a.csv")
PACK = Entry(Kind.FILE, 50, 500 * S, 3)
MEMBER = Entry(Kind.FILE, 10, 100 * S)
OTHER = Entry(Kind.FILE, 11, 200 * S, 9)
REMOVES = Habits(keeps_archive=False)


def actions(local, remote, archives, base=None, *, habits=None, direction=Direction.BOTH, delete=True):
    """Plan, and return the actions by name and path."""
    situation = Situation(
        local={AREA: FOLDER, **local},
        remote={AREA: FOLDER, **remote},
        base={AREA: Agreed(FOLDER, FOLDER), **(base or {})},
        archives=archives,
        habits=habits or Habits(),
    )
    chosen = plan(situation, Policy(direction=direction, delete=delete))
    return [(type(action).__name__, action.path) for action in chosen.actions]


def facts(**more):
    """Return what is known of an archive that makes `MADE`."""
    return ArchiveFacts(**{"members": {MADE: MEMBER}, **more})


def test_waiting_for_an_extraction_renames_nothing():
    waiting = {TAR: facts(awaited=True, sent=True, produced={MADE: MEMBER})}
    assert actions({TAR: PACK, MADE: MEMBER}, {TAR: PACK, MADE: OTHER}, waiting) == [("ExtractRemote", TAR)]


def test_what_a_later_archive_has_made_since_tells_nothing_of_an_earlier_ones_end():
    """Its own content may never be seen there again: a run that waited for it would do so for ever."""
    mine = Entry(Kind.FILE, 12, 100 * S)
    waiting = {
        TAR: ArchiveFacts(members={MADE: MEMBER, RelPath("train_data/own"): MEMBER}, awaited=True, sent=True),
        TAR2: ArchiveFacts(members={MADE: mine}, current_there=True, sent=True),
    }
    local = {AREA: FOLDER, TAR: PACK, TAR2: PACK, MADE: mine, RelPath("train_data/own"): MEMBER}
    situation = Situation(local=local, remote=local, archives=waiting)
    chosen = plan(situation, Policy(direction=Direction.BOTH, delete=True))
    awaited = {
        action.path: set(action.members) for action in chosen.actions if isinstance(action, ExtractRemote)
    }
    # The later one goes again after that: the earlier one may have come only now.
    assert awaited == {TAR: {RelPath("train_data/own")}, TAR2: {MADE}}


def test_two_archives_that_make_one_file_are_awaited_and_not_sent_again():
    """Of a space that never extracts, or late: whether one overwrites the other is seen when they have come out."""
    waiting = {path: facts(awaited=True, sent=True, produced={MADE: MEMBER}) for path in (TAR, TAR2)}
    base = {TAR: Agreed(PACK, PACK), TAR2: Agreed(PACK, PACK)}
    tree = {TAR: PACK, TAR2: PACK}
    assert actions({**tree, MADE: MEMBER}, tree, waiting, base) == [
        ("ExtractRemote", TAR),
        ("ExtractRemote", TAR2),
    ]


def test_an_archive_that_was_sent_and_removed_is_awaited_and_not_sent_again():
    waiting = {TAR: facts(awaited=True, sent=True)}
    base = {TAR: Agreed(PACK, PACK)}
    assert ("ExtractRemote", TAR) in actions({TAR: PACK}, {}, waiting, base, habits=REMOVES)
    assert ("Upload", TAR) not in actions({TAR: PACK}, {}, waiting, base, habits=REMOVES)


def test_an_archive_that_may_not_have_been_sent_is_sent_and_never_deleted_here():
    waiting = {TAR: facts(awaited=True)}
    base = {TAR: Agreed(PACK, PACK)}
    found = actions({TAR: PACK}, {}, waiting, base, habits=REMOVES)
    assert ("Upload", TAR) in found
    assert ("Delete", TAR) not in found


def test_an_archive_that_is_to_go_again_goes_again_though_it_stands_there():
    again = {TAR: facts(awaited=True, resend=True, produced={MADE: MEMBER})}
    base = {TAR: Agreed(PACK, PACK)}
    assert ("Upload", TAR) in actions({TAR: PACK, MADE: MEMBER}, {TAR: PACK, MADE: OTHER}, again, base)


def test_a_member_deleted_in_the_space_is_restored_while_its_archive_stands():
    known = {TAR: facts(current_there=True, produced={MADE: MEMBER}, published={MADE: MEMBER})}
    base = {TAR: Agreed(PACK, PACK), MADE: Agreed(MEMBER, MEMBER)}
    assert actions({TAR: PACK, MADE: MEMBER}, {TAR: PACK}, known, base) == [("Upload", MADE)]


def test_a_member_that_another_archive_makes_now_follows_on_both_sides_in_one_run():
    old = Entry(Kind.FILE, 12, 300 * S)
    known = {
        TAR: facts(current_there=True, published={MADE: old}),
        TAR2: ArchiveFacts(current_there=True, produced={MADE: old}, published={MADE: old}),
    }
    base = {path: Agreed(PACK, PACK) for path in (TAR, TAR2)} | {MADE: Agreed(old, old)}
    local = {TAR: PACK, TAR2: PACK, MADE: old}
    assert actions(local, local, {**known, TAR: facts(current_there=True, produced={MADE: old})}, base) == [
        ("ExtractLocal", TAR),
        ("Upload", MADE),
    ]


def test_a_folder_that_was_deleted_there_comes_back_where_files_go_into_it():
    folder, inner, file = RelPath("train_data/d"), RelPath("train_data/d/e"), RelPath("train_data/d/e/f.csv")
    found = actions({folder: FOLDER, inner: FOLDER, file: OTHER}, {}, {}, {folder: Agreed(FOLDER, FOLDER)})
    assert found == [("MakeFolder", folder), ("MakeFolder", inner), ("Upload", file)]
