"""Two workspaces, a space that extracts, and everything that may happen to them, in any order: nothing is ever lost.

A model of truth records each content that a user wrote and whether a user replaced or deleted it since. What no user gave up
must stand somewhere: in a workspace, its trash, or the space. `IQDATA_MACHINE_EXAMPLES` asks for a long run.
"""

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iqdata import localfolder
from iqdata import state as state_module
from iqdata.actions import ConflictPolicy, Direction, Policy
from iqdata.config import Settings
from iqdata.errors import IqDataError
from iqdata.events import ActionKind, Status
from iqdata.location import Location
from iqdata.paths import AREAS
from iqdata.rules import is_temporary, tool_for
from iqdata.sync import Clocks, Request, run
from tests.support.extracting import NANOSECONDS, Crash, ExtractingSpace, Manners, When, World

LOOSE = ("a.txt", "b.txt", "d/c.txt", "d/e/f.txt", "m/n.txt")
ARCHIVES = ("v.tar.gz", "w.zip", "d/x.tar", "a.txt.gz")
MEMBERS = ("a.txt", "c.txt", "m/n.txt", "m/o.txt", "d/c.txt")
WHO = st.sampled_from(("one", "two"))

_LISTINGS = {
    "step_ns": st.sampled_from((1, NANOSECONDS, 2 * NANOSECONDS)),
    "dates": st.sampled_from((True, True, False)),
}
MANNERS = st.one_of(
    st.builds(
        Manners,
        when=st.sampled_from((When.NOW, When.NOW, When.LATE, When.LATE, When.PARTLY, When.NEVER)),
        late_by=st.integers(1, 40),
        keeps=st.booleans(),
        overwrites=st.booleans(),
        logged=st.booleans(),
        **_LISTINGS,
    ),
    # One that says nothing of itself: a plain server, or one that has to be found out.
    st.builds(
        Manners,
        when=st.sampled_from((When.NOW, When.NEVER)),
        keeps=st.booleans(),
        overwrites=st.booleans(),
        declared=st.just(False),
        logged=st.just(False),
        **_LISTINGS,
    ),
)


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=12).digest()


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the areas' files by path; links and temporaries included, since none should be there."""
    found = {}
    for area in AREAS:
        for path in (folder / area).rglob("*"):
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


class Truth:
    """Every content a user ever wrote, and which of them some user has given up since."""

    def __init__(self) -> None:
        self.wrote: dict[bytes, str] = {}
        self.given_up: set[bytes] = set()

    def write(self, content: bytes, where: str) -> None:
        self.wrote[digest(content)] = where
        self.given_up.discard(digest(content))

    def give_up(self, content: bytes) -> None:
        self.given_up.add(digest(content))

    def owed(self) -> dict[bytes, str]:
        return {key: where for key, where in self.wrote.items() if key not in self.given_up}


_finished = 0


