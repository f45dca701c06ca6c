"""A workspace with every kind of archive, and the command line to try on it."""

import contextlib
import dataclasses
import gzip
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import py7zr
import pytest

from iqdata.cli import run
from iqdata.server.space import EmbeddedSpace


@dataclasses.dataclass(frozen=True)
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self):
        """Its last JSON line."""
        return self.lines[-1]


@pytest.fixture
def iqdata(monkeypatch):
    """Run a command line in this process: `iqdata("-C", folder, "push", password="…")`."""
    monkeypatch.setenv("HOME", "/nonexistent")

    def call(*arguments, password="pw"):
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setenv("IQDATA_PASSWORD", password)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(argument) for argument in arguments])
        return Ran(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def space(tmp_path):
    """An embedded space with the account `team`, password `pw`."""
    with EmbeddedSpace(tmp_path / "space", users={"team": "pw"}) as running:
        yield running


@pytest.fixture
def home(tmp_path):
    """The folder of the account in `space`."""
    return tmp_path / "space" / "homes" / "team"


def files_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by its `/` path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def make_workspace(folder: Path) -> Path:
    """Write loose files and archives of each kind, and return the folder."""
    data = folder / "train_data"
    (data / "sub" / "empty").mkdir(parents=True)
    (folder / "group_data").mkdir()
    (data / "loose.csv").write_text("a,b\n1,2\n")
    (data / "sub" / "größe 1.bin").write_bytes(bytes(range(256)) * 300)
    (data / "my.target.csv").write_text("not,an\narchive,1\n")
    (folder / "group_data" / "shared.txt").write_text("for all\n")
    with tarfile.open(data / "vectors.tar.gz", "w:gz") as archive:
        for name, size in (("vectors/en.csv", 50_000), ("vectors/zh.csv", 20)):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = size, 1_700_000_000
            archive.addfile(member, io.BytesIO(b"v" * size))
    with zipfile.ZipFile(data / "sub" / "words.zip", "w", zipfile.ZIP_DEFLATED) as archive_zip:
        archive_zip.writestr("words/a.csv", "hot,cold\n" * 100)
    with py7zr.SevenZipFile(data / "pairs.7z", "w") as archive_7z:
        archive_7z.writestr("x,y\n" * 200, "pairs/train.csv")
    with gzip.GzipFile(data / "freq.csv.gz", "wb", mtime=1_700_000_000) as stream:
        stream.write(b"the,1\n" * 1000)
    return folder


@pytest.fixture
def workspace(tmp_path):
    """A filled workspace."""
    return make_workspace(tmp_path / "workspace")


def shell(command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Run a command line of a foreign client, bounded."""
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=60, check=False, **kwargs
    )
