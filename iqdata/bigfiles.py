"""Big files: an interrupted transfer goes on where it was, and a download over a long link takes several connections.

Refuses to trust a part by its name: its last bytes are compared with the source before anything is added to it, and the
name itself is made from the source's size and date, so that a part of an older version is never gone on with.
"""

import contextlib
import hashlib
import io
import itertools
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from iqdata.errors import CutOff, Refused, TransportError
from iqdata.paths import RelPath
from iqdata.transports.base import Fetched, FetchJob, Published, PublishJob, Transport
from iqdata.transports.pool import Pool
from iqdata.tree import Entry, Kind

BIG_BYTES = 8 * 1024 * 1024
"""From this size on a transfer is worth going on with; below, starting again costs less than asking what is there."""

_OVERLAP_BYTES = 256 * 1024
_SEGMENTED_FROM_BYTES = 32 * 1024 * 1024
_SEGMENTS = 6
_WORTH_SEGMENTS_S = 0.004
"""Round trips shorter than this leave one connection able to fill the link."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def token_of(space: str, path: RelPath, entry: Entry) -> str:
    """Return the token of the temporary name that belongs to one version of one file: the same in every run."""
    seed = f"{space}\0{path}\0{entry.size_bytes}\0{entry.mtime_ns}".encode("utf-8", "surrogateescape")
    number = int.from_bytes(hashlib.sha256(seed).digest()[:16], "big")
    letters = []
    for _ in range(24):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)


# --- up


def publish(transport: Transport, job: PublishJob) -> Published:
    """Upload one big file, going on with what an earlier try left; see `PublishJob` for the order.

    Raises:
        CutOff: the connection broke; what has arrived stays for the next try.
    """
    try:
        _upload(transport, job)
        dated = job.mtime_ns is not None and transport.set_mtime(job.temporary, job.mtime_ns)
        job.before_rename()
        transport.rename(job.temporary, job.path)
    except CutOff:
        raise
    except (TransportError, OSError) as exc:
        if not (isinstance(exc, TransportError) and exc.retryable):
            with contextlib.suppress(TransportError):
                transport.remove(job.temporary, Kind.FILE)
        return Published(job=job, error=exc)
    return Published(job=job, dated=dated)


def _upload(transport: Transport, job: PublishJob) -> None:
    with job.open_source() as source:
        if not isinstance(source, io.FileIO):
            raise Refused(
                f"upload {job.path}: its source cannot be read from the middle", op="upload", path=job.path
            )
        offset = _sent_before(transport, job, source.fileno())
        source.seek(offset)
        count = offset + transport.write_from(job.temporary, source, offset=offset, on_bytes=job.on_bytes)
    if count != job.size_bytes:
        raise Refused(
            f"upload {job.path}: it changed while it was read ({count} bytes instead of {job.size_bytes}); not published",
            op="upload",
            path=job.path,
        )
    standing = transport.stat(job.temporary)
    if standing is not None and standing.size_bytes != job.size_bytes:
        transport.remove(job.temporary, Kind.FILE)
        raise Refused(
            f"upload {job.path}: {standing.size_bytes} of {job.size_bytes} bytes arrived; sent again",
            op="upload",
            path=job.path,
            retryable=True,
        )


def _sent_before(transport: Transport, job: PublishJob, source: int) -> int:
    """Return how many bytes of the file already stand in the space, proven by comparing the last of them."""
    if not transport.capabilities.resumes:
        return 0
    part = transport.stat(job.temporary)
    if part is None or not 0 < part.size_bytes <= job.size_bytes:
        return 0
    overlap = min(part.size_bytes, _OVERLAP_BYTES)
    start = part.size_bytes - overlap
    theirs = _Kept()
    try:
        transport.read_into(job.temporary, theirs, offset=start, on_bytes=lambda _size: None)
    except Refused:
        return 0
    return part.size_bytes if bytes(theirs.data) == os.pread(source, overlap, start) else 0


# --- down


def fetch(transport: Transport, job: FetchJob, part: Path, *, pool: Pool) -> Fetched:
    """Download one big file into `part`, going on with what an earlier try left there.

    Raises:
        CutOff: the connection broke; what has arrived stays for the next try.
    """
    size = job.size_bytes or 0
    try:
        have = part.stat().st_size if part.exists() else 0
        if have == 0 and size >= _SEGMENTED_FROM_BYTES and _is_far(transport, job.path) and pool.limit > 1:
            _segmented(transport, job, part, pool)
        else:
            _linear(transport, job, part, have)
        got = part.stat().st_size
        if got != size:
            part.unlink()
            raise Refused(
                f"download {job.path}: {got} bytes came, {size} were listed; it changed in the space",
                op="download",
                path=job.path,
                retryable=True,
            )
    except CutOff:
        raise
    except (TransportError, OSError) as exc:
        return Fetched(job=job, error=exc)
    return Fetched(job=job, size_bytes=size)


def _linear(transport: Transport, job: FetchJob, part: Path, have: int) -> None:
    size = job.size_bytes or 0
    if have > size or not transport.capabilities.resumes:
        have = 0
    overlap = min(have, _OVERLAP_BYTES)
    with part.open("r+b" if have else "wb", buffering=0) as file:
        file.seek(have - overlap)
        sink = _Continuing(file, file.read(overlap) if overlap else b"")
        try:
            transport.read_into(job.path, sink, offset=have - overlap, on_bytes=job.on_bytes)
        except _OtherContentError:
            file.seek(0)
            file.truncate()
            raise CutOff(
                f"download {job.path}: what an earlier run left is of another version; starting again",
                op="download",
                path=job.path,
                retryable=True,
            ) from None


def _segmented(transport: Transport, job: FetchJob, part: Path, pool: Pool) -> None:
    """Fetch ranges of one file over this connection and whatever others are free, each written to its own place."""
    # A name of its own: a file with holes must never be taken for the beginning of one.
    holed = part.with_name(f"{part.name}s")
    failures: list[BaseException] = []
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor(max_workers=_SEGMENTS - 1, thread_name_prefix="spare") as opening:
            # Side by side: logging in takes several round trips.
            spares = list(opening.map(lambda _: stack.enter_context(_single_use(pool)), range(_SEGMENTS - 1)))
        # The last range ends where the file ends, so this connection stays usable; the others break off in the middle.
        lines = [*(spare for spare in spares if spare is not None), transport]
        size = job.size_bytes or 0
        edges = [size * index // len(lines) for index in range(len(lines) + 1)]
        stack.callback(holed.unlink, missing_ok=True)
        file = stack.enter_context(holed.open("wb", buffering=0))
        os.ftruncate(file.fileno(), size)

        def work(space: Transport, start: int, end: int) -> None:
            try:
                _fetch_range(space, job, _Window(file.fileno(), start, end, whole=end == size))
            except BaseException as exc:  # noqa: BLE001  # raised again in the thread that waits
                failures.append(exc)

        threads = [
            threading.Thread(target=work, args=(space, *edge), name="segment")
            for space, edge in zip(lines, itertools.pairwise(edges), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        holed.replace(part)


@contextlib.contextmanager
def _single_use(pool: Pool) -> Iterator[Transport | None]:
    """Lend a spare connection that is thrown away afterwards: its transfer is broken off in the middle."""
    with contextlib.suppress(_UsedUpError), pool.spare() as space:
        yield space
        if space is not None:
            raise _UsedUpError("used up")


def _fetch_range(space: Transport, job: FetchJob, window: "_Window") -> None:
    def count(_size_bytes: int) -> None:
        job.on_bytes(window.take_news())

    with contextlib.suppress(_EnoughError):
        space.read_into(job.path, window, offset=window.at, on_bytes=count)
    job.on_bytes(window.take_news())
    if window.at != window.end:
        raise CutOff(
            f"download {job.path}: cut at byte {window.at}", op="download", path=job.path, retryable=True
        )


def _is_far(transport: Transport, path: RelPath) -> bool:
    """Measure one round trip, and tell whether it is long."""
    started = time.monotonic()
    transport.stat(path)
    return time.monotonic() - started > _WORTH_SEGMENTS_S


# --- sinks


class _EnoughError(OSError):
    """The range is complete; what else the server sends is not wanted."""


class _OtherContentError(OSError):
    """What the server sends is not what the part holds at that place."""


class _Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        """Append `data`."""
        self.data += data


class _Continuing:
    """A sink that first compares with what the part holds already, then adds to it."""

    def __init__(self, file: io.FileIO, expected: bytes) -> None:
        self._file = file
        self._expected = expected

    def write(self, data: bytes | memoryview, /) -> None:
        """Compare or append `data`."""
        block = memoryview(data)
        if self._expected:
            known = min(len(self._expected), len(block))
            if block[:known] != self._expected[:known]:
                raise _OtherContentError
            self._expected = self._expected[known:]
            block = block[known:]
        while block:
            block = block[self._file.write(block) or 0 :]


class _UsedUpError(CutOff):
    """A connection that must not be used again."""


class _Window:
    """A sink that writes to one range of a file and then, unless the range ends with the file, has enough."""

    def __init__(self, descriptor: int, start: int, end: int, *, whole: bool) -> None:
        self._descriptor = descriptor
        self._whole = whole
        self._told = start
        self.at = start
        self.end = end

    def write(self, data: bytes | memoryview, /) -> None:
        """Write `data` at its place, up to the range's end."""
        block = memoryview(data)[: self.end - self.at]
        while block:
            written = os.pwrite(self._descriptor, block, self.at)
            self.at += written
            block = block[written:]
        if self.at == self.end and not self._whole:
            raise _EnoughError

    def take_news(self) -> int:
        """Return how many bytes have been kept since the last question."""
        news, self._told = self.at - self._told, self.at
        return news
