"""push and pull against lftp and rclone, whole commands: many files, nothing to do, one big file, a million entries; near and far."""

import argparse
import contextlib
import ctypes
import importlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from _sidebyside import in_turn, table, write_section

from tests import servers

SMALL_BYTES = 4096
WHEN_NS = 1_700_000_000 * 10**9
PARTS = ("small", "big", "far", "far-sftp", "far-nothing", "far-big", "sftp-big", "memory")
_PER_FOLDER = 250
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class Link:
    """Where clients and servers run: here, in a network namespace of their own, or at the two ends of a slow link."""

    def __init__(self, netlab: Any, rtt_ms: float | None) -> None:
        """`netlab` is the module that makes links, None where there is none: then everything runs on this loopback."""
        if netlab is None and rtt_ms is not None:
            raise SystemExit("a link with a round-trip time needs --netlab FOLDER, where link.py is")
        self._link = netlab.Link(rtt_ms=rtt_ms) if netlab is not None else None
        self.host = "127.0.0.1"

    def __enter__(self) -> "Link":
        if self._link is not None:
            self._link.__enter__()
            self.host = self._link.server_ip
        return self

    def __exit__(self, *exc: object) -> None:
        if self._link is not None:
            self._link.__exit__(*exc)

    @contextlib.contextmanager
    def at(self, side: str) -> Iterator[None]:
        """Start what the block starts at the `client`'s or the `server`'s end."""
        if self._link is None:
            yield
            return
        name = self._link.ns_c if side == "client" else self._link.ns_s
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/self/ns/net").open() as before, Path(f"/run/netns/{name}").open() as there:
            if libc.setns(there.fileno(), _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(before.fileno(), _NEW_NETWORK)


class Field:
    """One server at the far end of a link, and each contender's way to reach it."""

    def __init__(self, scratch: Path, running: servers.Running, link: Link) -> None:
        self.link = link
        self.root = running.root
        self.workspace, self.target = scratch / "workspace", scratch / "target"
        self.log = scratch / "client.log"
        where = running.location
        self.url = running.url
        self.env = {**os.environ, "IQDATA_PASSWORD": running.password, "HOME": str(scratch / "home")}
        for area in ("train_data", "group_data"):
            (self.workspace / area).mkdir(parents=True, exist_ok=True)
        if running.kind == "openssh":
            known = servers.ssh_options(running).known_hosts[0]
            home = scratch / "home" / ".ssh"
            home.mkdir(parents=True)
            shutil.copy(known, home / "known_hosts")
            shutil.copy(running.client_key or "", home / "id_ed25519")
            (home / "id_ed25519").chmod(0o600)
            self.rclone_at = f":sftp,host={where.host},port={where.port},user={where.user},key_file={home}/id_ed25519:{where.root}/"
            program = f"ssh -a -x -i {home}/id_ed25519 -o UserKnownHostsFile={home}/known_hosts"
            self.lftp_at = f'set sftp:connect-program "{program}"; open -p {where.port} -u {where.user}, sftp://{where.host}; cd {where.root}'
        else:
            (scratch / "home").mkdir()
            word = subprocess.run(
                ["rclone", "obscure", running.password], capture_output=True, text=True, check=True
            ).stdout.strip()
            self.rclone_at = f":ftp,host={where.host},port={where.port},user={where.user},pass={word}:{where.root.strip('/')}/"
            self.lftp_at = (
                f"open -u {where.user},{running.password} ftp://{where.host}:{where.port}; cd {where.root}"
            )

    def iqdata(self, verb: str, workspace: Path) -> None:
        """Run our command as a user does, with its defaults."""
        command = [
            sys.executable,
            "-m",
            "iqdata",
            "-C",
            str(workspace),
            "--space",
            self.url,
            "--insecure",
            "-q",
        ]
        self.run([*command, verb])

    def lftp(self, command: str, *, pipelined: bool = False) -> None:
        """Run lftp; `pipelined` lets it send commands before the replies to earlier ones."""
        settings = "set net:max-retries 3; set ftp:ssl-allow no; set cmd:fail-exit yes"
        if pipelined:
            settings += "; set ftp:sync-mode off"
        self.run(["lftp", "-c", f"{settings}; {self.lftp_at}; {command}"])

    def rclone(self, source: str, target: str, *, transfers: int, verb: str = "copy") -> None:
        """Run rclone; one stream a file: with its usual four, rclone 1.60 fails to fetch a big file from vsftpd."""
        number = str(transfers)
        options = ("--transfers", number, "--checkers", number, "--multi-thread-streams", "0")
        self.run(["rclone", verb, source, target, *options])

    def run(self, command: list[str]) -> None:
        """Run one contender at the client's end of the link."""
        with self.link.at("client"), self.log.open("wb") as log:
            done = subprocess.run(command, env=self.env, stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{command[:6]} ended with {done.returncode}: {self.log.read_text()[-1500:]}")

    def fresh_space(self) -> None:
        """Empty the space, and forget that anything was ever sent."""
        _empty(self.root / "train_data")
        shutil.rmtree(self.workspace / ".iqdata", ignore_errors=True)

    def fresh_target(self) -> None:
        """Empty the folder that downloads go to."""
        shutil.rmtree(self.target, ignore_errors=True)
        (self.target / "train_data").mkdir(parents=True)

    def fill_space(self) -> None:
        """Put into the space what the workspace holds, dates included, without a transfer."""
        _empty(self.root / "train_data")
        shutil.copytree(self.workspace / "train_data", self.root / "train_data", dirs_exist_ok=True)
        owner = self.root.stat()
        for path in (self.root / "train_data", *(self.root / "train_data").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)


def _empty(folder: Path) -> None:
    for item in folder.iterdir() if folder.is_dir() else ():
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()


def make_files(folder: Path, count: int, size: int) -> None:
    """Write `count` files, some hundred to a folder."""
    numbers = random.Random(1)
    for index in range(count):
        place = folder / f"d{index // _PER_FOLDER:04}"
        if index % _PER_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"f{index:06}.bin").write_bytes(numbers.randbytes(size))


@contextlib.contextmanager
def field(kind: str, netlab: Any, rtt_ms: float | None) -> Iterator[Field]:
    """Start a server at the far end of a link. Files lie in memory where possible: what is measured is the way, not the disk."""
    home = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=home) as name, Link(netlab, rtt_ms) as link:
        scratch = Path(name)
        scratch.chmod(0o755)  # the servers work as another user
        (scratch / "server").mkdir()
        with contextlib.ExitStack() as stack:
            with link.at("server"):
                running = stack.enter_context(getattr(servers, kind)(scratch / "server", host=link.host))
            yield Field(scratch, running, link)


