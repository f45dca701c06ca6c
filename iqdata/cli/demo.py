"""`demo`: the whole product in a minute, on real servers and real files in a temporary folder.

Refuses to pretend: each command that it shows is run, as its own process, and what is printed is what it printed.
"""

import contextlib
import gzip
import importlib.util
import io
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click

from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, say
from iqdata.errors import ConfigError, IqDataError

_TEAM, _PASSWORD = "team", "demo-secret"
_PATIENCE_S = 30.0


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the folder and say where it is.")
@everywhere
def demo_command(options: Everywhere, /, *, keep: bool) -> int:
    """See all of it in one minute: preview, push, watch, pull and a model's score, against an embedded space."""
    from iqdata.server.space import EmbeddedSpace

    with contextlib.ExitStack() as stack:
        if keep:
            root = Path(tempfile.mkdtemp(prefix="iqdata-demo-"))
        else:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iqdata-demo-")))
        space = stack.enter_context(EmbeddedSpace(root / "space", users={_TEAM: _PASSWORD}))
        story = _Story(options, root, space.url(_TEAM))
        story.tell()
        if keep:
            say(f"\nEverything is in {root}")
    return 0


class _Story:
    """The chapters, in order; each leaves what the next one needs."""

    def __init__(self, options: Everywhere, root: Path, url: str) -> None:
        self.options = options
        self.home = root / "workspace"
        self.second = root / "second"
        self.model = root / "model"
        self.there = root / "space" / "homes" / _TEAM
        self.url = url
        self.environment = {
            **os.environ,
            "IQDATA_PASSWORD": _PASSWORD,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def tell(self) -> None:
        self.chapter("1. A team's workspace: loose files and four kinds of archive")
        self.home.mkdir()
        self.run("iqdata", "init", "--space", self.url)
        _make_sample(self.home / "train_data")
        for path in _files(self.home / "train_data"):
            self.line(f"  train_data/{path}  {(self.home / 'train_data' / path).stat().st_size:,} B")

        self.chapter("2. What will the space make of it? Nothing is sent or extracted yet")
        self.run("iqdata", "preview", "train_data")
        promised = self.promised()

        self.chapter(f"3. Send it. The space at {self.url} extracts what arrives")
        self.run("iqdata", "push")

        self.chapter("4. What stands in the space now")
        self.run("iqdata", "tree")

        self.chapter("5. Was the preview right? File by file, against the space's own disk")
        self.compare_with(promised)

        self.chapter("6. Edit a file while watch runs")
        self.edit_under_watch()

        self.chapter("7. A colleague pulls into a second workspace")
        self.second.mkdir()
        self.run("iqdata", "-C", str(self.second), "--space", self.url, "init", quiet=True)
        self.run("iqdata", "-C", str(self.second), "pull")
        self.run("iqdata", "sync", quiet=True)
        self.same_trees()

        self.chapter("8. A model reads an extracted file through iqeval.resolve, and is scored")
        _make_model(self.model)
        suite = _own_suite()
        self.run("iqeval", "run", str(self.model), "-c", str(suite), "-w", str(self.home))

    # --- telling
    def chapter(self, title: str) -> None:
        """Open a chapter."""
        if not self.options.json_lines:
            say(f"\n{click.style(title, bold=True)}")

    def line(self, text: str) -> None:
        """Say something of the demo's own."""
        if not self.options.json_lines:
            say(text)

    def check(self, name: str, *, ok: bool, text: str) -> None:
        """Say what a comparison found; the demo stops at the first that fails.

        Raises:
            IqDataError: it failed.
        """
        if self.options.json_lines:
            emit({"event": "check", "check": name, "ok": ok, "text": text})
        else:
            say(f"  {'✓' if ok else '✗'} {text}")
        if not ok:
            raise IqDataError(f"demo: {name}: {text}")

    # --- doing
    def run(self, program: str, *arguments: str, quiet: bool = False) -> str:
        """Run one of our commands as a user would, show it, and return what it wrote.

        Raises:
            IqDataError: it failed.
        """
        if not quiet:
            self.line(click.style(f"$ {shlex.join([program, *arguments])}", dim=True))
        silent = quiet or self.options.json_lines
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S603  # our own program with our own arguments
            [sys.executable, "-m", program, *arguments],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE if silent else None,
            stderr=subprocess.PIPE if silent else None,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise IqDataError(
                f"demo: {shlex.join([program, *arguments])} ended with {done.returncode}: {done.stderr or ''}"
            )
        if self.options.json_lines:
            emit({"event": "command", "command": [program, *arguments], "exit_code": done.returncode})
        return done.stdout or ""

    def promised(self) -> dict[str, int]:
        """Return path → size of what preview announces plus the loose files."""
        output = self.run("iqdata", "--json", "preview", "train_data", quiet=True)
        found = {
            f"train_data/{path}": (self.home / "train_data" / path).stat().st_size
            for path in _files(self.home / "train_data")
        }
        for text in output.splitlines():
            value = json.loads(text)
            for entry in value.get("entries", ()):
                if entry["type"] == "file" and entry["effect"] != "refuse":
                    found[entry["path"]] = entry["size_bytes"]
        return found

    def compare_with(self, promised: dict[str, int]) -> None:
        """Compare the announcement with the space's disk."""
        for path, size in sorted(promised.items()):
            standing = self.there / path
            is_there = standing.is_file()
            self.check(
                "preview",
                ok=is_there and standing.stat().st_size == size,
                text=f"{path}  {size:,} B" + ("" if is_there else "  is missing"),
            )
        more = {f"train_data/{path}" for path in _files(self.there / "train_data")} - set(promised)
        self.check(
            "nothing else",
            ok=not more,
            text="nothing else stands there" if not more else f"not announced: {sorted(more)}",
        )

    def edit_under_watch(self) -> None:
        """Start `iqdata watch`, change a file, wait until the space has it, stop the watch."""
        self.line(click.style("$ iqdata watch &", dim=True))
        sys.stdout.flush()
        with subprocess.Popen(  # our own program
            [sys.executable, "-m", "iqdata", "watch", "--settle", "0.2"],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as watch:
            try:
                if watch.stdout is None:
                    raise IqDataError("demo: watch has no output")
                self.line("  " + watch.stdout.readline().strip())
                self.line(click.style("$ echo 'seven,7' >> train_data/notes.csv", dim=True))
                with (self.home / "train_data" / "notes.csv").open("a") as notes:
                    notes.write("seven,7\n")
                self.line("  " + watch.stdout.readline().strip())
                mine = (self.home / "train_data" / "notes.csv").read_bytes()
                deadline = time.monotonic() + _PATIENCE_S
                while (
                    self.there / "train_data" / "notes.csv"
                ).read_bytes() != mine and time.monotonic() < deadline:
                    time.sleep(0.05)
            finally:
                watch.send_signal(signal.SIGINT)
                watch.communicate(timeout=_PATIENCE_S)
        arrived = (self.there / "train_data" / "notes.csv").read_bytes() == mine
        self.check("watch", ok=arrived, text="the space holds the edited file")

    def same_trees(self) -> None:
        """Compare workspace, space and second workspace byte by byte."""
        trees = [_contents(folder / "train_data") for folder in (self.home, self.there, self.second)]
        same = trees[0] == trees[1] == trees[2]
        self.check(
            "parity",
            ok=same,
            text=f"workspace, space and second workspace hold the same {len(trees[1])} files, byte by byte"
            if same
            else f"they differ in {sorted({path for tree in trees for path in tree if any(tree[path] != other.get(path) for other in trees)})[:5]}",
        )


def _files(folder: Path) -> Iterator[str]:
    """Yield the files below a folder as `/` paths, sorted."""
    yield from sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _contents(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in _files(folder)}


def _make_sample(folder: Path) -> None:
    """Write loose files, a .tar.gz, a .7z, a .zip and a .gz; the same ones every time."""
    import py7zr

    numbers = random.Random(7)  # noqa: S311  # sample data, no secret
    folder.mkdir(exist_ok=True)
    (folder / "notes.csv").write_text("word,number\none,1\ntwo,2\n")
    (folder / "images").mkdir()
    (folder / "images" / "noise.bin").write_bytes(numbers.randbytes(200_000))
    rows = "".join(f"{index},{numbers.random():.6f}\n" for index in range(4000))
    with tarfile.open(folder / "vectors.tar.gz", "w:gz") as archive:
        for name, text in (("vectors/en.csv", rows), ("vectors/steps.csv", "sequence,step\narithmetic,3\n")):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(text), 1_700_000_000, 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    with zipfile.ZipFile(folder / "words.zip", "w", zipfile.ZIP_DEFLATED) as archive_zip:
        archive_zip.writestr("words/opposites.csv", "hot,cold\nbig,small\n")
    with py7zr.SevenZipFile(folder / "pairs.7z", "w") as archive_7z:
        archive_7z.writestr("a,b\n" * 500, "pairs/train.csv")
    with gzip.GzipFile(folder / "frequencies.csv.gz", "wb", mtime=1_700_000_000) as stream:
        stream.write(rows.encode()[:30_000])


_ENTRY = """\
import csv

import iqeval

steps = {}


class Model:
    def pre_run(self):
        pass

    def solve(self, question):
        # The step comes from a file that the space extracted: train_data/vectors/steps.csv.
        numbers = [int(word) for word in question["stem"].replace(",", " ").split() if word.lstrip("-").isdigit()]
        if len(numbers) < 2:
            return [question["id"], [1]]
        following = str(2 * numbers[-1] - numbers[-2])
        options = question["options"]
        if not options:
            return [question["id"], following]
        return [question["id"], [options.index(following) + 1 if following in options else steps["arithmetic"]]]


def global_pre_run():
    with open(iqeval.resolve("vectors/steps.csv")) as table:
        steps.update((row["sequence"], int(row["step"])) for row in csv.DictReader(table))


def get_model_object(category):
    return Model()
"""


def _make_model(folder: Path) -> None:
    """Write a model as teams pack them: entry.json and a module."""
    folder.mkdir()
    (folder / "entry.json").write_text('{"model": "steps_model"}\n')
    (folder / "steps_model.py").write_text(_ENTRY)


def _own_suite() -> Path:
    """Return the configuration of the suite that ships with iqeval, found without importing it.

    Raises:
        ConfigError: iqeval is not installed.
    """
    found = importlib.util.find_spec("iqeval")
    for folder in found.submodule_search_locations or () if found else ():
        config = Path(folder) / "suite" / "config.json"
        if config.is_file():
            return config
    raise ConfigError("iqeval's own suite is not installed; install the distribution whole")
