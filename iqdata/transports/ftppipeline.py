"""Many files over one FTP connection with as few round trips as safety allows.

A published file needs: EPSV, connect, STOR to a temporary name, 226, SIZE, then date and rename. Here the size of one file and
the date and rename of the one before travel in one write with EPSV and STOR of the next, because none waits for the other;
the rename itself is never sent before 226 and SIZE have confirmed the whole file and the caller has agreed. Refuses to keep more than `WINDOW_BYTES`
of commands unread at the server, and turns itself off at the first reply that does not fit its command.

Source: ProFTPD was seen to misread the command that straddles its 4 KiB read buffer.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from iqdata.errors import CutOff, Missing, Refused, TransportError
from iqdata.paths import RelPath
from iqdata.transports.base import Fetched, FetchJob, Published, PublishJob, Sink, Source, check_fetched
from iqdata.transports.ftpreplies import BREAKS, Denied, OwnTrouble, Reply, failure, translated
from iqdata.transports.ftpsession import EARLY_BYTES, SEND_BYTES, Session
from iqdata.transports.listing import format_time
from iqdata.tree import Entry, Kind

WINDOW_BYTES = 1024

_HELD_BACK = 16
"""So many results of downloads wait at most until the connection is free."""

LARGE_BYTES = 1024 * 1024
"""Nobody's result waits for the transfer of a file from here on."""


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

    def why_not_written(self, reply: Reply, path: RelPath) -> TransportError:
        """Explain a refused STOR."""
        ...

    def why_not(self, reply: Reply, *, op: str, path: RelPath) -> TransportError:
        """Explain a refusal."""
        ...


class _Tail(msgspec.Struct):
    """A whole file under its temporary name: what is left to be sent for it."""

    job: PublishJob
    date: str | None
    dated: bool
    commands: list[str]


