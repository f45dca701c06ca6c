"""What the archives of a workspace hold, what became of them, and their extraction here.

Refuses to read an archive twice: its members are remembered for as long as its size and date stay.
"""

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path

from iqdata import manifest
from iqdata.actions import ArchiveFacts
from iqdata.errors import ArchiveError
from iqdata.events import Listener, Note
from iqdata.extract.model import ArchiveStatus, ExtractionPlan, MemberKind
from iqdata.filters import Predicate
from iqdata.paths import RelPath
from iqdata.rules import to_unpack
from iqdata.state import AWAITED, RESENDING, SENDING, State
from iqdata.tree import Entry, Kind

_UNSETTLED = (AWAITED, SENDING, RESENDING)

_CUT = "cut"
"""The state's word for an archive that the tool would open and that does not read to its end: it is not sent."""

_WORTH_A_WORD_BYTES = 64 * 1024 * 1024


class LocalArchives:
    """The archives of one workspace, in one run."""

    def __init__(
        self,
        workspace: Path,
        state: State,
        *,
        listener: Listener,
        now: Callable[[], datetime.datetime],
        remember: bool,
    ) -> None:
        """Prepare; nothing is read yet. `remember`: whether the state may be written (a dry run may not)."""
        self._workspace = workspace
        self._state = state
        self._listener = listener
        self._now = now
        self._remember = remember

    def facts(self, entries: Mapping[RelPath, Entry], allowed: Predicate) -> dict[RelPath, ArchiveFacts]:
        """Read every local archive that has changed since it was last read, and say what is known of each."""
        published, left = self._state.published(), self._state.left_there()
        found = {}
        for path in to_unpack(entries):
            entry = entries[path]
            if entry.kind is not Kind.FILE:
                continue
            status, error, members = self.contents(path, entry)
            sent = published.get(path)
            current = sent is not None and sent.is_of(entry)
            found[path] = ArchiveFacts(
                members={
                    member: item
                    for member, item in members.items()
                    if allowed(member, item.kind is Kind.FOLDER)
                },
                produced=self._produced(path),
                published=left.get(path, {}),
                current_there=current and sent is not None and sent.status not in _UNSETTLED,
                awaited=current and sent is not None and sent.status in _UNSETTLED,
                sent=current and sent is not None and sent.status == AWAITED,
                resend=current and sent is not None and sent.status == RESENDING,
                unreadable=error if status == _CUT else None,
                inert=status == ArchiveStatus.DAMAGED.value,
            )
        return found

    def contents(self, path: RelPath, entry: Entry) -> tuple[str, str | None, dict[RelPath, Entry]]:
        """Return an archive's status, what is wrong with it, and what extraction makes of it; read once per version."""
        known = self._state.contents(path, entry)
        if known is not None:
            return known
        if entry.size_bytes >= _WORTH_A_WORD_BYTES:
            self._listener(Note(text=f"reading {path} to its end"))
        from iqdata.extract.engine import inspect  # its decoders load slowly, and most runs read no archive

        prediction = inspect(self._workspace / path)
        members = {
            path.parent.joined(item.path): Entry(
                Kind.FOLDER if item.kind is MemberKind.DIRECTORY else Kind.FILE,
                item.size_bytes or 0,
                item.mtime_ns,
            )
            for item in prediction.entries
            if item.refused is None
            and item.kind in (MemberKind.FILE, MemberKind.DIRECTORY, MemberKind.HARDLINK)
        }
        status = prediction.status.value
        if prediction.status is ArchiveStatus.DAMAGED and _is_cut(prediction, self._workspace / path):
            status = _CUT
        if self._remember:
            with self._state.transaction():
                self._state.keep_contents(path, entry, status=status, error=prediction.error, members=members)
        return status, prediction.error, members

    def _produced(self, archive: RelPath) -> dict[RelPath, Entry]:
        return {
            item.path: Entry(
                Kind.FOLDER if item.kind == MemberKind.DIRECTORY.value else Kind.FILE,
                item.size_bytes,
                item.mtime_ns,
            )
            for item in manifest.produced_by(self._state.database, archive)
        }

    def extract(self, archive: RelPath, into: Path) -> Callable[[], None]:
        """Extract into an empty folder, and return what notes in the manifest what came out."""
        from iqdata.extract.engine import extract  # see `contents`

        source = self._workspace / archive
        status = source.stat()
        result = extract(source, into)

        def note() -> None:
            with self._state.transaction():
                manifest.record(
                    self._state.database,
                    manifest.ExtractionRecord(
                        archive=archive,
                        size_bytes=status.st_size,
                        mtime_ns=status.st_mtime_ns,
                        tool=result.tool.value if result.tool else None,
                        status=result.status.value,
                        error=result.error,
                        finished_at=f"{self._now():%Y-%m-%dT%H:%M:%SZ}",
                    ),
                    (
                        manifest.ProducedPath(
                            path=archive.parent.joined(entry.path),
                            kind=entry.kind.value,
                            size_bytes=entry.size_bytes,
                            mtime_ns=entry.mtime_ns,
                        )
                        for entry in result.entries
                        if entry.error is None
                    ),
                )

        if result.status is not ArchiveStatus.OK and not result.files:
            note()
            raise ArchiveError(
                f"{archive} cannot be extracted here: {result.status.value}: {result.error or 'no reason given'}"
            )
        return note


def _is_cut(prediction: ExtractionPlan, path: Path) -> bool:
    """Tell a damaged archive from a file that only has an archive's name (`my.target.csv`): that one is data like any other."""
    if prediction.entries:
        return True
    with path.open("rb") as file:
        return file.read(6).startswith((b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c"))
