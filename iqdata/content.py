"""Is a remote file's content that of a local one? By the server's own hash where it offers one, else by reading.

Refuses to look at dates and to keep what it reads.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from iqdata.errors import IqDataError
from iqdata.paths import RelPath
from iqdata.transports.base import Transport
from iqdata.transports.pool import Pool

_STRENGTH = ("sha256", "sha512", "sha1", "md5")
"""Hashes in the order of trust; any of them tells a damaged file from a whole one."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found, and how: the name of a hash, or `read`."""

    path: RelPath
    same: bool
    how: str
    error: str | None = None


class _Digest:
    """A sink that only hashes."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes | memoryview, /) -> None:
        """Feed `data` to the hash."""
        self.hash.update(data)


def compare(
    transport: Transport, path: RelPath, file: Path, *, on_bytes: Callable[[int], None] = lambda _size: None
) -> Compared:
    """Compare one remote file with one local file.

    Raises:
        TransportError: the remote file cannot be read.
        OSError: the local one cannot.
    """
    for algorithm in _STRENGTH:
        if algorithm in transport.capabilities.hashes:
            theirs = transport.checksum(path, algorithm)
            if theirs is not None:
                return Compared(path=path, same=theirs == _local(file, algorithm), how=algorithm)
    digest = _Digest()
    transport.read_into(path, digest, on_bytes=on_bytes)
    return Compared(path=path, same=digest.hash.digest() == _local(file, "sha256"), how="read")


def compare_all(pool: Pool, workspace: Path, paths: Iterable[RelPath]) -> Iterator[Compared]:
    """Compare many files, several at once, and yield the answers in the order of `paths`; a failure is an answer."""

    def one(path: RelPath) -> Compared:
        try:
            return pool.ask(lambda transport: compare(transport, path, workspace / path))
        except (IqDataError, OSError) as exc:
            return Compared(path=path, same=False, how="failed", error=str(exc))

    with ThreadPoolExecutor(max_workers=pool.limit, thread_name_prefix="compare") as workers:
        yield from workers.map(one, paths)


def _local(file: Path, algorithm: str) -> bytes:
    with file.open("rb") as source:
        return hashlib.file_digest(source, algorithm).digest()
