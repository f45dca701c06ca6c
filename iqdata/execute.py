"""Carry out a plan: look again just before anything is replaced or deleted, report each action, record what was seen.

Refuses to decide: where the world is not as the plan expects, the path is left alone and reported as a conflict.
"""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from iqdata.actions import (
    Action,
    Agreed,
    Conflict,
    Delete,
    Download,
    ExtractLocal,
    ExtractRemote,
    Keep,
    MakeFolder,
    Plan,
    RenameRemote,
    Side,
    Skip,
    Upload,
)
from iqdata.compare import is_extracted, same_member, same_remote, twins
from iqdata.errors import IqDataError, Missing, TransportError, WorldMoved
from iqdata.events import Note, Report, Status, Totals
from iqdata.ledger import Ledger
from iqdata.lookout import Lookout
from iqdata.means import Means, message_of
from iqdata.paths import RelPath
from iqdata.scan import list_folders
from iqdata.state import AWAITED, RESENDING, SENDING
from iqdata.transfers import Downloads, Uploads, moved_there
from iqdata.transports.base import Transport
from iqdata.tree import FOLDER, Entry, Kind

A = TypeVar("A", bound=Action)

_WORTH_THREADS = 16
"""Fewer folders than this are made one after the other."""


def execute(plan: Plan, means: Means) -> Report:
    """Run a plan to its end and return what became of each action.

    A failed item is an outcome; the run goes on. `KeyboardInterrupt` ends it early, after what is finished has been recorded.

    Raises:
        TransportError: the space cannot be reached any more at all.
    """
    return _Execution(plan, means).run()


