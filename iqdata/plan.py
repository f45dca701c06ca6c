"""Two trees, what both last agreed on and a policy → a list of actions, each with what it expects to find.

Refuses to act and to look anything up: whatever needs I/O (contents of archives, equality by hash) comes in as a value.

The words: `here`, `there` and `agreed` are the local, remote and base entry of one path; a path is *derived* when an
archive claims it. The target of a mirror is: loose files + members of the archives + the archives, where the space keeps them.
"""

from collections.abc import Mapping

from iqdata.actions import (
    Agreed,
    ArchiveFacts,
    Conflict,
    ConflictPolicy,
    Delete,
    Direction,
    Download,
    ExtractLocal,
    ExtractRemote,
    Keep,
    MakeFolder,
    Plan,
    Policy,
    RenameRemote,
    Side,
    Situation,
    Skip,
    Upload,
)
from iqdata.compare import (
    Unsettled,
    Verdict,
    compare,
    same_local,
    same_member,
    same_remote,
    unsettled,
)
from iqdata.paths import AREAS, RelPath, comparison_key
from iqdata.rules import conflict_name, tool_for
from iqdata.tree import Entry, Kind

# --- Archives -----------------------------------------------------------------------------------------------------


def _claims(situation: Situation) -> dict[RelPath, tuple[RelPath, Entry]]:
    """Return who makes what: path → (archive, entry). Of two archives the one whose path sorts later wins."""
    if not situation.habits.extracts:
        return {}
    claims: dict[RelPath, tuple[RelPath, Entry]] = {}
    for archive in sorted(situation.archives):
        for path, entry in situation.archives[archive].members.items():
            if path not in situation.archives:  # a member never replaces an archive of the user's
                claims[path] = (archive, entry)
    return claims


def clashing_archives(archives: Mapping[RelPath, ArchiveFacts]) -> list[tuple[RelPath, RelPath, RelPath]]:
    """Return (path, earlier archive, later archive) for each file that two archives make."""
    owner: dict[RelPath, RelPath] = {}
    clashes = []
    for archive in sorted(archives):
        for path, entry in archives[archive].members.items():
            if entry.kind is Kind.FOLDER:
                continue
            if path in owner:
                clashes.append((path, owner[path], archive))
            owner[path] = archive
    return clashes


def _pending(archive: RelPath, situation: Situation) -> bool:
    """Tell whether the content that this archive has here is not (known to be) extracted in the space."""
    return not situation.archives[archive].current_there


def undecided(
    situation: Situation, *, checksum: bool = False, rest: Unsettled | None = None
) -> list[RelPath]:
    """Return the paths whose equality only their content can tell, for `Situation.same_content`; `rest` as for `plan`."""
    claims = _claims(situation)
    found = []
    for path in sorted((rest or unsettled(situation, checksum=checksum)).paths):
        here, there = situation.local.get(path), situation.remote.get(path)
        if here is None or there is None or here.kind is not Kind.FILE or there.kind is not Kind.FILE:
            continue
        claim = claims.get(path)
        if claim is not None and _pending(claim[0], situation):
            continue
        if compare(path, here, there, situation, checksum=checksum) is Verdict.UNDECIDED:
            found.append(path)
    return found


# --- The plan -----------------------------------------------------------------------------------------------------


def plan(situation: Situation, policy: Policy, *, rest: Unsettled | None = None) -> Plan:
    """Decide what a run does.

    Args:
        situation: both sides, the base, and what is known of archives.
        policy: what the user asked for.
        rest: what `unsettled` says of the situation, where that is known already.

    Every path of either side or of the base ends in an action, in `adopted`, in `forgotten` or in `unchanged`.
    Applying the plan and planning again gives no action.
    """
    return _Planner(situation, policy, rest).run()


