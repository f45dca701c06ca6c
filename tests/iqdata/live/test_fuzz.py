"""Random sequences of commands against a model of what each account may see and change.

IQDATA_FUZZ sets how many commands are sent (CI: a few thousand; by hand: tens of thousands).
"""

import os
import posixpath
import random
import socket

import pytest

from iqdata.paths import RelPath
from iqdata.server.permissions import Act, Standing, refusal
from iqdata.server.space import EmbeddedSpace

pytestmark = [pytest.mark.live, pytest.mark.slow]

COMMANDS = int(os.environ.get("IQDATA_FUZZ", "3000"))
PARTS = [
    "a",
    "b",
    "c",
    "d",
    "..",
    ".",
    "",
    "train_data",
    "group_data",
    ".iqdata",
    "ü漢",
    " x",
    'q"',
    "*",
    "space.json",
]
SECRET = b"the secret outside"


class Model:
    """The tree of one account: folders, and files with their content."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self.folders = {"", "train_data", "group_data", ".iqdata"}
        self.files: dict[str, bytes] = {}
        self.cwd = "/"

    def path(self, text: str) -> str:
        whole = posixpath.normpath(posixpath.join(self.cwd, text)) if text else self.cwd
        return whole.lstrip("/")

    def refused(self, act: Act, path: str) -> bool:
        return refusal(self.standing, act, RelPath(path)) is not None

    def parent_stands(self, path: str) -> bool:
        return bool(path) and path.rpartition("/")[0] in self.folders

    def stands(self, path: str) -> bool:
        return path in self.folders or path in self.files

    def inside(self, path: str) -> list[str]:
        return [
            other for other in (*self.folders, *self.files) if other != path and other.startswith(f"{path}/")
        ]

    # Each returns the code that the space must answer.

    def mkd(self, path: str) -> int:
        if self.refused(Act.MAKE, path) or self.stands(path) or not self.parent_stands(path):
            return 550
        self.folders.add(path)
        return 257

    def rmd(self, path: str) -> int:
        if self.refused(Act.DELETE, path) or path not in self.folders or self.inside(path):
            return 550
        self.folders.remove(path)
        return 250

    def dele(self, path: str) -> int:
        if self.refused(Act.DELETE, path) or path not in self.files:
            return 550
        del self.files[path]
        return 250

    def stor(self, path: str, content: bytes) -> int:
        if self.refused(Act.WRITE, path) or path in self.folders or not self.parent_stands(path):
            return 550
        self.files[path] = content
        return 226

    def rnfr(self, path: str) -> int:
        return 550 if self.refused(Act.MOVE_FROM, path) or not self.stands(path) else 350

    def rnto(self, source: str, target: str) -> int:
        if self.refused(Act.MOVE_TO, target) or not self.parent_stands(target):
            return 550
        if source == target:
            return 250
        if source in self.files:
            if target in self.folders:
                return 550
            self.files[target] = self.files.pop(source)
            return 250
        if target in self.files or target.startswith(f"{source}/") or self.inside(target):
            return 550
        self.folders.discard(target)
        for path in [source, *self.inside(source)]:
            moved = target + path[len(source) :]
            if path in self.folders:
                self.folders.remove(path)
                self.folders.add(moved)
            else:
                self.files[moved] = self.files.pop(path)
        return 250

    def size(self, path: str) -> int:
        return 550 if self.refused(Act.LOOK, path) or path not in self.files else 213

    def enter(self, path: str) -> int:
        if self.refused(Act.LOOK, path) or path not in self.folders:
            return 550
        self.cwd = f"/{path}"
        return 250

    def read(self, path: str) -> bytes | None:
        return None if self.refused(Act.READ, path) else self.files.get(path)


class Line:
    """A control connection that only knows lines."""

    def __init__(self, space: EmbeddedSpace, user: str) -> None:
        self.space = space
        self.control = socket.create_connection((space.host, space.port), timeout=20)
        self.reader = self.control.makefile("rb")
        self.read()
        for command in (f"USER {user}", f"PASS {space.password(user)}", "TYPE I"):
            self.send(command)

    def read(self) -> tuple[int, bytes]:
        first = line = self.reader.readline()
        text = line
        while line[3:4] == b"-" or line[:3] != first[:3]:
            line = self.reader.readline()
            text += line
        assert SECRET not in text
        return int(first[:3]), text

    def send(self, command: str | bytes) -> tuple[int, bytes]:
        raw = command if isinstance(command, bytes) else command.encode("utf-8", "surrogateescape")
        self.control.sendall(raw + b"\r\n")
        return self.read()

    def transfer(self, command: str, content: bytes | None) -> tuple[int, bytes]:
        _code, text = self.send("EPSV")
        port = int(text.split(b"|||")[1].split(b"|")[0])
        with socket.create_connection((self.space.host, port), timeout=20) as data:
            code, _text = self.send(command)
            if code not in (125, 150):
                return code, b""
            got = b""
            if content is not None:
                data.sendall(content)
            else:
                while block := data.recv(65536):
                    got += block
        code, _text = self.read()
        assert SECRET not in got
        return code, got

    def close(self) -> None:
        self.reader.close()
        self.control.close()


def some_path(generator: random.Random) -> str:
    depth = generator.choice([1, 1, 2, 2, 3, 4, 8])
    text = "/".join(generator.choice(PARTS) for _ in range(depth))
    return generator.choice(["", "/", "//"]) + text


def garbage(generator: random.Random) -> bytes:
    kind = generator.randrange(4)
    if kind == 0:
        return b"Z" + generator.randbytes(generator.randrange(200)).replace(b"\r\n", b"").replace(
            b"\xff", b""
        )
    if kind == 1:
        return b"MKD bad" + bytes([generator.choice([0, 1, 7, 10, 13, 27, 127])]) + b"name"
    if kind == 2:
        return b"STOR " + b"x" * generator.choice([5000, 17_000, 60_000])
    return generator.choice(
        [
            b"",
            b" ",
            b"PORT 1,2,3,4,5,6",
            b"REST -1",
            b"MFMT x y",
            b"SITE",
            b"OPTS",
            b"HASH",
            b"PASS x",
            b"ALLO",
        ]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_is_the_one_of_the_model(tmp_path, seed):
    generator = random.Random(seed)
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "space").mkdir()
    (tmp_path / "space/train_data").mkdir()
    (tmp_path / "space/train_data/secret").write_bytes(SECRET)
    users = {"alpha": "pw-a", "beta": "pw-b"}
    with EmbeddedSpace(tmp_path / "space", users=users, groups={"g": ("alpha", "beta")}) as space:
        standings = {
            "alpha": Standing(team="alpha", group="g", owner="alpha"),
            "beta": Standing(team="beta", group="g", owner="alpha"),
        }
        lines = {user: Line(space, user) for user in users}
        models = {user: Model(standing) for user, standing in standings.items()}
        for user in users:
            models[user].files[".iqdata/space.json"] = (space.home(user) / ".iqdata/space.json").read_bytes()
        try:
            for _ in range(COMMANDS // 2):
                user = generator.choice(list(users))
                one_command(generator, lines[user], models[user])
        finally:
            for line in lines.values():
                line.close()
        for user, model in models.items():
            home = space.home(user)
            there = {str(path.relative_to(home)): path for path in home.rglob("*")}
            assert {path for path, found in there.items() if found.is_dir()} == model.folders - {""}
            files = {path: found.read_bytes() for path, found in there.items() if found.is_file()}
            assert files == model.files
        assert not [event for event in space.events if event.event.value == "error"]
    assert (tmp_path / "secret").read_bytes() == SECRET
    assert (tmp_path / "space/train_data/secret").read_bytes() == SECRET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "space"]
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == [
        ".iqdata-space",
        "homes",
        "train_data",
    ]


def one_command(generator: random.Random, line: Line, model: Model) -> None:
    text = some_path(generator)
    path = model.path(text)
    what = generator.choice(
        ["MKD", "MKD", "RMD", "DELE", "STOR", "STOR", "RN", "RN", "SIZE", "CWD", "RETR", "MLST", "junk"]
    )
    if what == "junk":
        line.control.sendall(garbage(generator) + b"\r\nNOOP\r\n")
        while b"did nothing" not in line.read()[1]:
            pass
        return
    if not text:
        return  # these commands need an argument
    if what in ("MKD", "RMD", "DELE"):
        expected = getattr(model, what.lower())(path)
        assert line.send(f"{what} {text}")[0] == expected, (what, text, model.cwd)
    elif what == "STOR":
        content = generator.randbytes(generator.randrange(300))
        before = path in model.folders or not model.parent_stands(path)
        expected = model.stor(path, content)
        assert line.transfer(f"STOR {text}", content)[0] == expected, (text, model.cwd, before)
    elif what == "RN":
        other = some_path(generator) or "x"
        expected = model.rnfr(path)
        assert line.send(f"RNFR {text}")[0] == expected, (text, model.cwd)
        if expected == 350:
            target = model.path(other)
            assert line.send(f"RNTO {other}")[0] == model.rnto(path, target), (text, other, model.cwd)
    elif what == "SIZE":
        assert line.send(f"SIZE {text}")[0] == model.size(path), (text, model.cwd)
    elif what == "CWD":
        assert line.send(f"CWD {text}")[0] == model.enter(path), (text, model.cwd)
    elif what == "RETR":
        content = model.read(path)
        code, got = line.transfer(f"RETR {text}", None)
        assert (code, got) == ((226, content) if content is not None else (550, b"")), (text, model.cwd)
    else:
        allowed = model.stands(path) and not model.refused(Act.LOOK, path)
        assert line.send(f"MLST {text}")[0] == (250 if allowed else 550), (text, model.cwd)
    # A folder that was renamed or removed may have been the current one.
    if model.cwd.lstrip("/") not in model.folders:
        assert line.send("CWD /")[0] == 250
        model.cwd = "/"
