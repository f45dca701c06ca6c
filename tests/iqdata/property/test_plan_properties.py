"""What holds for every plan, whatever the two sides and the base look like."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from iqdata.actions import (
    Agreed,
    Conflict,
    ConflictPolicy,
    Delete,
    Direction,
    Download,
    Keep,
    MakeFolder,
    Policy,
    RenameRemote,
    Side,
    Situation,
    Skip,
    Upload,
)
from iqdata.compare import Unsettled
from iqdata.paths import RelPath
from iqdata.plan import plan, undecided
from iqdata.tree import FOLDER, Entry, Kind

AREA = RelPath("train_data")
NAMES = [RelPath(f"train_data/{name}") for name in ("a", "b", "d/x", "d/y", "e")]
# Content is its size here: two entries of one size hold the same bytes, whatever their dates.
FILES = st.builds(
    lambda size, time: Entry(Kind.FILE, size, time * 10**9), st.integers(1, 4), st.integers(1, 3)
)
SIDES = st.dictionaries(st.sampled_from(NAMES), FILES)
POLICIES = st.builds(
    Policy,
    direction=st.sampled_from(Direction),
    delete=st.booleans(),
    conflict=st.sampled_from(ConflictPolicy),
    label=st.just("then"),
)


def with_folders(files):
    """Return a side with the folders that its files need."""
    return {AREA: FOLDER} | {folder: FOLDER for path in files for folder in path.ancestors()} | files


@st.composite
def situations(draw):
    """Two sides that share a past: some paths agreed earlier, each side edited since."""
    here, there = draw(SIDES), draw(SIDES)
    agreed = {}
    for path in NAMES:
        past = draw(st.one_of(st.none(), FILES))
        if past is None:
            continue
        agreed[path] = Agreed(past, past)
        if draw(st.booleans()):
            here[path] = past
        if draw(st.booleans()):
            there[path] = past
    return Situation(local=with_folders(here), remote=with_folders(there), base=agreed)


def settle(situation):
    """Answer what only content can tell."""
    same = {
        path: entry.size_bytes == situation.remote[path].size_bytes
        for path, entry in situation.local.items()
        if path in situation.remote
    }
    return Situation(local=situation.local, remote=situation.remote, base=situation.base, same_content=same)


def carry_out(situation, chosen):
    """Do what the plan says to two dictionaries; every expectation is checked on the way."""
    here, there = dict(situation.local), dict(situation.remote)
    base, trash = dict(situation.base), []
    base.update(chosen.adopted)
    for path in chosen.forgotten:
        base.pop(path, None)
    for action in chosen.actions:
        match action:
            case Conflict(path=path, keep=Keep.BESIDE, loser=loser, copy=copy, expect=expect):
                side = there if loser is Side.REMOTE else here
                assert side[path] == expect
                side[copy] = side.pop(path)
            case Conflict(keep=Keep.TRASH, expect=expect):
                trash.append(expect)
            case MakeFolder(path=path, side=side):
                (there if side is Side.REMOTE else here)[path] = FOLDER
                base[path] = Agreed(FOLDER, FOLDER)
            case Upload(path=path, entry=entry, expect=expect):
                assert there.get(path) == expect
                assert here[path] == entry
                there[path] = entry
                base[path] = Agreed(entry, entry)
            case Download(path=path, entry=entry, expect=expect):
                assert here.get(path) == expect
                assert there[path] == entry
                if expect is not None:
                    trash.append(expect)
                here[path] = entry
                base[path] = Agreed(entry, entry)
            case RenameRemote(source=source, path=path, entry=entry, expect=expect):
                assert there.pop(source) == expect
                there[path] = entry
                base.pop(source)
                base[path] = Agreed(entry, entry)
            case Delete(path=path, side=side, expect=expect):
                if side is Side.LOCAL:
                    trash.append(expect)
                assert (there if side is Side.REMOTE else here).pop(path) == expect
                base.pop(path, None)
            case Skip() | Conflict():
                pass
            case _:
                raise AssertionError(action)
    return here, there, base, trash


def contents(side):
    return {entry.size_bytes for entry in side.values() if entry.kind is Kind.FILE}


@given(situations(), POLICIES)
def test_a_second_plan_is_empty(situation, policy):
    first = plan(settle(situation), policy)
    here, there, base, _ = carry_out(situation, first)
    again = plan(settle(Situation(local=here, remote=there, base=base)), policy)
    # What was left alone is left alone again, and said again; nothing is done twice.
    left_alone = [
        a for a in again.actions if isinstance(a, Skip) or (isinstance(a, Conflict) and a.keep is Keep.AS_IS)
    ]
    assert list(again.actions) == left_alone
    assert not again.adopted or not first.actions


@given(situations(), POLICIES)
def test_no_bytes_are_lost_that_one_side_alone_holds(situation, policy):
    here, there, _, trash = carry_out(situation, plan(settle(situation), policy))
    kept = contents(here) | contents(there) | {entry.size_bytes for entry in trash}
    for path in NAMES:
        mine, theirs, agreed = situation.local.get(path), situation.remote.get(path), situation.base.get(path)
        # A version that the base knows was seen by both sides: replacing it is what the user did. Any other must survive.
        for entry in (mine, theirs):
            if entry is not None and (agreed is None or entry not in (agreed.local, agreed.remote)):
                assert entry.size_bytes in kept


@given(situations(), POLICIES)
def test_no_base_no_deletion(situation, policy):
    for action in plan(settle(situation), policy).of(Delete):
        assert action.path in situation.base
        agreed = situation.base[action.path]
        assert action.expect == (agreed.remote if action.side is Side.REMOTE else agreed.local)


@given(situations(), POLICIES)
def test_a_one_way_mirror_touches_one_side(situation, policy):
    here, there, _, _ = carry_out(situation, plan(settle(situation), policy))
    if policy.direction is Direction.PUSH:
        assert here == dict(situation.local)
    if policy.direction is Direction.PULL:
        assert there == dict(situation.remote)


@given(situations(), POLICIES)
def test_parents_come_before_children(situation, policy):
    seen = {side: {path for path, entry in tree.items() if entry.kind is Kind.FOLDER}
            for side, tree in ((Side.LOCAL, situation.local), (Side.REMOTE, situation.remote))}  # fmt: skip
    for action in plan(settle(situation), policy).actions:
        if isinstance(action, MakeFolder):
            assert action.path.parent in seen[action.side]
            seen[action.side].add(action.path)
        elif isinstance(action, Upload):
            assert action.path.parent in seen[Side.REMOTE]
        elif isinstance(action, Download):
            assert action.path.parent in seen[Side.LOCAL]


@given(situations(), POLICIES, st.booleans())
def test_what_is_settled_at_a_glance_is_what_a_judgement_would_say(situation, policy, checksum):
    settled = settle(situation)
    policy = msgspec.structs.replace(policy, checksum=checksum)
    everything = Unsettled({*settled.local, *settled.remote, *settled.base}, 0)
    assert plan(settled, policy) == plan(settled, policy, rest=everything)
    assert undecided(situation, checksum=checksum) == undecided(situation, checksum=checksum, rest=everything)


def test_the_strategies_reach_every_kind_of_action():
    found = set()

    @given(situations(), POLICIES)
    def collect(situation, policy):
        found.update(type(action) for action in plan(settle(situation), policy).actions)

    collect()
    assert found >= {Upload, Download, Delete, Conflict, Skip}