class Publisher:
    """One run of `publish` over one session.

    Three files are on their way at once: one whose bytes travel, the one before, whose size is asked for in the same
    write, and the one before that, which is dated and renamed in it.
    """

    def __init__(self, requests: Requests, session: Session) -> None:
        self._requests = requests
        self._session = session
        self._unchecked: PublishJob | None = None
        self._tail: _Tail | None = None
        self._certain: list[Published] = []

    def run(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Yield results in order, each only when no reply is outstanding, so that the caller may use the connection."""
        try:
            for job in jobs:
                if job.size_bytes >= LARGE_BYTES:
                    self._finish_all()
                    yield from self._take()
                self._upload(job)
                yield from self._take()
            self._finish_all()
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
            if self._asks_size:
                self._unchecked = job
            else:
                self._check(job, None)
        except CutOff:
            raise
        except OwnTrouble as exc:
            self._failed(job, exc.cause)
        except (TransportError, OSError) as exc:
            self._failed(job, exc)

    def _stor(self, job: PublishJob, source: Source) -> None:
        """Send one file's bytes; along with its commands go what is left to be said of the two files before."""
        session = self._session
        command = f"STOR {self._requests.absolute(job.temporary)}"
        before = self._left_to_say()
        if before and (_weight(before) + len(command) >= WINDOW_BYTES or not session.facts.pipelines):
            self._finish_all()
            before = []
        count = 0
        trouble: Exception | None = None
        try:
            session.start(command, before=before)
            count = session.store(source, job.on_bytes, early=job.size_bytes <= EARLY_BYTES)
        except (Denied, OwnTrouble) as exc:
            trouble = exc
        except (CutOff, *BREAKS):
            self._note_certain(session.early, len(before))
            raise
        if before:
            self._hear(session.early)
        if isinstance(trouble, Denied):
            raise self._requests.why_not_written(trouble.reply, job.path)
        if trouble is not None:
            raise trouble
        if count != job.size_bytes:
            raise _changed(job, count)

    # --- what is left to be said of earlier files -----------------------------------------------------------------

    def _left_to_say(self) -> list[str]:
        """Return the commands for the two files before: date and rename of one, the size of the other."""
        commands = list(self._tail.commands) if self._tail is not None else []
        if self._unchecked is not None:
            commands.append(f"SIZE {self._requests.absolute(self._unchecked.temporary)}")
        return commands

    @property
    def _asks_size(self) -> bool:
        return "SIZE" in self._session.facts.features

    def _hear(self, replies: list[Reply]) -> None:
        """Judge the replies to `_left_to_say`, now that nothing is in flight, and let the younger file move on."""
        tail, self._tail = self._tail, None
        unchecked, self._unchecked = self._unchecked, None
        if tail is not None:
            self._settle(tail, replies)
        if unchecked is not None:
            self._check(unchecked, replies[-1])

    def _finish_all(self) -> None:
        """Say all that is left of earlier files, by itself, until nothing is."""
        while self._tail is not None or self._unchecked is not None:
            commands = self._left_to_say()
            control = self._session.control
            job = self._tail.job if self._tail is not None else self._unchecked
            with translated("publish", job.path if job is not None else ""):
                if self._session.facts.pipelines and _weight(commands) < WINDOW_BYTES:
                    control.send(commands)
                    replies = [control.reply() for _ in commands]
                else:
                    replies = [control.ask(command) for command in commands]
                self._hear(replies)

    def _note_certain(self, replies: list[Reply], due: int) -> None:
        """Keep the result of a file whose rename was confirmed before the connection broke."""
        tail = self._tail
        if tail is not None and len(replies) == due and replies[len(tail.commands) - 1].code == 250:
            dated = tail.dated or (tail.date is not None and replies[0].positive)
            self._certain.append(Published(job=tail.job, dated=dated))

    def _check(self, job: PublishJob, sized: Reply | None) -> None:
        """Compare a file's size with what was sent, ask the caller, and have it dated and renamed next.

        226 after all bytes were sent is not enough: whoever stands in between may have passed on only some of them.
        """
        try:
            if sized is not None:
                self._session.expect(sized, 213)
                if sized.code == 213 and sized.text[4:].strip() != str(job.size_bytes):
                    raise Refused(
                        f"upload {job.path}: {sized.text[4:].strip()} of {job.size_bytes} bytes arrived; not published",
                        op="upload",
                        path=job.path,
                        reply=sized.text,
                        retryable=True,
                    )
            job.before_rename()
            self._tail = self._make_tail(job)
            if not self._session.facts.renames_over:
                # The old file is gone already: its successor must not wait for another file's bytes.
                self._finish_all()
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            self._failed(job, exc)

    def _make_tail(self, job: PublishJob) -> _Tail:
        facts = self._session.facts
        temporary, path = self._requests.absolute(job.temporary), self._requests.absolute(job.path)
        date = None
        dated = False
        if job.mtime_ns is not None and facts.date_commands:
            if facts.dates and facts.pipelines:
                date = facts.date_commands[0].value.format(time=format_time(job.mtime_ns), path=temporary)
            else:
                with contextlib.suppress(Refused, Missing):
                    dated = self._requests.set_mtime(job.temporary, job.mtime_ns)
        if not facts.renames_over:
            self._clear(job)
        rename = [f"RNFR {temporary}", f"RNTO {path}"]
        return _Tail(job, date, dated, [date, *rename] if date else rename)

    def _clear(self, job: PublishJob) -> None:
        """Delete the file that the new one replaces, on a server that refuses to rename over it."""
        standing = self._requests.stat(job.path)
        if standing is not None and standing.kind is Kind.FILE:
            self._requests.remove(job.path, Kind.FILE)

    def _settle(self, tail: _Tail, replies: list[Reply]) -> None:
        """Judge a file's end by its replies, now that nothing is in flight."""
        job = tail.job
        dated = tail.dated
        if tail.date is not None:
            dated = replies[0].positive
            self._session.expect(replies[0], 213, 200, 250, 253)
        at = len(tail.commands) - 2
        first, second = replies[at], replies[at + 1]
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
            self._record_failure(job, exc)
        else:
            self._certain.append(Published(job=job, dated=dated))

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
        """Record a failure behind the results of the files before."""
        self._finish_all()
        self._record_failure(job, error)

    def _record_failure(self, job: PublishJob, error: Exception) -> None:
        """Take the temporary file away, if the server lets us, and keep the result."""
        with contextlib.suppress(Refused, Missing):
            self._requests.remove(job.temporary, Kind.FILE)
        self._certain.append(Published(job=job, error=error))


def publish(requests: Requests, session: Session, jobs: Iterable[PublishJob]) -> Iterator[Published]:
    """Upload files in the safe order; see `base.Transport.publish`."""
    return Publisher(requests, session).run(jobs)


class _Opened(NamedTuple):
    """A file to be fetched whose sink is open, and what closes it."""

    job: FetchJob
    sink: Sink
    closing: contextlib.ExitStack


class Fetcher:
    """One run of `fetch` over one session.

    EPSV and RETR of a file leave when the last byte of the one before has come, while the server's word on that one is
    still due. Some results are held back meanwhile, so that each yield finds the connection free.
    """

    def __init__(self, requests: Requests, session: Session, jobs: Iterable[FetchJob]) -> None:
        self._requests = requests
        self._session = session
        self._jobs = iter(jobs)
        self._done: list[Fetched] = []
        self._unopened: list[Fetched] = []
        self._next: _Opened | None = None
        self._asked_ahead = False

    def run(self) -> Iterator[Fetched]:
        """Yield results in order."""
        try:
            while (opened := self._next or self._open()) is not None:
                self._next = None
                self._done += self._unopened
                self._unopened.clear()
                self._done.append(self._fetch(opened))
                if self._next is None:
                    yield from self._take()
            self._done += self._unopened
        except CutOff:
            yield from self._take()
            raise
        finally:
            if self._next is not None:
                self._next.closing.close()
        yield from self._take()

    def _take(self) -> list[Fetched]:
        taken, self._done = self._done, []
        return taken

    def _open(self) -> _Opened | None:
        """Return the next file whose sink can be opened; the failures before it become results."""
        for job in self._jobs:
            closing = contextlib.ExitStack()
            try:
                return _Opened(job, closing.enter_context(job.open_sink()), closing)
            except (TransportError, OSError) as exc:
                self._unopened.append(Fetched(job=job, error=exc))
        return None

    def _command(self, job: FetchJob) -> str:
        return f"RETR {self._requests.absolute(job.path)}"

    def _ask_ahead(self) -> None:
        """Ask for the next file, unless enough results are held back."""
        if len(self._done) >= _HELD_BACK or self._session.control.has_more:
            return
        opened = self._open()
        if opened is not None:
            self._next = opened
            self._asked_ahead = self._session.ask_ahead(self._command(opened.job))

    def _receive(self, opened: _Opened) -> int:
        """Return the count of bytes that came for one file."""
        job, session = opened.job, self._session
        early, self._asked_ahead = self._asked_ahead, False
        ended = False

        def at_end() -> None:
            nonlocal ended
            ended = True
            self._ask_ahead()

        try:
            session.start(self._command(job))
            return session.retrieve(opened.sink, job.on_bytes, at_end=at_end)
        except Denied as exc:
            if not early or ended or exc.reply.code // 100 != 4:
                raise
        # It may have come too early for this server: once more, and from now on one after the other.
        session.facts.pipelines = False
        session.start(self._command(job))
        return session.retrieve(opened.sink, job.on_bytes)

    def _fetch(self, opened: _Opened) -> Fetched:
        """Receive one file."""
        job = opened.job
        try:
            with opened.closing:
                with translated("download", job.path):
                    count = self._receive(opened)
                check_fetched(job, count)
        except CutOff:
            raise
        except OwnTrouble as exc:
            return Fetched(job=job, error=exc.cause)
        except Denied as exc:
            if self._next is not None:
                # Its bytes came, so it is there; the connection is not free for a closer look.
                return Fetched(job=job, error=failure(exc.reply, op="download", path=job.path))
            return Fetched(job=job, error=self._requests.why_not(exc.reply, op="download", path=job.path))
        except (TransportError, OSError) as exc:
            return Fetched(job=job, error=exc)
        return Fetched(job=job, size_bytes=count)


def fetch(requests: Requests, session: Session, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
    """Download whole files; see `base.Transport.fetch`."""
    return Fetcher(requests, session, jobs).run()


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