Row = tuple[str, ...]


def race(
    title: str,
    contenders: dict[str, Callable[[], object]],
    *,
    goal: float,
    rounds: int,
    prepare: Callable[[], object] = lambda: None,
) -> Row:
    """Let everybody do the same work in turn, and return the row: ours, the best peer, their ratio and the goal."""
    times = in_turn(contenders, rounds=rounds, prepare=lambda _name: prepare())
    ours = times.pop("iqdata")
    best = min(times, key=lambda name: times[name].median)
    others = ", ".join(f"{name} {times[name]}" for name in times)
    ratio = times[best].median / ours.median
    row = (title, str(ours), others, f"{ratio:.2f}", f"{goal}")
    print(*row, sep=" | ", flush=True)
    return row


def many(one: Field, title: str, *, files: int, goal: float, rounds: int, far: bool) -> list[Row]:
    """Small files up and down."""
    make_files(one.workspace / "train_data", files, SMALL_BYTES)
    source, target = f"{one.workspace}/train_data", f"{one.target}/train_data"
    there = f"{one.rclone_at}train_data"
    ftp = one.url.startswith("ftp:")
    width = 16 if far else 8
    up: dict[str, Callable[[], object]] = {
        "iqdata": lambda: one.iqdata("push", one.workspace),
        f"rclone -t{width}": lambda: one.rclone(source, there, transfers=width),
    }
    down: dict[str, Callable[[], object]] = {
        "iqdata": lambda: one.iqdata("pull", one.target),
        f"rclone -t{width}": lambda: one.rclone(there, target, transfers=width),
    }
    if far:
        word = "lftp -P16 pipelined" if ftp else "lftp -P16"
        up[word] = lambda: one.lftp(f"mirror -R -P16 {source} train_data", pipelined=ftp)
        down[word] = lambda: one.lftp(f"mirror -P16 train_data {target}", pipelined=ftp)
    else:
        up["lftp -P4"] = lambda: one.lftp(f"mirror -R -P4 {source} train_data")
        down["lftp -P8"] = lambda: one.lftp(f"mirror -P8 train_data {target}")
        down["lftp -P16 pipelined"] = lambda: one.lftp(f"mirror -P16 train_data {target}", pipelined=True)
    what = f"{files:,} × 4 KiB"
    rows = [race(f"{what} up, {title}", up, goal=goal, rounds=rounds, prepare=one.fresh_space)]
    one.fill_space()
    rows.append(race(f"{what} down, {title}", down, goal=goal, rounds=rounds, prepare=one.fresh_target))
    return rows