class _Execution:
    """One plan being carried out; the methods are its phases."""

    def __init__(self, plan: Plan, means: Means) -> None:
        self.plan = plan
        self.m = means
        self.ledger = Ledger(means.listener)
        self.lookout = Lookout(means.side_pool, clock=means.clock)
        self.uploads = Uploads(means, self.ledger, self.lookout)
        self.downloads = Downloads(means, self.ledger)
        self.unsettled_archives: dict[RelPath, str] = {}

    def run(self) -> Report:
        started = self.m.clock()
        moving = [action for action in self.plan.actions if isinstance(action, Upload | Download)]
        self.ledger.tell(
            Totals(files=len(moving), size_bytes=sum(action.entry.size_bytes for action in moving))
        )
        for note in self.plan.notes:
            self.ledger.tell(Note(text=note))
        with self.m.state.transaction():
            self.m.state.agree(self.plan.adopted)
            self.m.state.forget(self.plan.forgotten)
        try:
            self._phases()
        except KeyboardInterrupt:
            self.ledger.stop.set()
            done = sum(1 for outcome in self.ledger.outcomes if outcome.status is Status.DONE)
            self.ledger.tell(
                Note(text=f"interrupted after {done} finished actions; the next run goes on from there")
            )
            raise
        finally:
            self._record()
        return Report(
            outcomes=tuple(self.ledger.outcomes),
            unchanged=self.plan.unchanged,
            bytes_sent=self.ledger.bytes_sent,
            bytes_received=self.ledger.bytes_received,
            elapsed_s=self.m.clock() - started,
        )

    def _phases(self) -> None:
        for skip in self._of(Skip):
            self.ledger.done(skip)
        for conflict in self._of(Conflict):
            self._each(conflict, self._keep_loser)
        self._make_folders()
        self._archives()
        for extraction in self._of(ExtractLocal):
            self._each(extraction, self._extract_here)
        archives = {action.path for action in self._of(ExtractRemote)}
        self.uploads.send(
            action for action in self._of(Upload) if action.path not in archives and self._may(action)
        )
        for rename in self._of(RenameRemote):
            if rename.path not in archives:
                self._each(rename, self._rename)
        self.downloads.fetch(action for action in self._of(Download) if self._may(action))
        for delete in self._of(Delete):
            self._each(delete, self._delete)

    def _of(self, kind: type[A]) -> list[A]:
        return [action for action in self.plan.actions if isinstance(action, kind)]

    def _each(self, action: A, act: Callable[[A], None]) -> None:
        """Do one action; what goes wrong with it is its outcome."""
        try:
            act(action)
        except (IqDataError, OSError) as exc:
            self.ledger.failed(action, message_of(exc))

    def _may(self, action: Upload | Download) -> bool:
        """Tell whether a transfer may go ahead; one that may not is reported as failed."""
        if action.path in self.ledger.blocked:
            reason = "what stands there could not be kept first"
        elif (
            isinstance(action, Upload)
            and action.after is not None
            and action.after in self.unsettled_archives
        ):
            reason = f"{action.after} makes this file too, and {self.unsettled_archives[action.after]}"
        else:
            return True
        self.ledger.failed(action, f"not {'sent' if isinstance(action, Upload) else 'fetched'}: {reason}")
        return False

    # --- conflicts and folders
    def _keep_loser(self, action: Conflict) -> None:
        match action.keep, action.loser:
            case Keep.BESIDE, Side.REMOTE:
                copy = _named(action)
                self._expect_there(action.path, action.expect)
                self._expect_there(copy, None)
                self._rename_there(action.path, copy, action.expect)
                self.lookout.changed(action.path, None)
                self.lookout.changed(copy, action.expect)
            case Keep.BESIDE, Side.LOCAL:
                self.m.local.rename_aside(action.path, _named(action), expected=action.expect)
            case Keep.TRASH, Side.REMOTE:
                self._expect_there(action.path, action.expect)
                with self.m.local.trash_path(action.path).open("wb") as kept:
                    self.m.pool.ask(lambda transport: _read_again(transport, action.path, kept))
            case _:
                pass  # a local loser goes to the trash when it is replaced; "as is" replaces nothing
        self.ledger.done(action)

    def _make_folders(self) -> None:
        """Make folders, those of one depth side by side: none of them lies in another."""
        folders = self._of(MakeFolder)
        if len(folders) < _WORTH_THREADS:
            for folder in folders:
                self._each(folder, self._make_folder)
            return
        levels: dict[int, list[MakeFolder]] = {}
        for folder in folders:
            levels.setdefault(folder.path.count("/"), []).append(folder)
        with ThreadPoolExecutor(max_workers=self.m.pool.limit, thread_name_prefix="folders") as workers:
            for _, level in sorted(levels.items()):
                try:
                    for _ in workers.map(lambda folder: self._each(folder, self._make_folder), level):
                        pass
                except BaseException:
                    workers.shutdown(wait=False, cancel_futures=True)
                    self.m.pool.abort()
                    raise

    def _make_folder(self, action: MakeFolder) -> None:
        if action.side is Side.LOCAL:
            self.m.local.make_folder(action.path)
        else:
            self.m.pool.ask(lambda transport: transport.make_folder(action.path))
        self.ledger.agree(action.path, Agreed(FOLDER, FOLDER))
        self.ledger.done(action)

    # --- archives: sent and extracted before anything loose
    def _archives(self) -> None:
        extractions = {action.path: action for action in self._of(ExtractRemote) if self._may_extract(action)}
        if not extractions:
            return
        uploads = {action.path: action for action in self._of(Upload) if action.path in extractions}
        renames = {action.path: action for action in self._of(RenameRemote) if action.path in extractions}
        published = {
            path: action.entry for path, action in extractions.items() if path not in {*uploads, *renames}
        }
        if self.m.wait:
            self.m.arrivals.mark(published)
        with self.m.state.transaction():
            # Noted before it happens: after a crash in between, the next run waits for an extraction or sends again.
            for path, action in extractions.items():
                if path not in published:
                    self.m.state.publish(path, action.entry, status=_before(uploads.get(path)))
        for group in _groups(extractions):
            # Within a group nothing clashes: sent side by side, awaited together; the next group only after that.
            self.uploads.send(uploads[path] for path in group if path in uploads)
            for path in group:
                if path in renames:
                    self._each(renames[path], self._rename)
            for path in group:
                if path not in self.ledger.blocked:
                    # Up to here a crash would leave it as being sent, from here on as sent.
                    with self.m.state.transaction():
                        self.m.state.publish(path, extractions[path].entry, status=AWAITED)
                    self._each(extractions[path], self._await)

    def _may_extract(self, action: ExtractRemote) -> bool:
        """Tell whether an archive may go: not when it would overwrite what could not be kept first."""
        unkept = next((member for member in action.members if member in self.ledger.blocked), None)
        if unkept is None:
            return True
        self.unsettled_archives[action.path] = "it was not sent"
        self.ledger.failed(action, f"not sent: {unkept}, which it makes too, could not be kept first")
        return False

    def _await(self, action: ExtractRemote) -> None:
        if not self.m.wait:
            self.unsettled_archives[action.path] = "its extraction in the space was not waited for"
            self.ledger.done(action, status=Status.SKIPPED)
            return
        arrival = self.m.arrivals.wait_for(action.path, action.entry, action.members)
        if arrival.status is None:
            self.unsettled_archives[action.path] = "its extraction in the space has not been seen to end"
            missing = "; ".join(arrival.differences[:3])
            raise TransportError(
                f"the space has not extracted {action.path} in time ({missing or 'no line in its log'});"
                " the next run looks again, --wait-timeout S waits longer",
                op="extract",
                path=action.path,
            )
        with self.m.state.transaction():
            self.m.state.publish(action.path, action.entry, status=arrival.status, error=arrival.error)
            self.m.state.leave(action.path, self._left(action, arrival.standing))
        for path, entry in arrival.standing.items():
            self.lookout.changed(path, entry)
            member = action.members[path]
            here = self.m.local.current(path)
            if here is not None and same_member(here, member) and same_member(entry, member):
                self.ledger.agree(path, Agreed(here, entry))
        if action.inert and arrival.status != "ok":
            # The name is an archive's, the content is not: as previewed, the file stays as it is.
            self.ledger.done(action, status=Status.SKIPPED)
        elif arrival.status != "ok":
            self.ledger.failed(
                action, f"the space says {arrival.status}: {arrival.error or 'no reason given'}"
            )
        elif arrival.differences:
            shown = "; ".join(arrival.differences[:3])
            self.ledger.failed(action, f"extraction differs from the preview: {shown}")
        else:
            self.ledger.done(action)

    def _left(self, action: ExtractRemote, standing: Mapping[RelPath, Entry]) -> Mapping[RelPath, Entry]:
        """Return what the extraction left: not what somebody has put, or had put before, in a member's place.

        What was sent just now may carry the space's own zone or, where it keeps no times, its own time.
        """
        fresh = action.path in self.ledger.sent
        if fresh and not self.m.keeps_times:
            return standing
        zoneless = fresh and action.path.endswith(".zip")
        return {
            path: entry
            for path, entry in standing.items()
            if is_extracted(entry, action.members[path], step_ns=self.m.step_ns, zoneless=zoneless)
        }

    def _rename(self, action: RenameRemote) -> None:
        self._expect_there(action.source, action.expect)
        self._expect_there(action.path, None)
        self._rename_there(action.source, action.path, action.expect)
        self.lookout.changed(action.source, None)
        self.lookout.changed(action.path, action.expect)
        self.ledger.removed.append(action.source)
        self.ledger.sent[action.path] = action.entry
        self.ledger.undated.add(action.path)
        self.ledger.done(action)

    def _rename_there(self, source: RelPath, target: RelPath, expect: Entry) -> None:
        """Rename in the space; a try that got through while its reply was lost counts as done."""
        try:
            self.m.pool.ask(lambda transport: transport.rename(source, target))
        except Missing:
            there = self.m.pool.ask(lambda transport: transport.stat(target))
            if not same_remote(there, expect, step_ns=self.m.step_ns):
                raise

    # --- extraction here
    def _extract_here(self, action: ExtractLocal) -> None:
        stage = self.m.local.new_temporary()
        stage.mkdir()
        try:
            note = self.m.extract_here(action.path, stage)
            self.m.local.flush()
            problems = self._place_members(action, stage)
            # Noted afterwards: until then what stands here is still known as the work of the version before.
            note()
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        if problems:
            self.ledger.failed(action, "; ".join(problems[:3]))
        else:
            self.ledger.done(action)

    def _place_members(self, action: ExtractLocal, stage: Path) -> list[str]:
        """Move the wanted members from the stage to their places and return what went wrong."""
        problems = []
        folder = action.path.parent
        for path, member in sorted(action.members.items()):
            source = stage / path.removeprefix(f"{folder}/")
            try:
                if member.kind is Kind.FOLDER:
                    self.m.local.make_folder(path)
                elif not source.is_symlink() and source.is_file():
                    self.m.local.make_folder(path.parent)
                    self.m.local.place(source, path, expected=action.expect.get(path))
                else:
                    problems.append(f"{path} did not come out of {action.path}")
            except (IqDataError, OSError) as exc:
                problems.append(message_of(exc))
        return problems

    # --- deletions
    def _delete(self, action: Delete) -> None:
        try:
            if action.side is Side.LOCAL:
                self.m.local.delete(action.path, expected=action.expect)
            else:
                self._expect_there(action.path, action.expect)
                with contextlib.suppress(Missing):  # an earlier try got through, only its reply was lost
                    self.m.pool.ask(lambda transport: transport.remove(action.path, action.expect.kind))
                self.lookout.changed(action.path, None)
        except WorldMoved as exc:
            self.ledger.world_moved(action, exc)
            return
        self.ledger.removed.append(action.path)
        self.ledger.done(action)

    def _expect_there(self, path: RelPath, expected: Entry | None) -> None:
        """Look at the space again.

        Raises:
            WorldMoved: it is not as the plan saw it.
        """
        there = self.lookout.current(path)
        if not same_remote(there, expected, step_ns=self.m.step_ns):
            raise moved_there(path, there, expected)

    # --- the base
    def _record(self) -> None:
        """Look at every folder that was written to and record what both sides now agree on."""
        with self.m.state.transaction():
            self.m.state.agree(self.ledger.agreed)
            self.m.state.forget(self.ledger.removed)
        # Who interrupts does not want to wait for listings; what is not recorded is found equal by the next run.
        if self.ledger.stop.is_set():
            return
        try:
            for folder, listing in list_folders(self.m.pool, {path.parent for path in self.ledger.sent}):
                with self.m.state.transaction():
                    self.m.state.agree(self._arrived(folder, listing))
        except TransportError as exc:
            self.ledger.tell(
                Note(text=f"what was sent could not be looked at again ({exc}); the next run does")
            )

    def _arrived(self, folder: RelPath, listing: Mapping[str, Entry]) -> dict[RelPath, Agreed]:
        """Return those of the files sent into a folder that its listing shows."""
        found = {}
        for name, there in listing.items():
            path = folder.joined(name)
            entry = self.ledger.sent.get(path)
            if entry is not None and self._is_what_was_sent(path, entry, there):
                found[path] = Agreed(entry, there)
        return found

    def _is_what_was_sent(self, path: RelPath, entry: Entry, there: Entry) -> bool:
        """Tell whether a listing shows our file, and not one that somebody has put in its place since."""
        if there.kind is not entry.kind or there.size_bytes != entry.size_bytes:
            return False
        return path in self.ledger.undated or twins(entry, there, step_ns=self.m.step_ns)