class SyncMachine(RuleBasedStateMachine):
    """The world of one example."""

    @initialize(manners=MANNERS)
    def begin(self, manners: Manners) -> None:
        base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="iqdata-machine-", dir=base))
        self.world = World()
        self.space = ExtractingSpace(self.folder / "space", manners, self.world)
        self.space.on_overwrite = self._overwritten
        self.space.on_extracted = self._removed_by_space
        self.homes = {name: self.folder / name for name in ("one", "two")}
        for home in self.homes.values():
            for area in AREAS:
                (home / area).mkdir(parents=True)
        self.truth = Truth()
        self.counter = 0
        self.by_others: dict[bytes, float] = {}
        self.patches = contextlib.ExitStack()
        self._patch_the_process()

    def _patch_the_process(self) -> None:
        """Make each rename, link and commit of the client a moment at which it may die, and no effect possible after."""
        patch = pytest.MonkeyPatch()
        self.patches.callback(patch.undo)
        world = self.world
        for name in ("replace", "rename", "link"):
            real = getattr(os, name)

            def guarded(*arguments, real=real, **keywords):
                world.pass_moment()
                return real(*arguments, **keywords)

            patch.setattr(os, name, guarded)
        real_rename = localfolder._rename

        def guarded_rename(source, target, flags):
            world.pass_moment()
            return real_rename(source, target, flags)

        patch.setattr(localfolder, "_rename", guarded_rename)
        transaction = state_module.State.transaction

        @contextlib.contextmanager
        def guarded_transaction(state):
            if world.dead:
                raise Crash
            with transaction(state):
                yield
                if world.dead:
                    raise Crash

        patch.setattr(state_module.State, "transaction", guarded_transaction)
        # Bringing bytes to the disk matters after a power cut only, and costs most of the time of a run.
        patch.setattr("iqdata.localfolder._sync_file_system", lambda _folder: None)

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        global _finished
        _finished += 1
        if _finished % 50 == 0 and (log := os.environ.get("IQDATA_SOAK_LOG")):
            with open(log, "a") as file:  # noqa: PTH123  # the shortest
                file.write(f"machine: {_finished} examples, manners {self.space.manners}\n")
        try:
            self.settle(first="one", delete=True)
        finally:
            self.patches.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- what the space does to users' contents
    def _overwritten(self, content: bytes, _by: str) -> None:
        """Between the last look and the act nothing can protect a file on a server without locks: that moment is excused."""
        written_at = self.by_others.get(digest(content))
        if written_at is not None and self.world.ticking - written_at <= self.grace():
            self.truth.give_up(content)

    def grace(self) -> float:
        """How long after another party's write the space may still overwrite it: a fresh look, or an extraction under way."""
        return 2.5 if self.space.manners.when in (When.NOW, When.NEVER) else 1e9

    def _removed_by_space(self, archive: str) -> None:
        content = (self.space.root / archive).read_bytes()
        if not any(content in files_below(home).values() for home in self.homes.values()):
            self.truth.give_up(content)

    # --- what users do
    def new_content(self, *, double: bool) -> bytes:
        self.counter += 1
        return f"{self.counter:05d}\n".encode() * (2 if double else 1)

    def put(self, root: Path, path: Path, content: bytes, *, who: str) -> None:
        """Write a file as a user does, unless something else than a file or folder is in the way."""
        if path.is_dir() or any(above.is_file() for above in path.parents):
            return
        if path.is_file():
            self.truth.give_up(path.read_bytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = root / "beside"
        beside.write_bytes(content)
        stamp = self.world.stamp() * NANOSECONDS + (self.counter % 1000) * 1000
        os.utime(beside, ns=(stamp, stamp))
        shutil.move(beside, path)
        self.truth.write(content, f"{who}: {path.relative_to(root)}")

    @rule(who=WHO, name=st.sampled_from(LOOSE), area=st.sampled_from(AREAS), double=st.booleans())
    def write(self, who, name, area, double):
        self.put(self.homes[who], self.homes[who] / area / name, self.new_content(double=double), who=who)

    @rule(who=WHO, data=st.data())
    def append(self, who, data):
        if (path := self.some_file(who, data)) is not None and tool_for(path.name) is None:
            self.put(self.homes[who], path, path.read_bytes() + self.new_content(double=False), who=who)

    @rule(who=WHO, data=st.data())
    def edit_keeping_the_size(self, who, data):
        if (path := self.some_file(who, data)) is not None and tool_for(path.name) is None:
            old = path.read_bytes()
            new = self.new_content(double=False)
            self.put(self.homes[who], path, (new * len(old))[: max(len(old), 6)], who=who)

    @rule(who=WHO, data=st.data())
    def touch(self, who, data):
        if (path := self.some_file(who, data)) is not None:
            stamp = self.world.stamp() * NANOSECONDS
            os.utime(path, ns=(stamp, stamp))

    @rule(who=WHO, data=st.data(), name=st.sampled_from((*LOOSE, "r.txt", "r.zip", "group")))
    def rename(self, who, data, name):
        path = self.some_file(who, data)
        if path is None or (tool_for(name) is None) != (tool_for(path.name) is None):
            return
        target = self.homes[who] / "train_data" / name
        if target.exists() or any(above.is_file() for above in target.parents):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)

    @rule(who=WHO, data=st.data())
    def delete(self, who, data):
        if (path := self.some_file(who, data)) is not None:
            self.truth.give_up(path.read_bytes())
            path.unlink()

    @rule(who=WHO, name=st.sampled_from(("d", "m", "d/e")))
    def delete_folder(self, who, name):
        folder = self.homes[who] / "train_data" / name
        if folder.is_dir():
            for path in folder.rglob("*"):
                if path.is_file():
                    self.truth.give_up(path.read_bytes())
            shutil.rmtree(folder)

    @rule(who=WHO, name=st.sampled_from(("d", "empty", "m/p")))
    def make_folder(self, who, name):
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            (self.homes[who] / "train_data" / name).mkdir(parents=True, exist_ok=True)

    @rule(
        who=WHO,
        name=st.sampled_from(ARCHIVES),
        members=st.lists(st.sampled_from(MEMBERS), unique=True, max_size=3),
        cut=st.sampled_from((False, False, False, True)),
    )
    def archive(self, who, name, members, cut):
        """Make an archive, or its next generation; one that is cut is damaged."""
        content = self.archive_of(name, members)
        if cut:
            content = content[: len(content) // 2]
        self.put(self.homes[who], self.homes[who] / "train_data" / name, content, who=who)

    def archive_of(self, name: str, members: list[str]) -> bytes:
        stamp = self.world.stamp()
        buffer = io.BytesIO()
        contents = {member: self.new_content(double=False) for member in members}
        if name.endswith(".zip"):
            with zipfile.ZipFile(buffer, "w") as pack:
                for member, content in contents.items():
                    header = zipfile.ZipInfo(member, time.gmtime(stamp)[:6])
                    pack.writestr(header, content)
        elif ".tar" in name:
            with tarfile.open(fileobj=buffer, mode="w:gz" if name.endswith("gz") else "w") as pack:
                for member, content in contents.items():
                    header = tarfile.TarInfo(member)
                    header.size, header.mtime = len(content), stamp
                    pack.addfile(header, io.BytesIO(content))
        else:
            with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=stamp) as pack:
                pack.write(self.new_content(double=True))
        return buffer.getvalue()

    def some_file(self, who: str, data) -> Path | None:
        home = self.homes[who]
        found = sorted(files_below(home))
        return home / data.draw(st.sampled_from(found)) if found else None

    # --- what a third party does in the space
    @rule(name=st.sampled_from(LOOSE), double=st.booleans())
    def edit_in_space(self, name, double):
        self.third_party_writes(name, double=double)

    def third_party_writes(self, name: str, *, double: bool) -> None:
        content = self.new_content(double=double)
        self.put(self.space.root, self.space.root / "train_data" / name, content, who="third")
        self.by_others[digest(content)] = self.world.ticking

    @rule(data=st.data())
    def delete_in_space(self, data):
        found = sorted(path for path in files_below(self.space.root) if not is_temporary(Path(path).name))
        if found:
            path = self.space.root / data.draw(st.sampled_from(found))
            self.truth.give_up(path.read_bytes())
            path.unlink()

    @rule()
    def space_catches_up(self):
        self.space.catch_up()

    @rule(seconds=st.sampled_from((86_407, -86_407, 3 * 86_413, 3600)))
    def clock_jumps(self, seconds):
        self.world.skew += seconds

    # --- runs
    @rule(
        who=WHO,
        direction=st.sampled_from(Direction),
        delete=st.booleans(),
        conflict=st.sampled_from(ConflictPolicy),
        wait=st.sampled_from((True, True, False)),
        checksum=st.sampled_from((False, False, False, True)),
    )
    def run(self, who, direction, delete, conflict, wait, checksum):
        with contextlib.suppress(IqDataError):
            self.sync(who, direction, delete=delete, conflict=conflict, wait=wait, checksum=checksum)

    @rule(who=WHO, direction=st.sampled_from(Direction), delete=st.booleans(), moment=st.integers(1, 60))
    def run_and_die(self, who, direction, delete, moment):
        self.world.arm(crash_at=moment)
        with contextlib.suppress(Crash, IqDataError):
            self.sync(who, direction, delete=delete)
        self.world.disarm()

    @rule(
        who=WHO, direction=st.sampled_from(Direction), delete=st.booleans(), moment=st.integers(1, 60),
        name=st.sampled_from(LOOSE),
    )  # fmt: skip
    def run_while_a_third_party_writes(self, who, direction, delete, moment, name):
        self.world.arm(hook_at=moment, hook=lambda: self.third_party_writes(name, double=False))
        with contextlib.suppress(IqDataError):
            self.sync(who, direction, delete=delete)
        self.world.disarm()

    @rule(
        who=WHO, direction=st.sampled_from(Direction), delete=st.booleans(), moment=st.integers(1, 60),
        name=st.sampled_from(LOOSE),
    )  # fmt: skip
    def run_while_its_user_writes(self, who, direction, delete, moment, name):
        def write():
            self.put(
                self.homes[who],
                self.homes[who] / "train_data" / name,
                self.new_content(double=False),
                who=who,
            )

        self.world.arm(hook_at=moment, hook=write)
        with contextlib.suppress(IqDataError):
            self.sync(who, direction, delete=delete)
        self.world.disarm()

    @rule(who=WHO, moment=st.integers(1, 60), delete=st.booleans())
    def both_run_at_once(self, who, moment, delete):
        other = "two" if who == "one" else "one"

        def run_other():
            for content in files_below(self.homes[other]).values():
                # What this run puts into the space may be replaced in the moment after the first one's last look.
                self.by_others[digest(content)] = self.world.ticking
            with contextlib.suppress(IqDataError):
                self.sync(other, Direction.BOTH, delete=delete)

        self.world.arm(hook_at=moment, hook=run_other)
        with contextlib.suppress(IqDataError):
            self.sync(who, Direction.BOTH, delete=delete)
        self.world.disarm()

    def sync(
        self,
        who,
        direction,
        *,
        delete,
        conflict=ConflictPolicy.KEEP_BOTH,
        wait=True,
        checksum=False,
        max_delete="100%",
    ):
        self.world.stamp()
        settings_ = Settings(
            workspace=self.homes[who],
            location=Location.parse("memory://machine/"),
            jobs=1,
            retries=1,
            wait_timeout_s=5.0,
            max_delete=max_delete,
            trash_days=3650,
        )
        request = Request(
            policy=Policy(direction=direction, delete=delete, conflict=conflict, checksum=checksum), wait=wait
        )
        clocks = Clocks(now=self.world.now, monotonic=self.world.monotonic, sleep=self.world.sleep)
        return run(settings_, request, self.space.connect, listener=lambda _event: None, clocks=clocks)

    # --- what must hold
    def contents_anywhere(self) -> set[bytes]:
        found = set()
        for home in self.homes.values():
            trash = home / ".iqdata" / "trash"
            found |= {digest(content) for content in files_below(home).values()}
            found |= {digest(path.read_bytes()) for path in trash.rglob("*") if path.is_file()}
        return found | {digest(content) for content in files_below(self.space.root).values()}

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "folder"):
            missing = {
                key: where for key, where in self.truth.owed().items() if key not in self.contents_anywhere()
            }
            assert not missing, f"lost: {sorted(missing.values())}"

    @precondition(lambda self: hasattr(self, "folder"))
    @rule(first=WHO, delete=st.booleans())
    def settle(self, first, delete):
        """Run both clients until nothing moves; then every side is equal, or the difference is said."""
        self.world.disarm()
        self.space.catch_up()
        order = (first, "two" if first == "one" else "one")
        for who in order:
            self.sync(who, Direction.BOTH, delete=delete)
        # More than a day passes: what a killed run left, and these two have seen, is old enough to be swept.
        self.world.seconds += 3 * 86_400
        history = []
        for _ in range(8):
            reports = {}
            for who in order:
                reports[who] = self.sync(who, Direction.BOTH, delete=delete)
                self.space.catch_up()
                history.extend(f"{who}: {line(outcome)}" for outcome in reports[who].outcomes)
                history.append("")
            if all(self.is_idle(report) for report in reports.values()):
                break
        else:
            raise AssertionError("never comes to rest:\n" + "\n".join(history))
        self.nothing_is_lost()
        self.sides_are_equal_or_said(reports)
        self.no_temporary_names()

    def is_idle(self, report) -> bool:
        return all(self.is_remark(outcome) for outcome in report.outcomes) and not report.bytes_received

    def is_remark(self, outcome) -> bool:
        """Tell what may be said in every run: what is left alone, and an extraction that never comes."""
        manners = self.space.manners
        # Without a log only the members tell, and a part of them never comes where a newer loose file stands in its place.
        silent = manners.when is When.NEVER or (manners.when is When.PARTLY and not manners.logged)
        unconfirmed = outcome.action is ActionKind.EXTRACT_REMOTE and silent
        # What may still overwrite files of a later archive's makes that one go again after each wait.
        blocked_by_it = silent and (
            outcome.status is Status.FAILED
            or (outcome.reason or "").startswith("sent again: an earlier archive")
        )
        return outcome.action is ActionKind.SKIP or unconfirmed or blocked_by_it

    def sides_are_equal_or_said(self, reports) -> None:
        sides = {name: files_below(home) for name, home in self.homes.items()}
        sides["space"] = files_below(self.space.root)
        said = {str(outcome.path) for report in reports.values() for outcome in report.outcomes}
        # An extraction that failed or has not been seen is said with its archive's name, and stands for its members.
        folders = [str(Path(path).parent) for path in said if tool_for(path) is not None]
        said |= {f"{folder}/{member}" for folder in folders for member in (*MEMBERS, "a.txt")}
        for path in sorted(set().union(*sides.values())):
            versions = {name: files.get(path) for name, files in sides.items()}
            if len(set(versions.values())) == 1 or any(
                path == one or path.startswith(f"{one}/") for one in said
            ):
                continue
            if versions["space"] is None and tool_for(path) is not None and not self.space.manners.keeps:
                continue  # such a space removes archives: that one is missing there says nothing, whoever took it away
            shown = {name: content and content[:40] for name, content in versions.items()}
            raise AssertionError(f"{path} differs and nobody says so: {shown}; said: {sorted(said)}")

    def no_temporary_names(self) -> None:
        for root in (self.space.root, *self.homes.values()):
            left = [
                str(path) for path in root.rglob("*") if is_temporary(path.name) and "trash" not in path.parts
            ]
            assert not left, f"temporary names left: {left}"


def line(outcome) -> str:
    return f"{outcome.action.value} {outcome.path} {outcome.status.value} {outcome.reason or ''} {outcome.error or ''}"


_EXAMPLES = int(os.environ.get("IQDATA_MACHINE_EXAMPLES", "0"))

TestSyncMachine = SyncMachine.TestCase
TestSyncMachine.settings = settings(
    max_examples=_EXAMPLES or 60,
    stateful_step_count=int(os.environ.get("IQDATA_MACHINE_STEPS", "15")),
    deadline=None,
    derandomize=not _EXAMPLES,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[
        Phase.explicit,
        Phase.generate,
        *([Phase.shrink] if os.environ.get("IQDATA_MACHINE_SHRINK", "1") == "1" else []),
    ],
    database=None,
)