def nothing(one: Field, title: str, *, files: int, goal: float, rounds: int) -> list[Row]:
    """A run that finds everything as it was."""
    make_files(one.workspace / "train_data", files, 16)
    one.fill_space()
    source, there = f"{one.workspace}/train_data", f"{one.rclone_at}train_data"
    one.iqdata("push", one.workspace)
    contenders: dict[str, Callable[[], object]] = {
        "iqdata": lambda: one.iqdata("push", one.workspace),
        "rclone -t16": lambda: one.rclone(source, there, transfers=16),
        "lftp -P16 pipelined": lambda: one.lftp(f"mirror -R -P16 {source} train_data", pipelined=True),
    }
    return [race(f"{files:,} files, nothing to do, {title}", contenders, goal=goal, rounds=rounds)]


def big(
    one: Field,
    title: str,
    *,
    mebibytes: int,
    goal: float,
    rounds: int,
    ways: tuple[str, ...] = ("up", "down"),
) -> list[Row]:
    """One file."""
    numbers = random.Random(1)
    source, target = one.workspace / "train_data" / "big.bin", one.target / "train_data"
    block = numbers.randbytes(1 << 20)
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(block)
    there = f"{one.rclone_at}train_data"
    ftp = one.url.startswith("ftp:")
    up: dict[str, Callable[[], object]] = {
        "iqdata": lambda: one.iqdata("push", one.workspace),
        "rclone": lambda: one.rclone(str(source), there, transfers=8),
    }
    down: dict[str, Callable[[], object]] = {
        "iqdata": lambda: one.iqdata("pull", one.target),
        "rclone": lambda: one.rclone(f"{there}/big.bin", str(target), transfers=8),
    }
    if ftp:
        up["lftp put"] = lambda: one.lftp(f"mkdir -p -f train_data; put {source} -o train_data/big.bin")
        down["lftp get"] = lambda: one.lftp(f"get train_data/big.bin -o {target}/big.bin")
        down["lftp pget -n4"] = lambda: one.lftp(f"pget -n4 train_data/big.bin -o {target}/big.bin")
    rows = []
    size = f"{mebibytes:,} MiB"
    if "up" in ways:
        rows.append(race(f"{size} up, {title}", up, goal=goal, rounds=rounds, prepare=one.fresh_space))
    one.fill_space()
    if "down" in ways:
        rows.append(race(f"{size} down, {title}", down, goal=goal, rounds=rounds, prepare=one.fresh_target))
    return rows


def memory(entries: int) -> list[Row]:
    """The most memory that runs over a tree of empty files take, against a mounted space that holds the same."""
    home = "/dev/shm" if Path("/dev/shm").is_dir() else None
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=home) as name:
        workspace, space, nobody = (Path(name) / part for part in ("workspace", "space", "nobody"))
        nobody.mkdir()
        for root in (workspace, space):
            _empty_files(root, entries)
        command = [sys.executable, "-m", "iqdata", "-C", str(workspace), "-q", "--space"]
        for what, where, words in (
            ("plan of a first push", nobody, ("push", "--dry-run")),
            ("both sides scanned, compared and written to the state", space, ("push",)),
            ("push with nothing to do", space, ("push",)),
        ):
            peak, seconds = _peak([*command, f"file://{where}", *words])
            rows.append(
                (f"{entries:,} files: {what}", f"{seconds:.0f}", f"{peak / 10**6:,.0f} MB", "1,000 MB")
            )
            print(*rows[-1], sep=" | ", flush=True)
    return rows


