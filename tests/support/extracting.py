"""A space in a folder that extracts like the real one, at a time and in a way that a test chooses; and a clock to go with it.

The extraction itself is the product's engine; only when it happens, how much of it, and what becomes of the archive is played.
"""

import contextlib
import dataclasses
import datetime
import enum
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from iqdata.extract.engine import extract
from iqdata.paths import AREAS, RelPath
from iqdata.rules import tool_for
from iqdata.transports.base import fetch_one_by_one, publish_one_by_one
from iqdata.transports.local import LocalTransport
from iqdata.tree import Entry, Kind

NANOSECONDS = 1_000_000_000


class When(enum.Enum):
    """When the space extracts."""

    NOW = "now"
    LATE = "late"
    PARTLY = "partly"
    NEVER = "never"


@dataclasses.dataclass(frozen=True)
class Manners:
    """How a space behaves; `declared` spaces say what they do, `logged` ones also what they did."""

    when: When = When.NOW
    late_by: int = 3
    keeps: bool = True
    overwrites: bool = True
    declared: bool = True
    logged: bool = True
    step_ns: int = 1
    dates: bool = True


class Crash(BaseException):
    """The process is gone: nothing that runs later in it has any effect."""


class World:
    """Time, and the moments at which something may happen: each request to a space is one."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000
        self.skew = 0
        self.ticking = 0.0
        self.moment = 0
        self.crash_at: int | None = None
        self.hook_at: int | None = None
        self.hook: Callable[[], None] | None = None
        self.dead = False
        self.serving = False

    def arm(
        self,
        *,
        crash_at: int | None = None,
        hook_at: int | None = None,
        hook: Callable[[], None] | None = None,
    ) -> None:
        """Begin a run in which something may happen."""
        self.moment, self.dead = 0, False
        self.crash_at, self.hook_at, self.hook = crash_at, hook_at, hook

    def disarm(self) -> None:
        """End it."""
        self.arm()

    def pass_moment(self) -> None:
        """Count one moment; the one chosen brings the crash, or the other party's act."""
        if self.serving:
            return
        if self.dead:
            raise Crash
        self.moment += 1
        self.ticking += 0.3
        if self.moment == self.crash_at:
            self.dead = True
            raise Crash
        if self.moment == self.hook_at and self.hook is not None:
            hook, self.hook = self.hook, None
            hook()

    @contextlib.contextmanager
    def at_the_server(self) -> Iterator[None]:
        """What happens inside is one step of the server: nobody comes between, and the client's death does not stop it."""
        before, self.serving = self.serving, True
        try:
            yield
        finally:
            self.serving = before

    def stamp(self) -> int:
        """Return a new time in seconds that no file has yet; four seconds apart, so that coarse clocks tell them apart."""
        self.seconds += 4
        return self.seconds

    def now(self) -> datetime.datetime:
        """Return the clients' clock."""
        return datetime.datetime.fromtimestamp(self.seconds + self.skew, datetime.UTC)

    def monotonic(self) -> float:
        """Return a clock that only runs on."""
        return self.ticking

    def sleep(self, seconds: float) -> None:
        """Let time pass; that is a moment too."""
        self.ticking += seconds
        self.pass_moment()


