"""The recipe of `push`, `pull`, `sync` and `status`: scan both sides → plan → check → execute.

Refuses to know how anything is displayed: a `Listener` hears of every action.
"""

import datetime
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from iqdata import movedclock, profile
from iqdata.actions import (
    Agreed,
    Download,
    Habits,
    MakeFolder,
    Plan,
    Policy,
    Side,
    Situation,
    Skip,
)
from iqdata.arrival import Arrivals
from iqdata.compare import Unsettled, is_extracted, unsettled
from iqdata.config import FAR_JOBS, USUAL_JOBS, Settings, need_workspace
from iqdata.content import compare_all
from iqdata.errors import ConfigError, Refused
from iqdata.events import Listener, Note, Report, Status
from iqdata.execute import execute
from iqdata.filters import Predicate, build_filter, everything
from iqdata.localarchives import LocalArchives
from iqdata.localfolder import LocalFolder, random_token
from iqdata.means import Means, RateLimit
from iqdata.outcomes import outcome_of
from iqdata.paths import AREAS, RelPath
from iqdata.plan import plan, undecided
from iqdata.profile import Profile
from iqdata.rules import to_unpack, tool_for
from iqdata.safety import check_plan
from iqdata.scan import Blocked, Scan, scan_folder, scan_space, without_blocked
from iqdata.state import State, open_state
from iqdata.sweep import beside_the_areas, sweep_space
from iqdata.transports.base import Connector, Transport
from iqdata.transports.pool import Pool
from iqdata.tree import Entry, Kind

_SWEEP_AFTER_S = 24 * 3600.0

_LARGE_TREE = 300_000
"""So many paths are held once each, not twice."""

_FAR_S = 0.004
"""A round trip from which on waiting for answers, and not the processor, bounds what one connection does."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One run as the user asked for it.

    Attributes:
        only: paths of the command line; none means everything.
        dry_run: plan and tell, change nothing.
        wait: whether extractions in the space are awaited.
        hold: asked once the workspace has been scanned, for paths that the run must not touch: `watch` names files that
            are being written. Asked earlier, it would miss a writer that comes before the scan.
        missing_ok: whether paths in `only` may be on neither side (`watch` names paths that may be gone again).
    """

    policy: Policy
    only: tuple[RelPath, ...] = ()
    dry_run: bool = False
    wait: bool = True
    hold: Callable[[], frozenset[RelPath]] = frozenset
    missing_ok: bool = False


class Clocks(msgspec.Struct, frozen=True, kw_only=True):
    """Where times come from; tests give their own."""

    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def run(
    settings: Settings,
    request: Request,
    connect: Connector,
    *,
    listener: Listener,
    clocks: Clocks | None = None,
) -> Report:
    """Bring workspace and space together as asked, and return what was done (or, dry, what would be).

    Raises:
        ConfigError: no workspace, unusable settings.
        Busy: another run works in the workspace.
        PlanRefused: the plan looks like an accident; nothing was changed.
        TransportError: the space cannot be reached, or refuses an area that was named.
    """
    need_workspace(settings.workspace)
    location = settings.need_location()
    with open_state(settings.workspace, space=str(location), writable=not request.dry_run) as state:

        def say_limit(number: int) -> None:
            if number < (settings.jobs or USUAL_JOBS):
                listener(Note(text=f"the space takes {number} connections at once, so that many are used"))

        clocks = clocks or Clocks()
        pool = Pool(
            connect,
            limit=settings.jobs or USUAL_JOBS,
            enough=USUAL_JOBS,
            on_limit=say_limit,
            retries=settings.retries,
            sleep=clocks.sleep,
        )
        side_pool = Pool(connect, limit=1)
        try:
            return _Run(settings, request, pool, side_pool, state, listener, clocks).run()
        finally:
            pool.close()
            side_pool.close()