def _empty_files(root: Path, count: int) -> None:
    """Make a tree of empty files, a thousand to a folder, all of one date."""
    for index in range(count):
        if index % 1000 == 0:
            folder = f"{root}/train_data/d{index // 1000:04}"
            Path(folder).mkdir(parents=True)
        handle = os.open(f"{folder}/f{index:07}", os.O_CREAT | os.O_WRONLY, 0o644)
        os.utime(handle, ns=(WHEN_NS, WHEN_NS))
        os.close(handle)


def _peak(command: list[str]) -> tuple[int, float]:
    """Run a command and return the bytes that it held at most, and the seconds that it took."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_maxrss * 1024, time.perf_counter() - started


_HEAD = """\
Whole commands as a user runs them, start of the interpreter included, with their defaults; every file goes under a temporary name, is
checked, dated and renamed, while the peers write the real name. `lftp` and `rclone` with the numbers of connections that suit them best.
Servers and clients run in network namespaces of their own; a distance is a round trip that a relay gives to every packet."""


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--netlab", default=os.environ.get("NETLAB"), metavar="FOLDER")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--far-files", type=int, default=1000)
    parser.add_argument("--known-files", type=int, default=100_000)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rtt", type=float, default=20, metavar="MS")
    parser.add_argument("--print", action="store_true", help="leave docs/benchmarks.md as it is")
    given = parser.parse_args()
    netlab = None
    if given.netlab:
        sys.path.insert(0, given.netlab)
        netlab = importlib.import_module("link")
    rounds, rtt = given.rounds, given.rtt
    far = f"{rtt:g} ms"
    rows: list[Row] = []
    for part in given.part or PARTS:
        match part:
            case "small":
                with field("vsftpd", netlab, None) as one:
                    rows += many(one, "FTP", files=given.files, goal=0.8, rounds=rounds, far=False)
            case "big":
                with field("vsftpd", netlab, None) as one:
                    # Each run takes less than a second, and single ones differ by three times where a machine is shared.
                    rows += big(one, "FTP", mebibytes=given.mebibytes, goal=0.95, rounds=5 * rounds)
            case "sftp-big":
                with field("openssh", netlab, None) as one:
                    rows += big(one, "SFTP", mebibytes=given.mebibytes, goal=0.6, rounds=rounds)
            case "far":
                with field("vsftpd", netlab, rtt) as one:
                    rows += many(one, f"FTP, {far}", files=given.far_files, goal=1.2, rounds=rounds, far=True)
            case "far-sftp":
                with field("openssh", netlab, rtt) as one:
                    rows += many(
                        one, f"SFTP, {far}", files=given.far_files, goal=1.2, rounds=rounds, far=True
                    )
            case "far-nothing":
                with field("vsftpd", netlab, rtt) as one:
                    rows += nothing(one, f"FTP, {far}", files=given.known_files, goal=1.2, rounds=rounds)
            case "far-big":
                with field("vsftpd", netlab, rtt) as one:
                    rows += big(
                        one, f"FTP, {far}", mebibytes=given.mebibytes, goal=1.0, rounds=rounds, ways=("down",)
                    )
    body = [table(("work", "iqdata (s)", "peers (s)", "best peer ÷ iqdata", "goal"), rows)] if rows else []
    if "memory" in (given.part or PARTS):
        body.append(table(("tree", "seconds", "most memory", "goal: below"), memory(given.entries)))
    if given.print:
        return
    told = list(sys.argv[1:])
    if given.netlab in told:
        told[told.index(given.netlab)] = "…"
    write_section(
        "net",
        "push and pull, near and far",
        "\n\n".join((_HEAD, *body)),
        command=" ".join(("scripts/bench net", *told)),
    )


if __name__ == "__main__":
    main()
