"""Five spaces, four clients, the same acts: the same trees and the same log."""

import contextlib
import dataclasses
import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iqdata.errors import TransportError
from iqdata.location import Location
from iqdata.paths import RelPath
from iqdata.rules import temporary_name
from iqdata.server.space import EmbeddedSpace
from iqdata.transports.base import PublishJob
from iqdata.transports.connect import connect
from iqdata.tree import Kind
from tests import servers
from tests.agents import agent, await_lines, log_of, wait_for
from tests.conftest import need_program

pytestmark = [pytest.mark.live, pytest.mark.slow]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A space in action.

    Attributes:
        location: what a client connects to.
        home: the real folder behind it.
    """

    kind: str
    location: Location
    password: str
    home: Path
    running: servers.Running | None = None


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# --- spaces


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Place]:
    with EmbeddedSpace(folder / "root", users={"team": "pw"}) as space:
        location = Location.parse(f"ftp://team@{space.host}:{space.port}/")
        # The first login makes the home.
        connect(location, password="pw").close()
        yield Place(kind="embedded", location=location, password="pw", home=space.home("team"))


def beside(start: Callable[[Path], contextlib.AbstractContextManager[servers.Running]]):
    @contextlib.contextmanager
    def place(folder: Path) -> Iterator[Place]:
        with start(folder) as running:
            owner = running.root.stat()
            for area in ("train_data", "group_data"):
                (running.root / area).mkdir()
                os.chown(running.root / area, owner.st_uid, owner.st_gid)
            with agent(running.root, log=folder / "agent.log"):
                yield Place(
                    kind=running.kind,
                    location=running.location,
                    password=running.password,
                    home=running.root,
                    running=running,
                )

    return place


SPACES = {
    "embedded": embedded,
    "vsftpd+agent": beside(servers.vsftpd),
    "ProFTPD+agent": beside(servers.proftpd),
    "Pure-FTPd+agent": beside(servers.pureftpd),
    "OpenSSH+agent": beside(servers.openssh),
}


# --- clients


class Client:
    """What every client can be asked to do; paths are relative to the space."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.ssh = place.location.scheme.value == "sftp"
        self.host, self.port = place.location.host, place.location.port
        self.user = place.location.user or ""
        self.root = place.location.root.strip("/")

    def run(self, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode} {done.stdout} {done.stderr}")
        return done

    def there(self, path: str) -> str:
        return f"/{self.root}/{path}" if self.root else f"/{path}"

    def cut(self, *command: object, path: str) -> None:
        """Start an upload that is slowed down, and kill it once a part of it has arrived."""
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
        )
        try:
            target = self.place.home / path
            wait_for(lambda: target.exists() and target.stat().st_size > 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


class Curl(Client):
    def base(self) -> list[object]:
        if not self.ssh:
            return ["curl", "-sS", "-u", f"{self.user}:{self.place.password}"]
        key = self.place.running.client_key
        return ["curl", "-sS", "-k", "-u", f"{self.user}:", "--key", key, "--pubkey", f"{key}.pub"]

    def url(self, path: str) -> str:
        return f"{'sftp' if self.ssh else 'ftp'}://{self.host}:{self.port}{self.there(path)}"

    def put(self, file: Path, path: str, *, check: bool = True) -> bool:
        return self.run(*self.base(), "-T", file, self.url(path), check=check).returncode == 0

    def quote(self, *commands: str) -> None:
        arguments = [part for command in commands for part in ("-Q", command)]
        self.run(
            *self.base(),
            *arguments,
            "-o",
            os.devnull,
            self.url("") if not self.ssh else self.url("train_data/"),
        )

    def move(self, source: str, target: str) -> None:
        if self.ssh:
            self.quote(f"rename {self.there(source)} {self.there(target)}")
        else:
            self.quote(f"RNFR {self.there(source)}", f"RNTO {self.there(target)}")

    def remove(self, path: str) -> None:
        self.quote(f"{'rm' if self.ssh else 'DELE'} {self.there(path)}")

    def abort(self, file: Path, path: str) -> None:
        self.cut(*self.base(), "--limit-rate", "50k", "-T", file, self.url(path), path=path)


class Lftp(Client):
    def script(self, text: str, *, check: bool = True, extra: str = "") -> list[object]:
        options = f"set net:max-retries 1; set net:timeout 20; set cmd:fail-exit yes; {extra}"
        if self.ssh:
            key = self.place.running.client_key
            options += f'set sftp:connect-program "ssh -a -x -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";'
        url = f"{'sftp' if self.ssh else 'ftp'}://{self.host}:{self.port}"
        password = "none" if self.ssh else self.place.password
        return ["lftp", "-e", f"{options} open -u {self.user},{password} {url}; {text}; bye"]

    def put(self, file: Path, path: str, *, check: bool = True) -> bool:
        return self.run(*self.script(f"put {file} -o {self.there(path)}"), check=check).returncode == 0

    def move(self, source: str, target: str) -> None:
        self.run(*self.script(f"mv {self.there(source)} {self.there(target)}"))

    def remove(self, path: str) -> None:
        self.run(*self.script(f"rm {self.there(path)}"))

    def abort(self, file: Path, path: str) -> None:
        command = self.script(f"put {file} -o {self.there(path)}", extra="set net:limit-rate 0:50000; ")
        self.cut(*command, path=path)


class Rclone(Client):
    hidden = ""

    def remote(self, path: str) -> str:
        if self.ssh:
            key = self.place.running.client_key
            return f":sftp,host={self.host},port={self.port},user={self.user},key_file={key},shell_type=none:{self.there(path)}"
        if not self.hidden:
            # Once: rclone hides it differently each time, and takes another text for another space.
            self.hidden = self.run("rclone", "obscure", self.place.password).stdout.strip()
        return (
            f":ftp,host={self.host},port={self.port},user={self.user},pass={self.hidden}:{self.there(path)}"
        )

    def base(self) -> list[object]:
        return [
            "rclone",
            "--config",
            os.devnull,
            "--ignore-times",
            "--retries",
            "1",
            "--low-level-retries",
            "1",
        ]

    def put(self, file: Path, path: str, *, check: bool = True) -> bool:
        return self.run(*self.base(), "copyto", file, self.remote(path), check=check).returncode == 0

    def move(self, source: str, target: str) -> None:
        self.run(*self.base(), "moveto", self.remote(source), self.remote(target))

    def remove(self, path: str) -> None:
        self.run(*self.base(), "deletefile", self.remote(path))

    def abort(self, file: Path, path: str) -> None:
        self.cut(*self.base(), "--bwlimit", "50k", "copyto", file, self.remote(path), path=path)


class Ours(Client):
    """Our own transport: what `push` and the space's verbs send."""

    def open(self):
        ssh = servers.ssh_options(self.place.running) if self.ssh else None
        return connect(self.place.location, password=self.place.password, ssh=ssh, timeout_s=20)

    def put(self, file: Path, path: str, *, check: bool = True) -> bool:
        token = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=20))
        target = RelPath(path)
        job = PublishJob(
            path=target,
            temporary=target.parent.joined(temporary_name(token)),
            open_source=lambda: file.open("rb"),
            size_bytes=file.stat().st_size,
            mtime_ns=1_600_000_000_000_000_000,
            on_bytes=lambda _count: None,
            before_rename=lambda: None,
        )
        transport = self.open()
        try:
            (published,) = transport.publish([job])
        except TransportError:
            if check:
                raise
            return False
        finally:
            transport.close()
        if check and published.error:
            raise published.error
        return published.error is None

    def move(self, source: str, target: str) -> None:
        with contextlib.closing(self.open()) as transport:
            transport.rename(RelPath(source), RelPath(target))

    def remove(self, path: str) -> None:
        with contextlib.closing(self.open()) as transport:
            transport.remove(RelPath(path), Kind.FILE)

    def abort(self, file: Path, path: str) -> None:
        """Stop in the middle: what has arrived stands under an inert name."""
        temporary = RelPath(path).parent.joined(temporary_name("cutcutcutcutcutcutcut"))

        class Breaks:
            def __init__(self) -> None:
                self.left = 3

            def read(self, _size: int = -1, /) -> bytes:
                self.left -= 1
                if not self.left:
                    raise OSError("the client dies here")
                return b"x" * 10_000

        with contextlib.closing(self.open()) as transport, pytest.raises((OSError, TransportError)):
            transport.write_from(temporary, Breaks(), on_bytes=lambda _count: None)


