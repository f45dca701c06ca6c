"""Many files over one FTP connection with as few round trips as safety allows.

A published file needs: EPSV, connect, STOR to a temporary name, 226, then its size, its date and its name. Here the size
and date of one file and the name of the one before travel in one write with EPSV and STOR of the next, because none waits
for another; a file's name is never sent before 226 has confirmed it, its size there has been read and the caller has
agreed: a data connection that ends too early looks to a server like the end of the file. Refuses to keep more than
`WINDOW_BYTES` of commands unread at the server, and turns itself off at the first reply that does not fit its command.

Source: ProFTPD was seen to misread the command that straddles its 4 KiB read buffer.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from iqdata.errors import CutOff, Missing, Refused, TransportError
from iqdata.paths import RelPath
from iqdata.transports.base import Fetched, FetchJob, Published, PublishJob, Source, check_fetched
from iqdata.transports.ftpreplies import BREAKS, Denied, OwnTrouble, Reply, failure, translated
from iqdata.transports.ftpsession import EARLY_BYTES, SEND_BYTES, Session
from iqdata.transports.listing import format_time
from iqdata.tree import Entry, Kind

WINDOW_BYTES = 1024

LARGE_BYTES = 1024 * 1024
"""From here on a file's size is asked for right after 226, and nobody's result waits for its transfer."""


class Requests(Protocol):
    """What a publisher asks of the transport it works for, between transfers."""

    def absolute(self, path: RelPath) -> str:
        """Return a path as the server names it."""
        ...

    def stat(self, path: RelPath) -> Entry | None:
        """Return what stands at a path."""
        ...

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return a folder's entries."""
        ...

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete."""
        ...

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Rename."""
        ...

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date."""
        ...

    def check_size(self, path: RelPath, size_bytes: int) -> None:
        """Compare a file's size."""
        ...

    def why_not_written(self, reply: Reply, path: RelPath) -> TransportError:
        """Explain a refused STOR."""
        ...

    def why_not(self, reply: Reply, *, op: str, path: RelPath) -> TransportError:
        """Explain a refusal."""
        ...


@dataclasses.dataclass(slots=True)
class _Sent:
    """A file whose bytes the server has confirmed, under its temporary name: not yet checked."""

    job: PublishJob
    sized: bool
    date: str | None
    dated: bool

    def checks(self, target: str) -> list[str]:
        """Return the commands that ask for its size and give it its date."""
        size = [f"SIZE {target}"] if self.sized else []
        return [*size, self.date] if self.date is not None else size


@dataclasses.dataclass(slots=True)
class _Ready:
    """A file that is whole under its temporary name: only its real name is missing."""

    job: PublishJob
    dated: bool