def _before(upload: Upload | None) -> str:
    """Return the status of an archive that is about to be sent."""
    again = upload is not None and upload.expect is not None and same_member(upload.expect, upload.entry)
    return RESENDING if again else SENDING


def _groups(extractions: Mapping[RelPath, ExtractRemote]) -> list[list[RelPath]]:
    """Part archives into groups to be sent one after the other: two that make the same file are never in one group."""
    groups: list[tuple[set[RelPath], list[RelPath]]] = []
    for path in sorted(extractions):
        files = {item for item, entry in extractions[path].members.items() if entry.kind is Kind.FILE}
        last_clash = max(
            (index for index, (taken, _) in enumerate(groups) if not taken.isdisjoint(files)), default=-1
        )
        if last_clash + 1 == len(groups):
            groups.append((set(), []))
        taken, members = groups[last_clash + 1]
        taken |= files
        members.append(path)
    return [members for _, members in groups]


def _named(action: Conflict) -> RelPath:
    if action.copy is None:
        raise WorldMoved(f"{action.path}: the plan has no name for the losing version")
    return action.copy


def _read_again(transport: Transport, path: RelPath, sink: BinaryIO) -> None:
    sink.seek(0)
    sink.truncate()
    transport.read_into(path, sink, on_bytes=lambda _size: None)
