"""A workspace and a space that are edited, disturbed and brought together again, and what must hold after each round.

`Trial` knows every content that a user wrote and has not given up, and every content that may stand under a real name.
"""

import gzip
import hashlib
import io
import os
import random
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from iqdata import sync as sync_module
from iqdata.actions import Direction, Policy
from iqdata.config import Settings
from iqdata.errors import IqDataError
from iqdata.events import ActionKind, Report
from iqdata.location import Location
from iqdata.paths import AREAS
from iqdata.rules import is_temporary, tool_for
from iqdata.sync import Clocks, Request, run
from iqdata.transports.base import Connector

LOOSE = ("a.txt", "b.txt", "c 1.txt", "d/e.txt", "d/f/g.txt", "größe.bin", "h.bin", "i.bin")
ARCHIVES = ("v.tar.gz", "w.zip", "d/x.tar", "y.txt.gz")
MEMBERS = ("a.txt", "m/n.txt", "m/o.bin", "p.csv")


def digest(content: bytes) -> bytes:
    """Return a short name for a content."""
    return hashlib.blake2b(content, digest_size=12).digest()


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the areas' files by path, temporary names included."""
    found = {}
    for area in AREAS:
        for path in sorted((folder / area).rglob("*")):
            if path.is_file():
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


class Trial:
    """One workspace and the folder of one space."""

    def __init__(
        self,
        workspace: Path,
        root: Path,
        url: str,
        *,
        seed: int,
        owner: str | None = None,
        large: bool = True,
        extracts: bool = False,
    ) -> None:
        self.workspace = workspace
        self.root = root
        self.url = url
        self.random = random.Random(seed)
        self.owner = owner
        self.large = large
        self.extracts = extracts
        self.owed: dict[bytes, str] = {}
        self.whole: set[bytes] = set()
        self.counter = 0
        for area in AREAS:
            (workspace / area).mkdir(parents=True, exist_ok=True)

    # --- what users do
    def content(self) -> bytes:
        """Return bytes that no file had before."""
        self.counter += 1
        sizes = [9, 9, 100, 5_000, 60_000, 300_000] + ([1_500_000] if self.large else [])
        # No two of one size: a listing by LIST tells old files apart by size and day only.
        size = self.random.choice(sizes) + self.counter
        made = (f"{self.counter:08d}\n".encode() + self.random.randbytes(max(0, size - 9)))[:size]
        self.whole.add(digest(made))
        return made

    def put(self, root: Path, path: str, content: bytes) -> None:
        """Write a file as a user does: whole, and dated like no other."""
        target = root / path
        if target.is_dir() or any(above.is_file() for above in target.parents):
            return
        if target.is_file():
            self.owed.pop(digest(target.read_bytes()), None)
        made = [above for above in target.parents if not above.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = root / f"beside-{self.counter}"
        beside.write_bytes(content)
        stamp = (1_700_000_000 + self.counter * 4) * 10**9
        os.utime(beside, ns=(stamp, stamp))
        if root == self.root and self.owner:
            for item in (beside, *made):
                shutil.chown(item, self.owner)
        beside.replace(target)
        self.owed[digest(content)] = f"{root.name}: {path}"
        self.whole.add(digest(content))

    def archive(self, name: str) -> bytes:
        """Return a new archive for this name."""
        members = {
            member: self.content() for member in self.random.sample(MEMBERS, self.random.randint(1, 3))
        }
        stamp = 1_700_000_000 + self.counter * 4 + 2
        buffer = io.BytesIO()
        if name.endswith(".zip"):
            with zipfile.ZipFile(buffer, "w") as pack:
                for member, content in members.items():
                    pack.writestr(zipfile.ZipInfo(member, time.gmtime(stamp)[:6]), content)
        elif ".tar" in name:
            with tarfile.open(fileobj=buffer, mode="w:gz" if name.endswith("gz") else "w") as pack:
                for member, content in members.items():
                    header = tarfile.TarInfo(member)
                    header.size, header.mtime = len(content), stamp
                    pack.addfile(header, io.BytesIO(content))
        else:
            with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=stamp) as pack:
                pack.write(self.content())
        return buffer.getvalue()

    def edit(self) -> None:
        """Change a few things, mostly here, now and then in the space."""
        for _ in range(self.random.randint(1, 5)):
            what = self.random.random()
            if what < 0.5:
                self.put(self.workspace, self._name(LOOSE), self.content())
            elif what < 0.65:
                name = self._name(ARCHIVES)
                self.put(self.workspace, name, self.archive(name))
            elif what < 0.8:
                self._delete(self.workspace)
            elif what < 0.95:
                self.put(self.root, self._name(LOOSE), self.content())
            else:
                self._delete(self.root)

    def _name(self, names: tuple[str, ...]) -> str:
        return f"{self.random.choice(AREAS)}/{self.random.choice(names)}"

    def _delete(self, root: Path) -> None:
        found = [path for path in files_in(root) if not is_temporary(path.rpartition("/")[2])]
        if found:
            path = root / self.random.choice(found)
            self.owed.pop(digest(path.read_bytes()), None)
            path.unlink()

    # --- runs
    def sync(
        self,
        connect: Connector,
        *,
        direction: Direction = Direction.BOTH,
        delete: bool = True,
        retries: int = 2,
        wait_timeout_s: float = 5.0,
        jobs: int = 3,
        sleep: Callable[[float], None] = lambda seconds: time.sleep(min(seconds, 0.02)),
    ) -> Report:
        """Run once."""
        settings = Settings(
            workspace=self.workspace,
            location=Location.parse(self.url),
            jobs=jobs,
            retries=retries,
            max_delete="100%",
            wait_timeout_s=wait_timeout_s,
        )
        request = Request(policy=Policy(direction=direction, delete=delete))
        return run(settings, request, connect, listener=lambda _event: None, clocks=Clocks(sleep=sleep))

    def disturbed(self, connect: Connector) -> Report | IqDataError:
        """Run once in any direction, while something goes wrong."""
        direction = self.random.choice((Direction.BOTH, Direction.BOTH, Direction.PUSH, Direction.PULL))
        try:
            return self.sync(connect, direction=direction, delete=self.random.random() < 0.5)
        except IqDataError as exc:
            return exc

    # --- what must hold
    def check_nothing_half(self) -> None:
        """Every file under a real name holds a content that somebody made whole."""
        for root in (self.workspace, self.root):
            for path, content in files_in(root).items():
                if not is_temporary(path.rpartition("/")[2]):
                    assert digest(content) in self.whole, (
                        f"half a file: {root.name}: {path} ({len(content)} bytes)"
                    )

    def check_nothing_lost(self) -> None:
        """What nobody gave up stands somewhere."""
        trash = self.workspace / ".iqdata" / "trash"
        standing = {
            digest(content) for root in (self.workspace, self.root) for content in files_in(root).values()
        }
        standing |= {digest(path.read_bytes()) for path in trash.rglob("*") if path.is_file()}
        lost = [where for key, where in self.owed.items() if key not in standing]
        assert not lost, f"lost: {lost}"

    def heal(self, connect: Connector) -> None:
        """One clean run brings both sides together; another does nothing; nothing temporary is left."""
        older, sync_module._SWEEP_AFTER_S = sync_module._SWEEP_AFTER_S, 0.0
        try:
            first = self.sync(connect)
            self.check_nothing_half()
            self.check_nothing_lost()
            self.check_equal_or_said(first)
            second = self.sync(connect)
        finally:
            sync_module._SWEEP_AFTER_S = older
        moved = [outcome for outcome in second.outcomes if outcome.action is not ActionKind.SKIP]
        assert not moved, f"a second run does something: {moved}, after {first.outcomes}"
        self.check_equal_or_said(second)
        for root in (self.root, self.workspace):
            left = [
                str(path) for path in root.rglob("*") if is_temporary(path.name) and "trash" not in path.parts
            ]
            assert not left, f"temporary names left: {left}"

    def check_equal_or_said(self, report: Report) -> None:
        """Compare both sides; what differs must be in the report."""
        said = {str(outcome.path) for outcome in report.outcomes if outcome.status.value != "done"}
        here, there = files_in(self.workspace), files_in(self.root)
        archives = [path for path in said if tool_for(path)]
        for path in sorted(here.keys() | there.keys()):
            if is_temporary(path.rpartition("/")[2]) or here.get(path) == there.get(path) or path in said:
                continue
            if any(path.startswith(archive.rpartition("/")[0]) for archive in archives):
                continue
            sizes = [
                None if content is None else len(content) for content in (here.get(path), there.get(path))
            ]
            raise AssertionError(f"{path} differs and nobody says so: {sizes}; {report.outcomes}")