class _Run:
    """One run's values on their way from scan to report."""

    def __init__(
        self,
        settings: Settings,
        request: Request,
        pool: Pool,
        side_pool: Pool,
        state: State,
        listener: Listener,
        clocks: Clocks,
    ) -> None:
        self.settings = settings
        self.request = request
        self.policy = msgspec.structs.replace(request.policy, label=f"{clocks.now():%Y%m%dT%H%M%SZ}")
        self.pool = pool
        self.side_pool = side_pool
        self.state = state
        self.listener = listener
        self.clocks = clocks
        self.workspace = settings.workspace
        self.local = LocalFolder(self.workspace, now=clocks.now)
        self.held: frozenset[RelPath] = frozenset()
        self.allowed = self._filter(request.only)
        self.areas: tuple[str, ...] = settings.named_areas or settings.areas
        self.archives = LocalArchives(
            self.workspace, state, listener=listener, now=clocks.now, remember=not request.dry_run
        )
        self.problems: list[Blocked] = []
        self.known: dict[RelPath, Agreed] = {}
        self.rest: Unsettled | None = None
        self.beside: dict[RelPath, Entry] = {}
        rate = settings.bwlimit_bytes_s
        self.throttle: Callable[[int], None] = (
            RateLimit(rate, clock=clocks.monotonic, sleep=clocks.sleep) if rate else lambda _size: None
        )

    def run(self) -> Report:
        started = self.clocks.monotonic()
        space, step_ns, here, there = self._look()
        self._admit(here, there)
        self._follow_clock(here, there, step_ns)
        if not self.request.dry_run:
            self.local.sweep(
                older_than_s=_SWEEP_AFTER_S,
                now_s=self.clocks.now().timestamp(),
                trash_days=self.settings.trash_days,
            )
        first = None
        situation = self._situation(here, there, space, step_ns)
        if self.policy.receives and not self.request.dry_run:
            first = self._fetch_archives(situation, space, step_ns)
            if first is not None:
                here = scan_folder(self.workspace, self.areas, self.allowed)
                self.known = self.state.base(here.entries)
                situation = self._situation(here, there, space, step_ns)
        chosen = plan(situation, self.policy, rest=self.rest)
        chosen = msgspec.structs.replace(
            chosen,
            actions=(
                *chosen.actions,
                *(Skip(path=item.path, reason=item.reason, failed=True) for item in self.problems),
            ),
        )
        self.rest = None  # as large as the tree, and of no more use
        check_plan(chosen, situation, max_delete=self.settings.max_delete)
        if self.request.dry_run:
            return self._tell(chosen)
        report = execute(chosen, self._means(space, step_ns))
        self._settle_archives(situation, chosen)
        if self._sweeps:
            sweep_space(
                {**there.temporary, **self.beside},
                pool=self.pool,
                state=self.state,
                now_s=self.clocks.now().timestamp(),
                older_than_s=_SWEEP_AFTER_S,
                step_ns=step_ns,
            )
        whole = report if first is None else _joined(first, report)
        return msgspec.structs.replace(whole, elapsed_s=self.clocks.monotonic() - started)

    # --- before the plan
    @property
    def _sweeps(self) -> bool:
        """Whether the run removes what killed runs left in the space."""
        return self.policy.sends and not self.request.dry_run

    def _look(self) -> tuple[Profile, int | None, Scan, Scan]:
        """Return what the space does, how exact its times are, and both sides; the space is listed while we look here."""
        if self.request.only or self.settings.jobs == 1:
            # What the archives here make decides what is listed there; and --jobs 1 means one thing after the other.
            here = self._scan_here()
            space, step_ns = self._greet()
            space = self._find_out(space, here)
            self.known = self.state.base(here.entries)
            self.beside = beside_the_areas(self.pool) if self._sweeps else {}
            return space, step_ns, here, scan_space(self.pool, self.areas, self.allowed)
        space, step_ns = self._greet()
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="look") as ahead:
            listing = ahead.submit(scan_space, self.pool, self.areas, self.allowed)
            beside = ahead.submit(beside_the_areas, self.pool) if self._sweeps else None
            try:
                here = self._scan_here()
                # While the space is listed, unless the tree is so large that memory matters more than the wait.
                large = len(here.entries) > _LARGE_TREE
                if not large:
                    self.known = self.state.base(here.entries)
                there = listing.result()
                if large:
                    self.known = self.state.base(here.entries, there.entries)
                for path in self.held:
                    # The listing had begun before anybody asked who writes.
                    there.entries.pop(path, None)
                self.beside = beside.result() if beside is not None else {}
            except BaseException:
                # Who waits for a silent server stops waiting.
                self.pool.abort()
                raise
        return self._find_out(space, here), step_ns, here, there

    def _scan_here(self) -> Scan:
        """Scan the workspace; where paths were named, what their archives make belongs to them."""
        here = scan_folder(self.workspace, self.areas, self.allowed)
        self.held = self.request.hold()
        if self.held:
            self.allowed = self._filter(self.request.only)
            for path in self.held:
                here.entries.pop(path, None)
        if not self.request.only:
            return here
        left = self.state.left_there()
        members: set[RelPath] = set()
        for path in to_unpack(here.entries):
            entry = here.entries[path]
            if entry.kind is Kind.FILE:
                members.update(self.archives.contents(path, entry)[2])
        for path in self.request.only:
            members.update(left.get(path, ()))
        if not members:
            return here
        self.allowed = self._filter((*self.request.only, *members))
        return scan_folder(self.workspace, self.areas, self.allowed)

    def _filter(self, only: Iterable[RelPath]) -> Predicate:
        chosen = build_filter(exclude=self.settings.exclude, include=self.settings.include, only=only)
        held = self.held
        if not held:
            return chosen
        return lambda path, is_folder: path not in held and chosen(path, is_folder)

    def _greet(self) -> tuple[Profile, int | None]:
        """Connect, and learn what is known of the space's ways with archives and how exact its listings are."""

        def learn(transport: Transport) -> tuple[Profile, int | None]:
            if self.settings.jobs is None and not transport.capabilities.overlaps:
                asked = self.clocks.monotonic()
                transport.stat(profile.DECLARATION)
                if self.clocks.monotonic() - asked > _FAR_S:
                    self.pool.limit = FAR_JOBS
            step_ns = transport.capabilities.mtime_step_ns
            now_s = self.clocks.now().timestamp()
            token = random_token()
            space = profile.current(transport, self.state, token=token, may_probe=False, now_s=now_s)
            return space, step_ns

        return self.pool.ask(learn)

    def _find_out(self, space: Profile, here: Scan) -> Profile:
        """Return what the space does with archives; one that says nothing of itself is probed by the first run that would send it one."""
        if (
            space.source == "assumed"
            and self.policy.sends
            and not self.request.dry_run
            and any(here.entries[path].kind is Kind.FILE for path in to_unpack(here.entries))
        ):
            self.listener(
                Note(text="finding out what the space does with archives (some seconds, once a week)")
            )
            now_s = self.clocks.now().timestamp()
            with self.pool.lease() as transport:
                space = profile.probe(
                    transport,
                    token=random_token(),
                    now_s=now_s,
                    clock=self.clocks.monotonic,
                    sleep=self.clocks.sleep,
                )
            profile.remember(self.state, space, now_s=now_s)
            does = "extracts them" if space.extracts else "does not extract them: every file is sent as it is"
            self.listener(Note(text=f"the space {does}"))
        if space.source == "probed" and space.left_behind:
            self.listener(
                Note(text=f"the probe could not delete {', '.join(space.left_behind)} in the space")
            )
        if self.policy.delete and not space.extracts and self.state.published():
            self.listener(
                Note(
                    text="the space extracted archives before and does not say so any more: nothing is deleted in this run"
                )
            )
            self.policy = msgspec.structs.replace(self.policy, delete=False)
        return space

    def _admit(self, here: Scan, there: Scan) -> None:
        """Take out of both scans what one of them could not see, and the areas that refuse.

        Raises:
            Refused: an area was named on the command line and the space refuses it.
            ConfigError: a path of the command line is on neither side.
        """
        for area, reply in there.refused_areas.items():
            if area in self.settings.named_areas:
                raise Refused(
                    f"{area}: the space refuses to list it ({reply}); only the owner of the group may read and change group_data by FTP",
                    op="list",
                    path=area,
                    reply=reply,
                )
            self.listener(
                Note(text=f"{area} is left out: the space refuses to list it ({reply}); its owner may")
            )
        self.problems = [*here.blocked, *there.blocked]
        closed = [*self.problems, *(Blocked(path=RelPath(area), reason="") for area in there.refused_areas)]
        here.entries = without_blocked(here, closed)
        there.entries = without_blocked(there, closed)
        self._closed = tuple(item.path for item in closed)
        for path in () if self.request.missing_ok else self.request.only:
            sides = (here.entries, there.entries, self.known)
            if not any(item.is_below(path) for side in sides for item in side):
                raise ConfigError(
                    f"{path} is neither in the workspace nor in the space; paths count from {self.workspace}"
                )

    def _follow_clock(self, here: Scan, there: Scan, step_ns: int | None) -> None:
        """Let the base move along with the clock of a space that lists local times."""
        move, moved = movedclock.follow(
            self.known,
            here=here.entries,
            there=there.entries,
            step_ns=step_ns,
            pool=self.pool,
            workspace=self.workspace,
        )
        if not moved:
            return
        self.known = {**self.known, **moved}
        if not self.request.dry_run:
            movedclock.remember(self.state, moved)
        minutes = abs(move) // movedclock.MINUTE_NS
        self.listener(
            Note(
                text=f"the space shows its files {minutes} minutes {'later' if move > 0 else 'earlier'} than before, as after a"
                f" change of daylight saving; {len(moved):,} dates follow, since the content is the same"
            )
        )

    def _situation(self, here: Scan, there: Scan, space: Profile, step_ns: int | None) -> Situation:
        base = self.known
        if self._closed or self.allowed is not everything or not set(AREAS).issubset(self.areas):
            base = {
                path: agreed
                for path, agreed in base.items()
                if path.area in self.areas
                and self.allowed(path, _is_folder(agreed))
                and not any(path.is_below(item) for item in self._closed)
            }
        archives = self.archives.facts(here.entries, self.allowed)
        left = self.state.left_there()
        situation = Situation(
            local=here.entries,
            remote=there.entries,
            base=base,
            archives=archives,
            departed={
                path: members
                for path, members in left.items()
                if path not in here.entries and self.allowed(path, False)  # noqa: FBT003  # Predicate's shape
            },
            step_ns=step_ns,
            habits=Habits(
                # Members in a folder of their own would be other paths than those predicted: such files are nobody's here.
                extracts=space.extracts and space.into == "same-folder",
                keeps_archive=space.keeps_archive,
                overwrites=space.overwrites,
            ),
        )
        self.rest = unsettled(situation, checksum=self.policy.checksum)
        paths = undecided(situation, checksum=self.policy.checksum, rest=self.rest)
        return (
            msgspec.structs.replace(situation, same_content=self._compare_contents(paths))
            if paths
            else situation
        )

    def _compare_contents(self, paths: list[RelPath]) -> dict[RelPath, bool]:
        """Compare by the server's hash where it offers one, else by reading."""
        self.listener(
            Note(
                text=f"comparing the content of {len(paths)} file{'' if len(paths) == 1 else 's'} of equal size"
            )
        )
        found = list(compare_all(self.pool, self.workspace, paths))
        # What could not be compared is not equal: a conflict keeps both versions.
        return {item.path: item.same for item in found}

    # --- archives come first when fetching: only their content tells which other files need no traffic
    def _fetch_archives(self, situation: Situation, space: Profile, step_ns: int | None) -> Report | None:
        if not (situation.habits.extracts and self.policy.extract_local):
            return None
        draft = plan(situation, self.policy, rest=self.rest)
        wanted = tuple(
            action
            for action in draft.actions
            if isinstance(action, Download) and tool_for(action.path.name) is not None
        )
        if not wanted:
            return None
        needed = {folder for action in wanted for folder in action.path.ancestors()}
        folders = tuple(
            action
            for action in draft.actions
            if isinstance(action, MakeFolder) and action.side is Side.LOCAL and action.path in needed
        )
        report = execute(Plan(actions=(*folders, *wanted)), self._means(space, step_ns))
        arrived = {outcome.path for outcome in report.outcomes if outcome.status is Status.DONE}
        for action in wanted:
            if action.path in arrived:
                self._adopt_published(action.path, situation)
        return report

    def _adopt_published(self, archive: RelPath, situation: Situation) -> None:
        """An archive that came from the space, with its members standing there as predicted, is extracted there already."""
        entry = self.local.current(archive)
        if entry is None:
            return
        status, error, members = self.archives.contents(archive, entry)
        # What somebody has put in a member's place since is his, and was not left by the extraction.
        standing = {
            path: there
            for path, member in members.items()
            if (there := situation.remote.get(path)) is not None
            and is_extracted(there, member, step_ns=situation.step_ns)
        }
        files = [path for path, item in members.items() if item.kind is Kind.FILE]
        if files and not any(path in situation.remote for path in files):
            return
        with self.state.transaction():
            self.state.publish(archive, entry, status=status, error=error)
            self.state.leave(archive, standing)

    # --- after the plan
    def _means(self, space: Profile, step_ns: int | None) -> Means:
        log = RelPath.parse(space.log.strip("/")) if space.log else None
        return Means(
            pool=self.pool,
            side_pool=self.side_pool,
            local=self.local,
            state=self.state,
            arrivals=Arrivals(
                self.side_pool,
                log=log,
                removes=not space.keeps_archive,
                timeout_s=self.settings.wait_timeout_s,
                clock=self.clocks.monotonic,
                sleep=self.clocks.sleep,
            ),
            listener=self.listener,
            extract_here=self.archives.extract,
            retries=self.settings.retries,
            wait=self.request.wait,
            step_ns=step_ns,
            keeps_times=space.keeps_times is not False,
            throttle=self.throttle,
            clock=self.clocks.monotonic,
        )

    def _settle_archives(self, situation: Situation, chosen: Plan) -> None:
        """Drop what is known of archives that are gone here, once nothing of theirs is left to be done."""
        left_alone = {action.path for action in chosen.actions if isinstance(action, Skip)}
        settled = [path for path, members in situation.departed.items() if left_alone.isdisjoint(members)]
        if settled:
            with self.state.transaction():
                for path in settled:
                    self.state.unpublish(path)

    def _tell(self, chosen: Plan) -> Report:
        """Report a plan as it stands."""
        for note in chosen.notes:
            self.listener(Note(text=note))
        outcomes = tuple(outcome_of(action, Status.PLANNED) for action in chosen.actions)
        for outcome in outcomes:
            self.listener(outcome)
        return Report(outcomes=outcomes, unchanged=chosen.unchanged)


def _is_folder(agreed: Agreed) -> bool:
    entry = agreed.local or agreed.remote
    return entry is not None and entry.kind is Kind.FOLDER


def _joined(first: Report, second: Report) -> Report:
    return Report(
        outcomes=(*first.outcomes, *second.outcomes),
        unchanged=second.unchanged,
        bytes_sent=first.bytes_sent + second.bytes_sent,
        bytes_received=first.bytes_received + second.bytes_received,
    )
