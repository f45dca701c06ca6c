"""The port to a space, and what an adapter may be unable to do, as data.

An adapter is one connection for one thread: it is never shared, a pool holds several. It translates every failure of
its library once, into `iqdata.errors.TransportError`, and never retries on its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from iqdata.errors import CutOff, Refused, TransportError
from iqdata.paths import RelPath
from iqdata.tree import Entry, Kind

BLOCK_BYTES = 256 * 1024
"""How much is read or written at once: 256 KiB moved 1.3 times what 8 KiB blocks did over loopback FTP."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What this server was seen to offer (FEAT, replies, protocol), never guessed by its name.

    Attributes:
        mtime_step_ns: precision of the times in a listing; None where a listing has no exact time.
        sets_mtime: whether `set_mtime` works; it may change to False after the first refusal.
        hashes: names of content hashes the server computes ("sha256", "sha1", "md5"), best first.
        resumes: whether reads and writes can start at an offset.
        renames_over: whether a rename replaces an existing file.
        exact_listing: whether listings carry exact types, sizes and times (MLSD, SFTP) and not only what LIST shows.
        parallel: whether several connections at once are of use.
        overlaps: whether requests for many files are under way together on one connection, so that distance costs little.
        extraction_log: whether the space says what it extracted in `/.iqdata/extractions.jsonl`.
    """

    mtime_step_ns: int | None = 1_000_000_000
    sets_mtime: bool = False
    hashes: tuple[str, ...] = ()
    resumes: bool = False
    renames_over: bool = True
    exact_listing: bool = True
    parallel: bool = True
    overlaps: bool = False
    extraction_log: bool = False


class Source(Protocol):
    """Bytes to upload: any binary file, opened for reading."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...


class Sink(Protocol):
    """Where downloaded bytes go: any binary file, opened for writing."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take all of `data`."""
        ...


class PublishJob(msgspec.Struct, frozen=True, kw_only=True):
    """One file to put under its real name, in the safe order: temporary name → size → time → rename.

    Attributes:
        path: the real name; its folder exists.
        temporary: an inert path in the same file system of the space (`rules.temporary_name`).
        open_source: opens the local file; called once, in the thread that uploads; may raise OSError.
        size_bytes: what the source held when it was planned; another count is a failure, and nothing is published.
        mtime_ns: the time to give it, or None.
        on_bytes: told of every piece that has left.
        before_rename: called when the temporary file is complete and checked, just before the rename; raising
            TransportError or OSError there means "do not publish" (the world moved, the source changed).
    """

    path: RelPath
    temporary: RelPath
    open_source: "Callable[[], AbstractContextManager[Source]]"
    size_bytes: int
    mtime_ns: int | None
    on_bytes: Callable[[int], None]
    before_rename: Callable[[], None]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a `PublishJob`: `error` is None when the file stands under its real name, dated if it can be."""

    job: PublishJob
    error: Exception | None = None
    dated: bool = False


class FetchJob(msgspec.Struct, frozen=True, kw_only=True):
    """One file to download whole.

    Attributes:
        open_sink: opens where the bytes go; called once, in the thread that downloads; may raise OSError.
        size_bytes: what the listing said, another count is a failure; None takes what comes.
        on_bytes: told of every piece that has arrived.
    """

    path: RelPath
    open_sink: "Callable[[], AbstractContextManager[Sink]]"
    size_bytes: int | None
    on_bytes: Callable[[int], None]


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a `FetchJob`: `error` is None when all bytes arrived and the sink was closed without complaint."""

    job: FetchJob
    error: Exception | None = None
    size_bytes: int = 0