CLIENTS = {"curl": Curl, "lftp": Lftp, "rclone": Rclone, "iqdata": Ours}


@pytest.fixture(scope="module", params=list(SPACES))
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.replace("+", "-"))
    with SPACES[request.param](folder) as place:
        yield place


def tree_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", list(CLIENTS))
def test_the_same_acts_leave_the_same_tree_and_the_same_log(place, name, tmp_path):
    if name != "iqdata":
        need_program(name)
    client = CLIENTS[name](place, tmp_path)
    for area in ("train_data", "group_data"):
        for path in (place.home / area).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    start = len(log_of(place.home))

    def settle(count: int) -> list[dict]:
        return await_lines(place.home, start + count)[start:]

    files = {}
    for file, content in (
        ("one.tar.gz", tar_of({"d/x.csv": b"1", "kept.csv": b"k"})),
        ("two.tar.gz", tar_of({"d/x.csv": b"22"})),
        ("b.bin", zip_of({"y.csv": b"3"})),
        ("plain.bin", b"plain"),
        ("cut.zip", zip_of({"whole.csv": b"w", "long.bin": random.Random(1).randbytes(3_000_000)})),
    ):
        (tmp_path / file).write_bytes(content)
        files[file] = content

    client.put(tmp_path / "plain.bin", "train_data/plain.bin")
    client.put(tmp_path / "one.tar.gz", "train_data/a.tar.gz")
    settle(1)
    client.put(tmp_path / "two.tar.gz", "train_data/a.tar.gz")
    settle(2)
    client.put(tmp_path / "b.bin", "train_data/b.bin")
    client.move("train_data/b.bin", "train_data/b.zip")
    lines = settle(3)
    assert lines[2]["trigger"] == "rename", lines
    # OpenSSH renames by a link and a removal, unless asked for its own kind of rename: then nobody sees from where.
    assert lines[2]["from"] in (
        "train_data/b.bin",
        None if "OpenSSH" in place.kind or client.ssh else "train_data/b.bin",
    )
    client.put(tmp_path / "one.tar.gz", "group_data/shared.tar.gz")
    settle(4)
    client.remove("train_data/b.zip")
    client.abort(tmp_path / "cut.zip", "train_data/cut.zip")

    log = [
        ("train_data/a.tar.gz", "tar", "ok", 2),
        ("train_data/a.tar.gz", "tar", "ok", 1),
        ("train_data/b.zip", "7z", "ok", 1),
        ("group_data/shared.tar.gz", "tar", "ok", 2),
    ]
    expected = {
        "a.tar.gz": files["two.tar.gz"],
        "d/x.csv": b"22",
        "kept.csv": b"k",
        "plain.bin": b"plain",
        "y.csv": b"3",
    }
    if name != "iqdata":
        # A client that writes to the real name leaves a cut archive there: plain FTP cannot tell. Whole members come out.
        settle(5)
        log.append(("train_data/cut.zip", "7z", "damaged", 1))
        expected["whole.csv"] = b"w"
    found = tree_of(place.home / "train_data")
    cut = found.pop("cut.zip", b"")
    parts = [part for part in found if part.startswith("iqdata-part-")]
    for part in parts:
        del found[part]
    assert found == expected
    assert files["cut.zip"].startswith(cut)
    assert bool(parts) is (name == "iqdata")
    assert tree_of(place.home / "group_data") == {
        "shared.tar.gz": files["one.tar.gz"],
        "d/x.csv": b"1",
        "kept.csv": b"k",
    }
    assert [
        (line["archive"], line["tool"], line["status"], line["files"]) for line in settle(len(log))
    ] == log