class Publisher:
    """One run of `publish` over one session: up to three files are on their way, at different stages.

    While one file's bytes travel, the one before is checked and dated, and the one before that gets its name: each
    stage waits for the last one's replies, and none costs a round trip of its own.
    """

    def __init__(self, requests: Requests, session: Session) -> None:
        self._requests = requests
        self._session = session
        self._sent: _Sent | None = None
        self._ready: _Ready | None = None
        self._certain: list[Published] = []

    def run(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Yield results in order, each only when no reply is outstanding, so that the caller may use the connection."""
        try:
            for job in jobs:
                if job.size_bytes >= LARGE_BYTES:
                    self._finish()
                    yield from self._take()
                self._upload(job)
                yield from self._take()
            self._finish()
        except CutOff:
            yield from self._take()
            raise
        yield from self._take()

    def _take(self) -> list[Published]:
        taken, self._certain = self._certain, []
        return taken

    def _upload(self, job: PublishJob) -> None:
        """Bring one file under its temporary name; its own failure becomes a result."""
        try:
            with job.open_source() as source:
                ready = _Once(_read_whole(source, job)) if job.size_bytes <= SEND_BYTES else source
                with translated("upload", job.path):
                    self._stor(job, ready)
            self._sent = self._make_sent(job)
        except CutOff:
            raise
        except OwnTrouble as exc:
            self._failed(job, exc.cause)
        except (TransportError, OSError) as exc:
            self._failed(job, exc)

    def _stor(self, job: PublishJob, source: Source) -> None:
        """Send one file's bytes, what the files before it still need along with the commands."""
        session = self._session
        command = f"STOR {self._requests.absolute(job.temporary)}"
        rename, checks = self._rename(), self._checks()
        before = [*rename, *checks]
        if before and (_weight(before) + len(command) >= WINDOW_BYTES or not session.facts.pipelines):
            self._exchange(rename, checks)
            before = []
        count = 0
        trouble: Exception | None = None
        try:
            session.start(command, before=before)
            count = session.store(source, job.on_bytes, early=job.size_bytes <= EARLY_BYTES)
        except (Denied, OwnTrouble) as exc:
            trouble = exc
        except (CutOff, *BREAKS):
            if before:
                self._save_certain(rename, session.early)
            raise
        if before or self._sent is not None:
            self._judge(rename if before else [], session.early)
        if isinstance(trouble, Denied):
            raise self._requests.why_not_written(trouble.reply, job.path)
        if trouble is not None:
            raise trouble
        if count != job.size_bytes:
            raise _changed(job, count)
        if count >= LARGE_BYTES:
            self._requests.check_size(job.temporary, count)

    def _make_sent(self, job: PublishJob) -> _Sent:
        facts = self._session.facts
        date = None
        dated = False
        if job.mtime_ns is not None and facts.date_commands:
            if facts.dates and facts.pipelines:
                temporary = self._requests.absolute(job.temporary)
                date = facts.date_commands[0].value.format(time=format_time(job.mtime_ns), path=temporary)
            else:
                with contextlib.suppress(Refused, Missing):
                    dated = self._requests.set_mtime(job.temporary, job.mtime_ns)
        return _Sent(job, "SIZE" in facts.features and job.size_bytes < LARGE_BYTES, date, dated)

    def _checks(self) -> list[str]:
        sent = self._sent
        return [] if sent is None else sent.checks(self._requests.absolute(sent.job.temporary))

    def _rename(self) -> list[str]:
        """Ask the caller about the file that is ready, and return the commands that give it its name."""
        if self._ready is None:
            return []
        job = self._ready.job
        try:
            job.before_rename()
            if not self._session.facts.renames_over:
                self._clear(job)
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            self._ready = None
            self._drop(job, exc)
            return []
        return [f"RNFR {self._requests.absolute(job.temporary)}", f"RNTO {self._requests.absolute(job.path)}"]

    def _clear(self, job: PublishJob) -> None:
        """Delete the file that the new one replaces, on a server that refuses to rename over it."""
        standing = self._requests.stat(job.path)
        if standing is not None and standing.kind is Kind.FILE:
            self._requests.remove(job.path, Kind.FILE)

    def _finish(self) -> None:
        """Bring every file that is on its way to its end."""
        while self._ready is not None or self._sent is not None:
            self._exchange(self._rename(), self._checks())

    def _exchange(self, rename: list[str], checks: list[str]) -> None:
        """Send these commands by themselves and judge what comes back."""
        control = self._session.control
        commands = [*rename, *checks]
        replies: list[Reply] = []
        with translated("publish"):
            try:
                if self._session.facts.pipelines:
                    if commands:
                        control.send(commands)
                    for _ in commands:
                        replies.append(control.reply())  # noqa: PERF401  # what came before a break must not be lost
                else:
                    for command in commands:
                        replies.append(control.ask(command))  # noqa: PERF401  # as above
            except BREAKS:
                self._save_certain(rename, replies)
                raise
            self._judge(rename, replies)

    def _save_certain(self, rename: list[str], replies: list[Reply]) -> None:
        """The connection is gone; a file whose renaming was confirmed before has arrived all the same."""
        ready = self._ready
        if rename and ready is not None and len(replies) >= 2 and replies[1].code == 250:
            self._certain.append(Published(job=ready.job, dated=ready.dated))
            self._ready = None

    def _judge(self, rename: list[str], replies: list[Reply]) -> None:
        """Move each file on by its replies, now that nothing is in flight."""
        ready, sent = self._ready, self._sent
        self._ready = self._sent = None
        checked = replies[len(rename) :]
        if ready is not None:
            if rename:
                self._settle(ready, replies[0], replies[1])
            else:
                self._ready = ready
        if sent is not None:
            self._check(sent, checked)

    def _check(self, sent: _Sent, replies: list[Reply]) -> None:
        """Let a file pass that is whole in the space."""
        job, dated = sent.job, sent.dated
        if sent.date is not None:
            dated = replies[-1].positive
            self._session.expect(replies[-1], 213, 200, 250, 253)
        if sent.sized:
            self._session.expect(replies[0], 213)
            stands = replies[0].text[4:].strip()
            if replies[0].code == 213 and stands != str(job.size_bytes):
                error = Refused(
                    f"upload {job.path}: {stands} of {job.size_bytes} bytes arrived; not published",
                    op="upload",
                    path=job.path,
                    reply=replies[0].text,
                    retryable=True,
                )
                self._drop(job, error)
                return
        self._ready = _Ready(job, dated)

    def _settle(self, ready: _Ready, first: Reply, second: Reply) -> None:
        """Judge a file's renaming by its replies."""
        job = ready.job
        self._session.expect(first, 350)
        self._session.expect(second, 250)
        try:
            if first.code != 350:
                raise failure(first, op="publish", path=job.path)
            if not second.positive:
                self._rename_again(job, second)
            if job.path.name != job.path.name.strip():
                self._check_name(job)
        except CutOff:
            raise
        except TransportError as exc:
            self._drop(job, exc)
        else:
            self._certain.append(Published(job=job, dated=ready.dated))

    def _check_name(self, job: PublishJob) -> None:
        """See that a name with a space at an end was kept: Pure-FTPd stores an underscore there and says nothing."""
        if job.path.name not in self._requests.list_folder(job.path.parent):
            raise Refused(
                f"publish {job.path}: the server stores this name as another; rename the file here, without the space",
                op="publish",
                path=job.path,
            )

    def _rename_again(self, job: PublishJob, refused: Reply) -> None:
        """Replace a file where the server will not rename over one; raise what it said where nothing stands in the way."""
        standing = self._requests.stat(job.path)
        if standing is None or standing.kind is not Kind.FILE or refused.code // 100 != 5:
            raise failure(refused, op="publish", path=job.path)
        self._requests.remove(job.path, Kind.FILE)
        self._requests.rename(job.temporary, job.path)
        self._session.facts.renames_over = False

    def _failed(self, job: PublishJob, error: Exception) -> None:
        """Record a failure in its place, after the files before it."""
        self._finish()
        self._drop(job, error)

    def _drop(self, job: PublishJob, error: Exception) -> None:
        """Record a failure and take the temporary file away, if the server lets us."""
        with contextlib.suppress(Refused, Missing):
            self._requests.remove(job.temporary, Kind.FILE)
        self._certain.append(Published(job=job, error=error))


def publish(requests: Requests, session: Session, jobs: Iterable[PublishJob]) -> Iterator[Published]:
    """Upload files in the safe order; see `base.Transport.publish`."""
    return Publisher(requests, session).run(jobs)


def fetch(requests: Requests, session: Session, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
    """Download whole files; see `base.Transport.fetch`.

    RETR travels with the EPSV before it; its 226 is read before the next pair is sent, so that every yield finds the
    connection free.
    """
    for job in jobs:
        try:
            with job.open_sink() as sink:
                with translated("download", job.path):
                    session.start(f"RETR {requests.absolute(job.path)}")
                    count = session.retrieve(sink, job.on_bytes)
                check_fetched(job, count)
        except CutOff:
            raise
        except OwnTrouble as exc:
            yield Fetched(job=job, error=exc.cause)
        except Denied as exc:
            yield Fetched(job=job, error=requests.why_not(exc.reply, op="download", path=job.path))
        except (TransportError, OSError) as exc:
            yield Fetched(job=job, error=exc)
        else:
            yield Fetched(job=job, size_bytes=count)


class _Once:
    """A source of one block."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1, /) -> bytes:
        """Return the content, then nothing."""
        del size
        content, self._content = self._content, b""
        return content


def _read_whole(source: Source, job: PublishJob) -> bytes:
    """Return a small file's content, checked against the count that was planned before a byte is sent."""
    content = source.read(job.size_bytes + 1)
    if len(content) == job.size_bytes:
        return content
    while len(content) <= job.size_bytes and (more := source.read(job.size_bytes + 1 - len(content))):
        content += more
    if len(content) != job.size_bytes:
        raise _changed(job, len(content))
    return content


def _changed(job: PublishJob, count: int) -> Refused:
    return Refused(
        f"upload {job.path}: it changed while it was read ({count} bytes instead of {job.size_bytes}); not published",
        op="upload",
        path=job.path,
        retryable=True,
    )


def _weight(commands: list[str]) -> int:
    # Names outside ASCII take up to four bytes a character; the window is a round figure, so counting them as two will do.
    return sum(len(command) * (1 if command.isascii() else 2) + 2 for command in commands) + len("EPSV") + 4