class Transport(Protocol):
    """One connection to a space. Paths are relative to the space's root.

    More than eight methods, because a space is a file system: fewer would hide two acts behind one name.
    Every method may raise `CutOff`; after it the connection is unusable and must be closed.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers, as known so far."""
        ...

    @property
    def encryption(self) -> str | None:
        """How the connection is protected, in words for people; None where it is not."""
        ...

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return the entries of one folder by base name, without `.` and `..`.

        An empty answer is believed only when the folder is known to exist.

        Raises:
            Missing: the folder does not exist.
            Refused: it exists and may not be listed.
            UnsafePath: the server sent a name that must not be followed.
        """
        ...

    def stat(self, path: RelPath) -> Entry | None:
        """Return one entry with the precision of a listing, or None when nothing is there."""
        ...

    def read_into(
        self, path: RelPath, sink: Sink, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy the file from `offset` to its end into `sink` and return the number of bytes copied."""
        ...

    def write_from(
        self, path: RelPath, source: Source, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Write `source` to `path` (an inert name, unless the caller knows better) and return the number of bytes.

        With an `offset`, the file keeps its first `offset` bytes and goes on there.
        """
        ...

    def publish(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Upload files, each in the safe order, and yield what became of each, in the order given.

        A job that fails is yielded with its error and the next one is tried, except after `CutOff`, which is raised
        once the results that are certain have been yielded. `publish_one_by_one` serves adapters that gain nothing
        from overlapping jobs.

        The next job is taken before the last one's result is yielded, so `jobs` must end rather than wait for it. At
        each `before_rename` and at each yield the connection is free for other requests.
        """
        ...

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
        """Download whole files and yield what became of each, in the order given; failures as in `publish`."""
        ...

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`, replacing a file there where the server can (`renames_over`)."""
        ...

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete one file, or one empty folder."""
        ...

    def make_folder(self, path: RelPath) -> None:
        """Create one folder; its parent exists. A folder that is there already is no error."""
        ...

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date a file; False when the server cannot."""
        ...

    def checksum(self, path: RelPath, algorithm: str) -> bytes | None:
        """Return the server's own hash of a file's content, or None where it offers none of that kind."""
        ...

    def abort(self) -> None:
        """Break whatever is in flight, from any thread: the call in flight then raises `CutOff`; never raises itself."""
        ...

    def close(self) -> None:
        """End the connection; never raises."""
        ...


Connector = Callable[[], Transport]
"""Opens one more connection to the same space."""


def publish_one_by_one(transport: Transport, jobs: Iterable[PublishJob]) -> Iterator[Published]:
    """Publish each file by the transport's single requests."""
    for job in jobs:
        try:
            yield Published(job=job, dated=_publish(transport, job))
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            try:
                transport.remove(job.temporary, Kind.FILE)
            except CutOff:
                raise
            except TransportError:
                pass  # it was never made, or may not be deleted: a later sweep finds it by its name
            yield Published(job=job, error=exc)


def _publish(transport: Transport, job: PublishJob) -> bool:
    with job.open_source() as source:
        count = transport.write_from(job.temporary, source, on_bytes=job.on_bytes)
    if count != job.size_bytes:
        raise Refused(
            f"upload {job.path}: it changed while it was read ({count} bytes instead of {job.size_bytes}); not published",
            op="upload",
            path=job.path,
            retryable=True,
        )
    dated = job.mtime_ns is not None and transport.set_mtime(job.temporary, job.mtime_ns)
    job.before_rename()
    transport.rename(job.temporary, job.path)
    return dated


def fetch_one_by_one(transport: Transport, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
    """Download each file by the transport's single requests."""
    for job in jobs:
        try:
            with job.open_sink() as sink:
                count = transport.read_into(job.path, sink, on_bytes=job.on_bytes)
            check_fetched(job, count)
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            yield Fetched(job=job, error=exc)
        else:
            yield Fetched(job=job, size_bytes=count)


def check_fetched(job: FetchJob, count: int) -> None:
    """Compare the bytes that came with the listing.

    Raises:
        Refused: another count.
    """
    if job.size_bytes is not None and count != job.size_bytes:
        raise Refused(
            f"download {job.path}: {count} bytes came, {job.size_bytes} were listed; it changed in the space or was cut",
            op="download",
            path=job.path,
            retryable=True,
        )