@pytest.mark.parametrize("name", list(CLIENTS))
def test_a_member_of_a_group_is_refused_by_every_space(place, name, tmp_path):
    """Beside another server a member's group_data is a folder that its account cannot enter."""
    if name != "iqdata":
        need_program(name)
    client = CLIENTS[name](place, tmp_path)
    (tmp_path / "a.zip").write_bytes(zip_of({"leak": b"1"}))
    start = len(log_of(place.home))
    folder = place.home / "group_data"
    before = sorted(folder.rglob("*"))
    with member(place):
        assert not client.put(tmp_path / "a.zip", "group_data/a.zip", check=False)
    assert sorted(folder.rglob("*")) == before
    client.put(tmp_path / "a.zip", f"train_data/{name}.zip")
    assert [line["archive"] for line in await_lines(place.home, start + 1)[start:]] == [
        f"train_data/{name}.zip"
    ]


@contextlib.contextmanager
def member(place: Place) -> Iterator[None]:
    """Make the account a member of a group that somebody else owns."""
    folder = place.home / "group_data"
    if place.kind == "embedded":
        from iqdata.server.accounts import Accounts
        from iqdata.server.layout import Layout

        accounts = Accounts(Layout(root=place.home.parent.parent))
        if accounts.get("boss") is None:
            accounts.add("boss", "pw")
            accounts.create_group("g", "boss")
        accounts.join("g", "team")
        try:
            yield
        finally:
            accounts.leave("g", "team")
    else:
        owner = folder.stat()
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
        try:
            yield
        finally:
            os.chown(folder, owner.st_uid, owner.st_gid)
            folder.chmod(0o755)
