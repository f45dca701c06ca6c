"""A space kept in RAM: a real one for tests and trials, gone with the process.

Refuses to be a mock: it keeps every promise of the port, and passes the same contract tests as the other adapters.
"""

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from iqdata.errors import CutOff, Missing, Refused
from iqdata.paths import ROOT, RelPath
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

_SPACES: dict[tuple[str, str], "MemorySpace"] = {}
_SPACES_LOCK = threading.Lock()


@dataclasses.dataclass(slots=True)
class _File:
    content: bytearray
    mtime_ns: int


class MemorySpace:
    """Files and folders by path; several transports share one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.folders: dict[RelPath, dict[str, _File | None]] = {ROOT: {}}


def shared_space(host: str, root: str) -> MemorySpace:
    """Return this process's space for `memory://host/root`, empty the first time."""
    with _SPACES_LOCK:
        return _SPACES.setdefault((host, root), MemorySpace())


class MemoryTransport:
    """One connection to a `MemorySpace`."""

    def __init__(self, space: MemorySpace) -> None:
        self._space = space
        self._open = True

    @property
    def capabilities(self) -> Capabilities:
        """All of them."""
        return Capabilities(mtime_step_ns=1, sets_mtime=True, hashes=("sha256", "sha1", "md5"), resumes=True)

    def _folder(self, path: RelPath, *, op: str) -> dict[str, _File | None]:
        if not self._open:
            raise CutOff(f"{op}: the connection is closed", op=op)
        folder = self._space.folders.get(path)
        if folder is None:
            if self._file_or_none(path) is not None:
                raise Refused(f"{op} {path}: it is a file", op=op, path=path)
            raise Missing(f"{op} {path}: there is no such folder", op=op, path=path)
        return folder

    def _file_or_none(self, path: RelPath) -> _File | None:
        return self._space.folders.get(path.parent, {}).get(path.name)

    def _file(self, path: RelPath, *, op: str) -> _File:
        parent = self._folder(path.parent, op=op)
        if path.name not in parent or not path:
            raise Missing(f"{op} {path}: there is no such path in the space", op=op, path=path)
        file = parent[path.name]
        if file is None:
            raise Refused(f"{op} {path}: it is a folder", op=op, path=path)
        return file

    @property
    def encryption(self) -> str | None:
        """None is needed: nothing leaves this machine by this way."""
        return "none needed: no network between"

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return the entries of one folder by base name."""
        with self._space.lock:
            return {name: _entry(file) for name, file in self._folder(path, op="list").items()}

    def stat(self, path: RelPath) -> Entry | None:
        """Return one entry, or None when nothing is there."""
        with self._space.lock:
            if path in self._space.folders:
                self._folder(path, op="look at")
                return FOLDER
            file = self._file_or_none(path)
            return None if file is None else _entry(file)

    def read_into(
        self, path: RelPath, sink: Sink, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy the file from `offset` to its end into `sink`."""
        with self._space.lock:
            content = bytes(memoryview(self._file(path, op="download").content)[offset:])
        for start in range(0, len(content), BLOCK_BYTES):
            block = content[start : start + BLOCK_BYTES]
            sink.write(block)
            on_bytes(len(block))
        return len(content)

    def write_from(
        self, path: RelPath, source: Source, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Write `source` to `path` from `offset` on."""
        with self._space.lock:
            parent = self._folder(path.parent, op="upload")
            if path in self._space.folders:
                raise Refused(f"upload {path}: it is a folder", op="upload", path=path)
            file = parent.get(path.name) or _File(bytearray(), time.time_ns())
            if offset > len(file.content):
                raise Refused(
                    f"upload {path}: {offset} lies beyond its {len(file.content)} bytes",
                    op="upload",
                    path=path,
                )
            del file.content[offset:]
            parent[path.name] = file
        count = 0
        while block := source.read(BLOCK_BYTES):
            with self._space.lock:
                file.content += block
                file.mtime_ns = time.time_ns()
            count += len(block)
            on_bytes(len(block))
        return count

    def publish(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Upload files in the safe order."""
        return publish_one_by_one(self, jobs)

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
        """Download whole files."""
        return fetch_one_by_one(self, jobs)

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`."""
        with self._space.lock:
            folders = self._space.folders
            parent, goal = self._folder(source.parent, op="rename"), self._folder(target.parent, op="rename")
            if not source or source.name not in parent:
                raise Missing(
                    f"rename {source}: there is no such path in the space", op="rename", path=source
                )
            standing = target.name in goal
            if parent[source.name] is None:
                if target.is_below(source):
                    raise Refused(f"rename {source}: {target} lies in it", op="rename", path=source)
                if standing:
                    raise Refused(f"rename {source}: {target} exists", op="rename", path=source)
                for path in [path for path in folders if path.is_below(source)]:
                    folders[RelPath(target + path[len(source) :])] = folders.pop(path)
            elif standing and goal[target.name] is None:
                raise Refused(f"rename {source}: {target} is a folder", op="rename", path=source)
            goal[target.name] = parent.pop(source.name)

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete one file, or one empty folder."""
        with self._space.lock:
            parent = self._folder(path.parent, op="delete")
            if kind is Kind.FOLDER:
                if self._folder(path, op="delete") or not path:
                    raise Refused(f"delete {path}: the folder is not empty", op="delete", path=path)
                del self._space.folders[path]
            else:
                self._file(path, op="delete")
            del parent[path.name]

    def make_folder(self, path: RelPath) -> None:
        """Create one folder; one that is there already is no error."""
        with self._space.lock:
            parent = self._folder(path.parent, op="make folder")
            if path in self._space.folders:
                return
            if path.name in parent:
                raise Refused(f"make folder {path}: a file is there", op="make folder", path=path)
            self._space.folders[path] = {}
            parent[path.name] = None

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date a file."""
        with self._space.lock:
            self._file(path, op="date").mtime_ns = mtime_ns
        return True

    def checksum(self, path: RelPath, algorithm: str) -> bytes | None:
        """Return the hash of a file's content."""
        if algorithm not in self.capabilities.hashes:
            return None
        with self._space.lock:
            return hashlib.new(algorithm, self._file(path, op="hash").content, usedforsecurity=False).digest()

    def abort(self) -> None:
        """Refuse further requests."""
        self._open = False

    def close(self) -> None:
        """Refuse further requests."""
        self._open = False


def _entry(file: _File | None) -> Entry:
    return FOLDER if file is None else Entry(Kind.FILE, len(file.content), file.mtime_ns)
