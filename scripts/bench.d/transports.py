"""The transports alone, without plan and state: small files and one big one, against lftp and rclone."""

import argparse
import contextlib
import random
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from _sidebyside import Times, in_turn, table, write_section

from iqdata.paths import RelPath
from iqdata.transports.base import Connector, FetchJob, PublishJob
from iqdata.transports.connect import connector
from tests import servers

SMALL_BYTES = 4096


class Field:
    """One server, the files to move, and each contender's way to move them."""

    def __init__(self, scratch: Path, running: servers.Running, *, files: int, jobs: int) -> None:
        self.running = running
        self.source, self.down, self.big = scratch / "small", scratch / "down", scratch / "big"
        self.files = files
        self.jobs = jobs
        where = running.location
        self.remote = str(where.root).rstrip("/")
        self.ssh = running.kind == "openssh"
        if self.ssh:
            self.connect: Connector = connector(where, ssh=servers.ssh_options(running))
            self.rclone_at = f":sftp,host=127.0.0.1,port={where.port},user={where.user},key_file={running.client_key}:{self.remote}"
            program = f"ssh -a -x -i {running.client_key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
            self.lftp_at = f'set sftp:connect-program "{program}"; open -p {where.port} -u {where.user}, sftp://127.0.0.1; cd {self.remote}'
        else:
            self.connect = connector(where, password=running.password)
            word = subprocess.run(
                ["rclone", "obscure", running.password], capture_output=True, text=True, check=True
            ).stdout.strip()
            self.rclone_at = (
                f":ftp,host=127.0.0.1,port={where.port},user={where.user},pass={word}:{self.remote}"
            )
            self.lftp_at = f"set ftp:ssl-allow no; open -u {where.user},{running.password} ftp://127.0.0.1:{where.port}; cd {self.remote}"

    def parallel(self, work: Callable[[], None]) -> None:
        """Run `work` in as many threads as there are jobs."""
        threads = [threading.Thread(target=work) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def names(self) -> deque[str]:
        return deque(f"f{number:06}" for number in range(self.files))

    def up(self) -> None:
        """Publish the small files with our transport."""
        names = self.names()
        with contextlib.closing(self.connect()) as transport:
            transport.make_folder(RelPath("up"))

        def feed() -> Iterator[PublishJob]:
            while True:
                try:
                    name = names.popleft()
                except IndexError:
                    return
                yield PublishJob(
                    path=RelPath(f"up/{name}"),
                    temporary=RelPath(f"up/iqdata-part-{name:0>20}"),
                    open_source=partial((self.source / name).open, "rb", buffering=0),
                    size_bytes=SMALL_BYTES,
                    mtime_ns=1_700_000_000 * 10**9,
                    on_bytes=lambda _size: None,
                    before_rename=lambda: None,
                )

        def work() -> None:
            with contextlib.closing(self.connect()) as transport:
                for done in transport.publish(feed()):
                    if done.error is not None:
                        raise done.error

        self.parallel(work)

    def fetch(self) -> None:
        """Fetch the small files with our transport."""
        names = self.names()

        def feed() -> Iterator[FetchJob]:
            while True:
                try:
                    name = names.popleft()
                except IndexError:
                    return
                yield FetchJob(
                    path=RelPath(f"there/{name}"),
                    open_sink=partial((self.down / name).open, "wb", buffering=0),
                    size_bytes=SMALL_BYTES,
                    on_bytes=lambda _size: None,
                )

        def work() -> None:
            with contextlib.closing(self.connect()) as transport:
                for done in transport.fetch(feed()):
                    if done.error is not None:
                        raise done.error

        self.parallel(work)

    def big_up(self) -> None:
        with contextlib.closing(self.connect()) as transport, self.big.open("rb", buffering=0) as file:
            transport.write_from(RelPath("big-up"), file, on_bytes=lambda _size: None)

    def big_down(self) -> None:
        with (
            contextlib.closing(self.connect()) as transport,
            (self.down / "big").open("wb", buffering=0) as file,
        ):
            transport.read_into(RelPath("big"), file, on_bytes=lambda _size: None)

    def lftp(self, command: str) -> None:
        subprocess.run(
            ["lftp", "-c", f"{self.lftp_at}; {command}"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def rclone(self, *arguments: str) -> None:
        subprocess.run(
            # One stream a file: with its usual four, rclone 1.60 fails to fetch a big file from vsftpd.
            ["rclone", *arguments, "--transfers", "8", "--ignore-times", "--multi-thread-streams", "0"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def clear(self, _name: str) -> None:
        """Empty what the last run left."""
        for name in ("up", "big-up"):
            path = self.running.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(self.down, ignore_errors=True)
        self.down.mkdir()


def measure(field: Field, rounds: int) -> list[tuple[str, ...]]:
    """Return the rows of one server's table."""
    files = f"{field.files:,} × 4 KiB"
    races: dict[str, dict[str, Callable[[], object]]] = {
        f"{files} up": {
            "iqdata": field.up,
            "lftp": lambda: field.lftp(f"mirror -R -P4 {field.source} up"),
            "rclone": lambda: field.rclone("copy", str(field.source), f"{field.rclone_at}/up"),
        },
        f"{files} down": {
            "iqdata": field.fetch,
            "lftp": lambda: field.lftp(f"mirror -P8 there {field.down}"),
            "rclone": lambda: field.rclone("copy", f"{field.rclone_at}/there", str(field.down)),
        },
    }
    size = f"{field.big.stat().st_size >> 20:,} MiB"
    races[f"{size} up"] = {
        "iqdata": field.big_up,
        "lftp": lambda: field.lftp(f"put {field.big} -o big-up"),
        "rclone": lambda: field.rclone("copyto", str(field.big), f"{field.rclone_at}/big-up"),
    }
    races[f"{size} down"] = {
        "iqdata": field.big_down,
        "lftp": lambda: field.lftp(f"get big -o {field.down / 'big'}"),
        "rclone": lambda: field.rclone("copyto", f"{field.rclone_at}/big", str(field.down / "big")),
    }
    rows = []
    for title, contenders in races.items():
        times: dict[str, Times] = in_turn(contenders, rounds=rounds, prepare=field.clear)
        best = min(times["lftp"].median, times["rclone"].median)
        ratio = f"{best / times['iqdata'].median:.2f}"
        rows.append((title, *(str(times[name]) for name in ("iqdata", "lftp", "rclone")), ratio))
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", default="vsftpd,openssh")
    given = parser.parse_args()
    # In memory where possible: what is measured is the way there, not the disk.
    home = "/dev/shm" if Path("/dev/shm").is_dir() else None
    parts = []
    for kind in given.servers.split(","):
        with tempfile.TemporaryDirectory(dir=home) as folder:
            scratch = Path(folder)
            scratch.chmod(0o755)
            (scratch / "server").mkdir()
            with getattr(servers, kind)(scratch / "server") as running:
                field = Field(scratch, running, files=given.files, jobs=given.jobs)
                numbers = random.Random(1)
                for place in (field.source, running.root / "there"):
                    place.mkdir()
                    for name in field.names():
                        (place / name).write_bytes(numbers.randbytes(SMALL_BYTES))
                block = numbers.randbytes(1 << 20)
                for path in (field.big, running.root / "big"):
                    with path.open("wb") as file:
                        for _ in range(given.mebibytes):
                            file.write(block)
                running.root.chmod(0o777)
                header = (kind, "iqdata", "lftp", "rclone --transfers 8", "best peer ÷ iqdata")
                parts.append(table(header, measure(field, given.rounds)))
    text = (
        f"Each over {given.jobs} connections (lftp: 4 up, 8 down; one for the big file), on loopback, files in RAM. Ours writes every small file"
        " under a temporary name, dates it there and renames it; the peers write the real name.\n\n"
        + "\n\n".join(parts)
    )
    command = f"scripts/bench transports --files {given.files} --mebibytes {given.mebibytes} --rounds {given.rounds}"
    write_section("transports", "The transports alone", text, command=command)


if __name__ == "__main__":
    main()
