"""A space that is mounted here: `file:///mnt/space`.

Refuses to follow links: what is listed as a link is neither read nor written through.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from iqdata.errors import ConnectFailed, CutOff, Missing, Refused, TransportError
from iqdata.paths import RelPath, check_name
from iqdata.transports.base import (
    BLOCK_BYTES,
    Capabilities,
    Fetched,
    FetchJob,
    Published,
    PublishJob,
    Sink,
    Source,
    fetch_one_by_one,
    publish_one_by_one,
)
from iqdata.tree import FOLDER, Entry, Kind

_FULL = (errno.ENOSPC, errno.EDQUOT)
_RETRYABLE = (errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.EIO)


class LocalTransport:
    """The folder `root` as a space."""

    def __init__(self, root: Path) -> None:
        """Check that the folder is there.

        Raises:
            ConnectFailed: it is not; an unmounted space must not look like an empty one.
        """
        if not root.is_dir():
            raise ConnectFailed(f"space file://{root}: there is no such folder; is it mounted?", op="connect")
        self._root = os.fspath(root).rstrip("/")
        self._open = True

    @property
    def capabilities(self) -> Capabilities:
        """All of them, as a file system has."""
        return Capabilities(mtime_step_ns=1, sets_mtime=True, hashes=("sha256", "sha1", "md5"), resumes=True)

    def _absolute(self, path: RelPath, *, op: str) -> str:
        """Return the real path, with no link between the root and the last part.

        Raises:
            Refused: a link lies on the way.
        """
        if not self._open:
            raise CutOff(f"{op}: the connection is closed", op=op)
        place = self._root
        for part in path.parts[:-1]:
            place = f"{place}/{part}"
            if Path(place).is_symlink():
                raise Refused(f"{op} {path}: {part!r} is a link, which is not followed", op=op, path=path)
        return f"{self._root}/{path}" if path else self._root or "/"

    @property
    def encryption(self) -> str | None:
        """None is needed: nothing leaves this machine by this way."""
        return "none needed: no network between"

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return the entries of one folder by base name."""
        entries = {}
        with _translated("list", path):
            place = self._absolute(path, op="list")
            if path and Path(place).is_symlink():
                raise Refused(f"list {path}: it is a link, which is not followed", op="list", path=path)
            with os.scandir(place) as found:
                for item in found:
                    entries[check_name(item.name)] = _entry(item.stat(follow_symlinks=False))
        return entries

    def stat(self, path: RelPath) -> Entry | None:
        """Return one entry, or None when nothing is there."""
        try:
            return _entry(os.lstat(self._absolute(path, op="look at")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _error(exc, op="look at", path=path) from exc

    def read_into(
        self, path: RelPath, sink: Sink, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy the file from `offset` to its end into `sink`."""
        with _translated("download", path):
            handle = os.open(self._absolute(path, op="download"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        count = 0
        try:
            with _translated("download", path):
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise Refused(f"download {path}: it is no file", op="download", path=path)
                os.lseek(handle, offset, os.SEEK_SET)
            while True:
                with _translated("download", path):
                    block = os.read(handle, BLOCK_BYTES)
                if not block:
                    return count
                sink.write(block)
                count += len(block)
                on_bytes(len(block))
        finally:
            os.close(handle)

    def write_from(
        self, path: RelPath, source: Source, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Write `source` to `path` from `offset` on."""
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if offset else os.O_CREAT)
        with _translated("upload", path):
            handle = os.open(self._absolute(path, op="upload"), flags, 0o666)
        count = 0
        try:
            with _translated("upload", path):
                if os.fstat(handle).st_size < offset:
                    raise Refused(f"upload {path}: it is shorter than {offset} bytes", op="upload", path=path)
                os.ftruncate(handle, offset)
                os.lseek(handle, offset, os.SEEK_SET)
            while block := source.read(BLOCK_BYTES):
                with _translated("upload", path):
                    rest = memoryview(block)
                    while rest:
                        rest = rest[os.write(handle, rest) :]
                count += len(block)
                on_bytes(len(block))
        finally:
            os.close(handle)
        return count

    def publish(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Upload files in the safe order."""
        return publish_one_by_one(self, jobs)

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
        """Download whole files."""
        return fetch_one_by_one(self, jobs)

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`."""
        with _translated("rename", source):
            goal = self._absolute(target, op="rename")
            if Path(goal).is_dir() and not Path(goal).is_symlink():
                # rename(2) would replace an empty folder by a folder; other servers refuse, and so does this one.
                raise Refused(f"rename {source}: {target} is a folder", op="rename", path=source)
            Path(self._absolute(source, op="rename")).rename(goal)

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete one file, or one empty folder."""
        with _translated("delete", path):
            place = Path(self._absolute(path, op="delete"))
            place.rmdir() if kind is Kind.FOLDER else place.unlink()

    def make_folder(self, path: RelPath) -> None:
        """Create one folder; one that is there already is no error."""
        with _translated("make folder", path):
            place = Path(self._absolute(path, op="make folder"))
            try:
                place.mkdir()
            except FileExistsError:
                if place.is_symlink() or not place.is_dir():
                    raise

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date a file."""
        with _translated("date", path):
            os.utime(self._absolute(path, op="date"), ns=(mtime_ns, mtime_ns), follow_symlinks=False)
        return True

    def checksum(self, path: RelPath, algorithm: str) -> bytes | None:
        """Return the hash of a file's content, computed here."""
        if algorithm not in self.capabilities.hashes:
            return None
        digest = hashlib.new(algorithm, usedforsecurity=False)
        self.read_into(path, _Digest(digest.update), on_bytes=lambda _size: None)
        return digest.digest()

    def abort(self) -> None:
        """Refuse further requests."""
        self._open = False

    def close(self) -> None:
        """Refuse further requests."""
        self._open = False


class _Digest:
    """A sink that only hashes."""

    __slots__ = ("write",)

    def __init__(self, update: Callable[[bytes | memoryview], None]) -> None:
        self.write = update


def _entry(status: os.stat_result) -> Entry:
    if stat.S_ISDIR(status.st_mode):
        return FOLDER
    kind = Kind.FILE if stat.S_ISREG(status.st_mode) else Kind.OTHER
    return Entry(kind, status.st_size if kind is Kind.FILE else 0, status.st_mtime_ns)


@contextlib.contextmanager
def _translated(op: str, path: RelPath) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _error(exc, op=op, path=path) from exc


def _error(exc: OSError, *, op: str, path: RelPath) -> TransportError:
    why = exc.strerror or str(exc)
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return Missing(f"{op} {path}: there is no such path in the space", op=op, path=path, reply=why)
    if exc.errno in _FULL:
        return Refused(f"{op} {path}: the space is full ({why})", op=op, path=path, reply=why)
    return Refused(f"{op} {path}: {why}", op=op, path=path, reply=why, retryable=exc.errno in _RETRYABLE)