class ExtractingSpace:
    """The folder of a space, and what waits to be extracted in it."""

    def __init__(self, root: Path, manners: Manners, world: World) -> None:
        self.root = root
        self.manners = manners
        self.world = world
        self.waiting: list[tuple[int, str]] = []
        self.requests = 0
        self.on_overwrite: Callable[[bytes, str], None] = lambda _content, _why: None
        self.on_extracted: Callable[[str], None] = lambda _archive: None
        for area in AREAS:
            (root / area).mkdir(parents=True)
        private = root / ".iqdata"
        private.mkdir()
        self.log = private / "extractions.jsonl"
        if manners.declared:
            said = {
                "extracts_on": ["upload", "rename"],
                "keeps_archive": manners.keeps,
                "overwrites": manners.overwrites,
                "log": "/.iqdata/extractions.jsonl" if manners.logged else None,
            }
            (private / "space.json").write_text(json.dumps(said))

    def published(self, path: str) -> None:
        """Take note of a file that got its real name."""
        if self.manners.when is When.NEVER or tool_for(path) is None:
            return
        late = self.manners.late_by if self.manners.when is When.LATE else 0
        self.waiting.append((self.requests + late, path))
        self.go_on()

    def go_on(self) -> None:
        """Extract what is due."""
        while self.waiting and self.waiting[0][0] <= self.requests:
            with self.world.at_the_server():
                self._extract(self.waiting.pop(0)[1])

    def catch_up(self) -> None:
        """Extract all that waits."""
        while self.waiting:
            with self.world.at_the_server():
                self._extract(self.waiting.pop(0)[1])

    def _extract(self, path: str) -> None:
        archive = self.root / path
        if not archive.is_file():
            return
        stage = self.root / ".iqdata" / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
        result = extract(archive, stage)
        size = archive.stat().st_size
        status, error = result.status.value, result.error
        found = sorted(item for item in stage.rglob("*") if item.is_file())
        if self.manners.when is When.PARTLY and found:
            found = found[: len(found) // 2]
            status, error = "too-large", "the quota is used up"
        for item in sorted(stage.rglob("*")):
            target = archive.parent / item.relative_to(stage)
            if item.is_dir():
                if not target.exists():
                    target.mkdir(parents=True)
                continue
            if item not in found or (target.exists() and not self.manners.overwrites) or target.is_dir():
                continue
            if any(above.is_file() for above in target.parents):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_file():
                self.on_overwrite(target.read_bytes(), path)
            item.replace(target)
        if not self.manners.keeps and status == "ok":
            self.on_extracted(path)
            archive.unlink()
        line = {"archive": f"/{path}", "status": status, "error": error, "size_bytes": size}
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def connect(self) -> "ExtractingTransport":
        """Return a connection."""
        return ExtractingTransport(self)


class ExtractingTransport:
    """A connection to an `ExtractingSpace`: a mounted folder, each of whose requests is a moment of the world."""

    def __init__(self, space: ExtractingSpace) -> None:
        self._space = space
        self._inner = LocalTransport(space.root)

    def _request(self) -> LocalTransport:
        self._space.world.pass_moment()
        self._space.requests += 1
        self._space.go_on()
        return self._inner

    @property
    def capabilities(self):
        manners = self._space.manners
        return msgspec.structs.replace(
            self._inner.capabilities, mtime_step_ns=manners.step_ns, sets_mtime=manners.dates, hashes=()
        )

    def _coarse(self, entry: Entry | None) -> Entry | None:
        step = self._space.manners.step_ns
        if entry is None or entry.mtime_ns is None:
            return entry
        return Entry(entry.kind, entry.size_bytes, entry.mtime_ns // step * step)

    def list_folder(self, path):
        return {name: self._coarse(entry) for name, entry in self._request().list_folder(path).items()}

    def stat(self, path):
        return self._coarse(self._request().stat(path))

    def read_into(self, path, sink, *, offset=0, on_bytes):
        return self._request().read_into(path, sink, offset=offset, on_bytes=on_bytes)

    def write_from(self, path, source, *, offset=0, on_bytes):
        count = self._request().write_from(path, source, offset=offset, on_bytes=on_bytes)
        stamp = self._space.world.stamp() * NANOSECONDS  # the server's own clock, whatever the client's says
        os.utime(self._space.root / path, ns=(stamp, stamp))
        return count

    def publish(self, jobs):
        return publish_one_by_one(self, jobs)

    def fetch(self, jobs):
        return fetch_one_by_one(self, jobs)

    def rename(self, source, target):
        inner = self._request()
        standing = self._space.root / target
        with self._space.world.at_the_server():
            if standing.is_file():
                self._space.on_overwrite(standing.read_bytes(), f"rename to {target}")
            inner.rename(source, target)
            self._space.published(target)

    def remove(self, path: RelPath, kind: Kind) -> None:
        inner = self._request()
        standing = self._space.root / path
        if standing.is_file():
            self._space.on_overwrite(standing.read_bytes(), f"removal of {path}")
        inner.remove(path, kind)

    def make_folder(self, path):
        self._request().make_folder(path)

    def set_mtime(self, path, mtime_ns):
        if not self._space.manners.dates:
            return False
        return self._request().set_mtime(
            path, mtime_ns // NANOSECONDS * NANOSECONDS if self._space.manners.step_ns > 1 else mtime_ns
        )

    def checksum(self, path, algorithm):
        return None

    def abort(self):
        self._inner.abort()

    def close(self):
        self._inner.close()