class _Planner:
    """One plan in the making; the lists are the phases in which a run proceeds."""

    def __init__(self, situation: Situation, policy: Policy, rest: Unsettled | None) -> None:
        self.s = situation
        self.policy = policy
        self.rest = rest
        self.claims = _claims(situation)
        self.publishing: set[RelPath] = set()
        self.awaiting: set[RelPath] = set()
        self.rewritten: set[RelPath] = set()
        self.rewritten_late: set[RelPath] = set()
        self.conflicts: list[Conflict] = []
        self.folders: list[MakeFolder] = []
        self.archive_uploads: list[Upload | RenameRemote | ExtractRemote] = []
        self.uploads: list[Upload | RenameRemote] = []
        self.downloads: list[Download] = []
        self.deletes: list[Delete] = []
        self.skips: list[Skip] = []
        self.adopted: dict[RelPath, Agreed] = {}
        self.forgotten: list[RelPath] = []
        self.notes: list[str] = []
        self.unchanged = 0
        self.to_extract: dict[RelPath, dict[RelPath, Entry]] = {}
        self.replaced_here: dict[RelPath, Entry] = {}

    def run(self) -> Plan:
        archives = sorted(self.s.archives)
        for path in archives:
            self._archive(path)
        for path in self._rest():
            if path not in self.s.archives:
                self._path(path)
        for path, earlier, later in clashing_archives(self.s.archives):
            if not {earlier, later}.isdisjoint(self.publishing | set(self.to_extract)):
                self.notes.append(f"{path} is made by {earlier} and by {later}; the later one wins")
        self._detect_renames()
        self._stale_members()
        self._restore_folders()
        self._delete_folders()
        self._names_alike()
        extracts = [
            ExtractLocal(
                path=archive,
                entry=self.s.local[archive],
                members=members,
                expect={path: self.replaced_here[path] for path in members if path in self.replaced_here},
            )
            for archive, members in sorted(self.to_extract.items())
        ]
        return Plan(
            actions=(
                *self.conflicts,
                *self.folders,
                *self.archive_uploads,
                *extracts,
                *self.uploads,
                *self.downloads,
                *self.deletes,
                *self.skips,
            ),
            adopted=self.adopted,
            forgotten=tuple(self.forgotten),
            unchanged=self.unchanged,
            notes=tuple(self.notes),
        )

    def _rest(self) -> list[RelPath]:
        """Return the paths to be judged, in order; the files among the others are unchanged."""
        rest = self.rest or unsettled(self.s, checksum=self.policy.checksum)
        # An archive, and what one makes, is judged even where it is as the base has it.
        judged = {path for path in (*self.claims, *self.s.archives) if path not in rest.paths}
        self.unchanged += rest.settled_files - sum(
            1 for path in judged if (here := self.s.local.get(path)) is not None and here.kind is Kind.FILE
        )
        return sorted(rest.paths | judged)

    # An archive: a file like any other, whose arrival in the space makes more files.
    def _archive(self, path: RelPath) -> None:
        facts = self.s.archives[path]
        here, there = self.s.local[path], self.s.remote.get(path)
        again = self._overwritten(facts)
        before, settled = len(self.uploads), self.unchanged
        removed = there is None and not self.s.habits.keeps_archive and (facts.current_there or facts.awaited)
        if removed:
            # The space removes what it has extracted: that is no deletion, and the content is there.
            if not self.policy.sends or (facts.current_there and not again):
                self.unchanged += 1
                return
            if again or not facts.sent:
                reason = (
                    f"sent again: an earlier archive overwrites {min(again)}"
                    if again
                    else "whether it was sent before is not known"
                )
                self.uploads.append(Upload(path=path, entry=here, expect=None, reason=reason))
        else:
            self._file(path, here, there, self.s.base.get(path))
        if len(self.uploads) > before:
            upload = self.uploads.pop()
            if facts.unreadable is not None:
                self.skips.append(Skip(path=path, reason=f"not sent: {facts.unreadable}", failed=True))
                return
            self.archive_uploads.append(upload)
        elif (
            (again or facts.resend)
            and self.unchanged > settled
            and self.policy.sends
            and self.s.habits.extracts
        ):
            which = min(again) if again else "files"
            reason = f"sent again: an earlier archive overwrites {which}, which this one makes too"
            self.archive_uploads.append(Upload(path=path, entry=here, expect=there, reason=reason))
            self.unchanged -= 1
        elif not (facts.awaited and self.policy.sends and (removed or self.unchanged > settled)):
            return
        else:
            # It stands there already; only the end of its extraction has not been seen.
            self.awaiting.add(path)
        if self.s.habits.extracts:
            members = facts.members
            if not self.s.habits.overwrites:
                # What stands there, or comes out of an earlier archive of this run, stays as it is.
                taken = (self.rewritten, self.rewritten_late, self.s.remote)
                members = {
                    member: entry
                    for member, entry in members.items()
                    if not any(member in there for there in taken)
                }
            if path in self.awaiting:
                # What a later archive has made in its place since tells nothing of this one's end.
                members = {
                    member: entry
                    for member, entry in members.items()
                    if self.claims.get(member, (path, entry))[0] == path
                }
            self.publishing.add(path)
            rewritten = self.rewritten_late if path in self.awaiting else self.rewritten
            rewritten.update(member for member, entry in facts.members.items() if entry.kind is Kind.FILE)
            self.archive_uploads.append(
                ExtractRemote(path=path, entry=here, members=members, inert=facts.inert)
            )

    def _overwritten(self, facts: ArchiveFacts) -> set[RelPath]:
        """Return what earlier archives overwrite of what this one makes, so that it has to go again."""
        if not self.s.habits.overwrites:
            return set()
        # Where both are still to come out, neither has overwritten the other; what does so later is seen then.
        found = self.rewritten.intersection(facts.members)
        if not facts.awaited:
            found |= self.rewritten_late.intersection(facts.members)
        return found

    def _path(self, path: RelPath) -> None:
        here, there, agreed = self.s.local.get(path), self.s.remote.get(path), self.s.base.get(path)
        if (here or there or agreed) is None and path not in self.claims:
            return
        kinds = {entry.kind for entry in (here, there) if entry is not None}
        claim = self.claims.get(path)
        if Kind.OTHER in kinds:
            which = "here" if here is not None and here.kind is Kind.OTHER else "in the space"
            self.skips.append(
                Skip(
                    path=path,
                    reason=f"a link or special file {which} cannot be mirrored; exclude it or replace it by a copy",
                    failed=True,
                )
            )
        elif len(kinds) == 2:
            self.skips.append(
                Skip(
                    path=path,
                    reason="a file on one side and a folder on the other; rename one of them",
                    failed=True,
                )
            )
        elif kinds == {Kind.FOLDER} or (claim is not None and claim[1].kind is Kind.FOLDER and not kinds):
            self._folder(path, here, there, agreed)
        elif claim is not None and claim[1].kind is Kind.FILE:
            self._claimed(path, here, there, agreed, *claim)
        elif here is None and there is None:
            self.forgotten.append(path)
        else:
            self._file(path, here, there, agreed)

    # A file that an archive makes: what stands here may be the archive's work or the user's own.
    def _claimed(
        self,
        path: RelPath,
        here: Entry | None,
        there: Entry | None,
        agreed: Agreed | None,
        archive: RelPath,
        member: Entry,
    ) -> None:
        facts = self.s.archives[archive]
        produced = facts.produced.get(path)
        derived_here = here is not None and (
            same_local(here, produced) or (not self.policy.checksum and same_member(here, member))
        )
        if archive in self.publishing:
            expected = member if self.s.habits.overwrites or there is None else there
            if there is not None and archive not in self.awaiting and not self._is_known(path, there, member):
                # Somebody else's content stands where the archive's member will land: it is kept under another name.
                self._keep_loser(
                    path, Side.REMOTE, there, reason=f"{archive} makes this file, and the space holds another"
                )
            if here is None or derived_here:
                self._appear_here(path, here, archive, member)
            elif not same_member(here, expected):
                self.uploads.append(
                    Upload(
                        path=path,
                        entry=here,
                        expect=expected,
                        reason=f"a loose file wins over {archive}",
                        after=archive,
                    )
                )
            else:
                self.unchanged += 1
            return
        # The archive's own content is in the space already, or will not go there in this run.
        if (
            here is None
            and there is not None
            and facts.current_there
            and not same_member(there, member)
            and not self._is_left(path, there)
        ):
            # Deleted here, and edited in the space since it was extracted: while the archive stands, something stands here.
            if self.policy.receives:
                reason = f"{archive} makes this file, and the space holds an edited one"
                self.downloads.append(Download(path=path, entry=there, expect=None, reason=reason))
            return
        if here is None or (derived_here and not same_member(here, member)):
            if there is None or same_member(there, member) or self._is_known(path, there, member):
                self._appear_here(path, here, archive, member)
                self._follow(path, there, archive, member)
            elif self.policy.receives:
                self._file(path, here, there, agreed)
            return
        if derived_here and there is not None and same_member(there, member):
            self._equal(path, here, there, agreed)
            return
        if there is None and self.policy.sends:
            # A member cannot be deleted while its archive stands: its next extraction would bring it back.
            reason = f"missing in the space, where {archive} makes it"
            self.uploads.append(Upload(path=path, entry=here, expect=None, reason=reason))
            return
        if derived_here and there is None:
            self.unchanged += 1
            return
        self._file(path, here, there, agreed)

    def _is_known(self, path: RelPath, there: Entry, member: Entry) -> bool:
        """Tell whether the remote content is one that this workspace gave or that equals what will come."""
        if same_member(there, member):
            return True
        agreed = self.s.base.get(path)
        if (
            agreed is not None
            and agreed.remote is not None
            and same_remote(there, agreed.remote, step_ns=self.s.step_ns)
        ):
            return True
        return self._is_left(path, there)

    def _is_left(self, path: RelPath, there: Entry) -> bool:
        """Tell whether the remote content is what some archive's extraction left."""
        return any(
            same_remote(there, facts.published.get(path), step_ns=self.s.step_ns)
            for facts in self.s.archives.values()
        )

    def _appear_here(self, path: RelPath, here: Entry | None, archive: RelPath, member: Entry) -> None:
        """Plan that a derived file stands here too, where the run may write here."""
        if not (self.policy.receives and self.policy.extract_local) or (
            here is not None and same_member(here, member)
        ):
            self.unchanged += here is not None
            return
        self.to_extract.setdefault(archive, {})[path] = member
        if here is not None:
            self.replaced_here[path] = here

    def _follow(self, path: RelPath, there: Entry | None, archive: RelPath, member: Entry) -> None:
        """Send what is about to be extracted here, where the space has lost it or holds what another archive once made."""
        facts = self.s.archives[archive]
        stands = archive in self.s.remote and not facts.awaited and there is not None
        if (
            (there is None or not same_member(there, member))
            and member.mtime_ns is not None
            and (facts.current_there or stands)
            and path in self.to_extract.get(archive, ())
            and self.policy.sends
        ):
            reason = (
                f"missing in the space, where {archive} makes it"
                if there is None
                else f"{archive} makes it now"
            )
            self.uploads.append(Upload(path=path, entry=member, expect=there, reason=reason))

    def _folder(self, path: RelPath, here: Entry | None, there: Entry | None, agreed: Agreed | None) -> None:
        if here is not None and there is not None:
            if agreed is None:
                self.adopted[path] = Agreed(here, there)
        elif path in self.claims and (here is None or there is None):
            archive, member = self.claims[path]
            if here is None:
                if self.policy.receives and self.policy.extract_local:
                    self.to_extract.setdefault(archive, {})[path] = member
            elif archive not in self.publishing and self.policy.sends:
                self.folders.append(MakeFolder(path=path, side=Side.REMOTE))
        elif here is not None:
            if agreed is not None and agreed.remote is not None and self.policy.direction is Direction.BOTH:
                return  # gone there: `_delete_folders` decides
            if self.policy.sends:
                self.folders.append(MakeFolder(path=path, side=Side.REMOTE))
        elif there is not None:
            if agreed is not None and agreed.local is not None and self.policy.direction is Direction.BOTH:
                return
            if self.policy.receives:
                self.folders.append(MakeFolder(path=path, side=Side.LOCAL))

    def _file(self, path: RelPath, here: Entry | None, there: Entry | None, agreed: Agreed | None) -> None:
        if here is not None and there is not None:
            self._both_exist(path, here, there, agreed)
        elif here is not None:
            self._only_here(path, here, agreed)
        elif there is not None:
            self._only_there(path, there, agreed)

    def _both_exist(self, path: RelPath, here: Entry, there: Entry, agreed: Agreed | None) -> None:
        match compare(path, here, there, self.s, checksum=self.policy.checksum):
            case Verdict.EQUAL:
                self._equal(path, here, there, agreed)
            case Verdict.HERE:
                if self.policy.sends:
                    self.uploads.append(Upload(path=path, entry=here, expect=there, reason="changed here"))
                else:
                    self.skips.append(
                        Skip(
                            path=path,
                            reason="changed here, not in the space: left alone; push or sync sends it",
                        )
                    )
            case Verdict.THERE:
                if self.policy.receives:
                    self.downloads.append(
                        Download(path=path, entry=there, expect=here, reason="changed in the space")
                    )
                else:
                    self.skips.append(
                        Skip(
                            path=path,
                            reason="changed in the space, not here: left alone; pull or sync fetches it",
                        )
                    )
            case Verdict.BOTH | Verdict.UNDECIDED:
                self._conflict(path, here, there, known=agreed is not None)

    def _equal(self, path: RelPath, here: Entry, there: Entry, agreed: Agreed | None) -> None:
        self.unchanged += 1
        now = Agreed(here, there)
        if (
            agreed is None
            or not (
                same_local(here, agreed.local) and same_remote(there, agreed.remote, step_ns=self.s.step_ns)
            )
            or (agreed.local is not None and agreed.local.identity != here.identity)
        ):
            self.adopted[path] = now

    def _only_here(self, path: RelPath, here: Entry, agreed: Agreed | None) -> None:
        gone_there = agreed is not None and agreed.remote is not None
        if not gone_there or self.policy.direction is Direction.PUSH:
            if self.policy.sends:
                reason = "missing in the space" if gone_there else "new here"
                self.uploads.append(Upload(path=path, entry=here, expect=None, reason=reason))
            return
        assert agreed is not None  # noqa: S101  # narrows for the type checker: `gone_there` says so
        if not same_local(here, agreed.local):
            if self.policy.sends:
                self.uploads.append(
                    Upload(path=path, entry=here, expect=None, reason="deleted in the space, changed here")
                )
            return
        if self.policy.delete:
            self.deletes.append(
                Delete(path=path, side=Side.LOCAL, expect=here, reason="deleted in the space")
            )
        else:
            self.skips.append(
                Skip(
                    path=path,
                    reason="deleted in the space: kept here; --delete deletes it, push sends it again",
                )
            )

    def _only_there(self, path: RelPath, there: Entry, agreed: Agreed | None) -> None:
        gone_here = agreed is not None and agreed.local is not None
        if not gone_here or self.policy.direction is Direction.PULL:
            if self.policy.receives:
                reason = "missing here" if gone_here else "new in the space"
                self.downloads.append(Download(path=path, entry=there, expect=None, reason=reason))
            return
        assert agreed is not None  # noqa: S101  # narrows for the type checker: `gone_here` says so
        if not same_remote(there, agreed.remote, step_ns=self.s.step_ns):
            if self.policy.receives:
                self.downloads.append(
                    Download(path=path, entry=there, expect=None, reason="deleted here, changed in the space")
                )
            else:
                self.skips.append(Skip(path=path, reason="deleted here, changed in the space: kept there"))
            return
        if self.policy.delete:
            self.deletes.append(Delete(path=path, side=Side.REMOTE, expect=there, reason="deleted here"))
        else:
            self.skips.append(
                Skip(path=path, reason="deleted here: kept in the space; --delete deletes it there")
            )

    # Both sides hold content that the other has not seen: one wins, the other is kept first.
    def _conflict(self, path: RelPath, here: Entry, there: Entry, *, known: bool) -> None:
        reason = (
            "changed on both sides"
            if known
            else "different on both sides, and no earlier run to compare with"
        )
        loser = self._loser(here, there)
        if loser is Side.REMOTE and not self.policy.sends:
            self.conflicts.append(
                Conflict(
                    path=path, loser=loser, keep=Keep.AS_IS, expect=there, reason=f"{reason}; left alone"
                )
            )
        elif loser is Side.LOCAL and not self.policy.receives:
            self.conflicts.append(
                Conflict(path=path, loser=loser, keep=Keep.AS_IS, expect=here, reason=f"{reason}; left alone")
            )
        elif loser is Side.REMOTE:
            self._keep_loser(path, loser, there, reason=reason)
            expect = None if self.policy.conflict is ConflictPolicy.KEEP_BOTH else there
            self.uploads.append(Upload(path=path, entry=here, expect=expect, reason="wins the conflict"))
        else:
            copy = self._keep_loser(path, loser, here, reason=reason)
            expect = None if self.policy.conflict is ConflictPolicy.KEEP_BOTH else here
            self.downloads.append(Download(path=path, entry=there, expect=expect, reason="wins the conflict"))
            if copy is not None and self.policy.sends:
                self.uploads.append(
                    Upload(path=copy, entry=here, expect=None, reason="the losing version of a conflict")
                )

    def _loser(self, here: Entry, there: Entry) -> Side:
        match self.policy.conflict:
            case ConflictPolicy.LOCAL:
                return Side.REMOTE
            case ConflictPolicy.REMOTE:
                return Side.LOCAL
            case ConflictPolicy.NEWER:
                return Side.REMOTE if (here.mtime_ns or 0) > (there.mtime_ns or 0) else Side.LOCAL
            case ConflictPolicy.KEEP_BOTH:
                # A one-way mirror has its winner; both ways, what others already see stays where it is.
                return Side.REMOTE if self.policy.direction is Direction.PUSH else Side.LOCAL

    def _keep_loser(self, path: RelPath, loser: Side, expect: Entry, *, reason: str) -> RelPath | None:
        copy = None
        keep = Keep.TRASH
        if self.policy.conflict is ConflictPolicy.KEEP_BOTH:
            keep = Keep.BESIDE
            copy = path.parent.joined(
                conflict_name(path.name, label=f"{loser.value} {self.policy.label}".strip())
            )
            where = "the space's" if loser is Side.REMOTE else "this"
            if loser is Side.REMOTE and self.policy.receives:
                self.downloads.append(
                    Download(path=copy, entry=expect, expect=None, reason="the losing version of a conflict")
                )
            reason = f"{reason}; {where} version is kept as {copy.name!r}"
        else:
            reason = f"{reason}; the losing version goes to the trash"
        self.conflicts.append(
            Conflict(path=path, loser=loser, keep=keep, expect=expect, reason=reason, copy=copy)
        )
        return copy

    # A file that vanished under one name and appeared under another with the same inode, size and date was renamed.
    def _detect_renames(self) -> None:
        if not self.policy.sends:
            return
        vanished = {
            (agreed.local.identity, agreed.local.size_bytes, agreed.local.mtime_ns): path
            for path, agreed in self.s.base.items()
            if agreed.local is not None
            and agreed.local.kind is Kind.FILE
            and agreed.local.identity is not None
            and path not in self.s.local
            and path not in self.claims
            and same_remote(self.s.remote.get(path), agreed.remote, step_ns=self.s.step_ns)
            and agreed.remote is not None
        }
        if not vanished:
            return
        sources: set[RelPath] = set()

        def renamed(action: Upload) -> RenameRemote | Upload:
            entry = action.entry
            source = vanished.pop((entry.identity or 0, entry.size_bytes, entry.mtime_ns), None)
            if (
                source is None
                or action.expect is not None
                or action.after is not None
                or action.path in self.s.remote
            ):
                return action
            sources.add(source)
            if tool_for(action.path.name) is not None and self.s.habits.extracts:
                self.notes.append(f"renaming {source} to {action.path} makes the space extract it again")
            return RenameRemote(source=source, path=action.path, entry=entry, expect=self.s.remote[source])

        self.uploads = [renamed(action) if isinstance(action, Upload) else action for action in self.uploads]
        self.archive_uploads = [
            renamed(action) if isinstance(action, Upload) else action for action in self.archive_uploads
        ]
        self.deletes = [delete for delete in self.deletes if delete.path not in sources]
        self.skips = [skip for skip in self.skips if skip.path not in sources]

    # What an older version of an archive left, or an archive that is gone: ours to remove while it is unchanged.
    def _stale_members(self) -> None:
        if not (self.policy.sends and self.s.habits.extracts):
            return
        handled = {delete.path for delete in self.deletes}
        gone = [(path, facts.published) for path, facts in self.s.archives.items() if path in self.publishing]
        gone += [(path, members) for path, members in self.s.departed.items() if path not in self.s.archives]
        for archive, members in gone:
            for path, member in sorted(members.items()):
                there = self.s.remote.get(path)
                stands = path in self.claims or path in self.s.local or path in handled
                if (
                    there is None
                    or stands
                    or there.kind is not Kind.FILE
                    or not same_remote(there, member, step_ns=self.s.step_ns)
                ):
                    continue
                handled.add(path)
                self.skips = [skip for skip in self.skips if skip.path != path]
                self.downloads = [download for download in self.downloads if download.path != path]
                if self.policy.delete:
                    self.deletes.append(
                        Delete(
                            path=path,
                            side=Side.REMOTE,
                            expect=there,
                            reason=f"{archive} does not make it any more",
                        )
                    )
                else:
                    self.skips.append(
                        Skip(
                            path=path,
                            reason=f"{archive} does not make it any more: kept in the space; --delete deletes it there",
                        )
                    )

    # A folder that the other side deleted comes back where a file is still to go into it.
    def _restore_folders(self) -> None:
        planned = {(folder.side, folder.path) for folder in self.folders}
        made = {path for path, (archive, _) in self.claims.items() if archive in self.publishing}
        for side, tree, transfers in (
            (Side.REMOTE, self.s.remote, (*self.archive_uploads, *self.uploads)),
            (Side.LOCAL, self.s.local, self.downloads),
        ):
            inside = [folder for folder in self.folders if folder.side is side]
            for transfer in (*transfers, *inside):
                for folder in transfer.path.ancestors():
                    if folder in tree or folder not in self.s.base or (side, folder) in planned:
                        continue
                    if side is Side.REMOTE and folder in made:
                        continue
                    planned.add((side, folder))
                    self.folders.append(MakeFolder(path=folder, side=side))
        self.folders.sort(key=lambda action: action.path)

    # Two names that some systems take for one: whoever has such a system keeps one file of the two.
    def _names_alike(self) -> None:
        new = {action.path for action in (*self.uploads, *self.archive_uploads, *self.downloads)}
        if not new:
            return
        seen: dict[str, RelPath] = {}
        for path in sorted({*self.s.local, *self.s.remote}):
            other = seen.setdefault(comparison_key(path).casefold(), path)
            if other != path and not new.isdisjoint((path, other)):
                how = "in Unicode form" if comparison_key(path) == comparison_key(other) else "in case"
                self.notes.append(
                    f"{other} and {path} differ only {how}; some systems keep one of the two: rename one"
                )

    # A folder goes when the base knew it, the other side has lost it and all that it held goes too.
    def _delete_folders(self) -> None:
        if not self.policy.delete:
            return
        for side, mine, other, allowed in (
            (Side.REMOTE, self.s.remote, self.s.local, self.policy.sends),
            (Side.LOCAL, self.s.local, self.s.remote, self.policy.receives),
        ):
            if not allowed:
                continue
            going = {delete.path for delete in self.deletes if delete.side is side}
            staying: set[RelPath] = set()
            for path, entry in mine.items():
                if entry.kind is not Kind.FOLDER and path not in going:
                    staying.update(path.ancestors())
            for action in (*self.uploads, *self.downloads, *self.folders):
                staying.update(action.path.ancestors())
                staying.add(action.path)
            for path in sorted(mine, reverse=True):
                agreed = self.s.base.get(path)
                if (
                    mine[path].kind is Kind.FOLDER
                    and path not in other
                    and path not in staying
                    and path not in self.claims
                    and path not in AREAS
                    and agreed is not None
                ):
                    self.deletes.append(
                        Delete(
                            path=path,
                            side=side,
                            expect=mine[path],
                            reason="empty, and gone on the other side",
                        )
                    )
                elif mine[path].kind is Kind.FOLDER:
                    staying.update(path.ancestors())
