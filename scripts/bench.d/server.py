"""The embedded space beside vsftpd with the same clients, and how soon extraction starts after an upload."""

import argparse
import ftplib
import functools
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import datetime
from pathlib import Path

from _sidebyside import in_turn, table, write_section

from tests.agents import agent, log_of, wait_for
from tests.servers import Running, vsftpd


class Served:
    """`iqdata serve` as its own process: a server in this one would share its processor time with the client."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "iqdata",
                "serve",
                "--root",
                str(root),
                "--port",
                "0",
                "--user",
                "team:pw",
                "--json",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.home = root / "homes" / "team"
        for line in self.process.stdout or ():
            event = json.loads(line)
            if event["event"] == "started":
                self.port = int(event["address"].rpartition(":")[2])
                break
        # Its further lines go nowhere fast: a full pipe would stop it.
        subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def call(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")


def targets(served: Served, other: Running) -> dict[str, tuple[str, str, str]]:
    return {
        "vsftpd": (f"ftp://127.0.0.1:{other.location.port}", f"anonymous:{other.password}", "/space"),
        "iqdata serve": (f"ftp://127.0.0.1:{served.port}", "team:pw", "/train_data"),
    }


def large(
    folder: Path, where: dict[str, tuple[str, str, str]], *, size: int, rounds: int
) -> list[tuple[str, ...]]:
    file = folder / "large.bin"
    with file.open("wb") as out:
        for _ in range(size // 2**20):
            out.write(os.urandom(2**20))

    def up(name: str) -> None:
        url, account, base = where[name]
        call("curl", "-sS", "-u", account, "-T", file, f"{url}{base}/large.bin")

    def down(name: str) -> None:
        url, account, base = where[name]
        call("curl", "-sS", "-u", account, "-o", os.devnull, f"{url}{base}/large.bin")

    rows = []
    for label, act in (("up", up), ("down", down)):
        times = in_turn({name: functools.partial(act, name) for name in where}, rounds=rounds)
        rows.append(row(f"one file of {size // 2**20} MiB {label} (curl)", times))
    return rows


def small(
    folder: Path, where: dict[str, tuple[str, str, str]], *, files: int, rounds: int
) -> list[tuple[str, ...]]:
    source = folder / "small"
    for number in range(files):
        path = source / f"d{number // 500}" / f"f{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(4096))
    counter = iter(range(10_000))
    latest: dict[str, int] = {}

    def lftp(name: str, command: str) -> None:
        url, account, _base = where[name]
        call(
            "lftp", "-e", f"set net:max-retries 2; open -u {account.replace(':', ',')} {url}; {command}; bye"
        )

    def up(name: str) -> None:
        latest[name] = next(counter)
        lftp(name, f"mirror -R --no-perms -P8 {source} {where[name][2]}/s{latest[name]}")

    def down(name: str) -> None:
        target = folder / "back"
        shutil.rmtree(target, ignore_errors=True)
        lftp(name, f"mirror --no-perms -P8 {where[name][2]}/s{latest[name]} {target}")

    rows = []
    for label, act in (("up", up), ("down", down)):
        times = in_turn({name: functools.partial(act, name) for name in where}, rounds=rounds)
        rows.append(row(f"{files:,} × 4 KiB {label} by 8 connections (lftp)", times))
    return rows


def row(label: str, times: dict) -> tuple[str, ...]:
    ratio = times["vsftpd"].median / times["iqdata serve"].median
    print(label, times["vsftpd"], times["iqdata serve"], f"{ratio:.2f}", flush=True)
    return (label, str(times["vsftpd"]), str(times["iqdata serve"]), f"{ratio:.2f}")


def delays(home: Path, upload, *, count: int) -> tuple[float, float]:
    """Return median and 95th percentile of the time from the end of an upload to the start of its extraction."""
    found = []
    for number in range(count):
        lines = len(log_of(home))
        ended = upload(number)
        wait_for(lambda lines=lines: len(log_of(home)) > lines)
        line = log_of(home)[-1]
        finished = datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()
        found.append((finished - line["elapsed_s"] - ended) * 1000)
    return statistics.median(found), sorted(found)[int(count * 0.95)]


def archive(number: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("member.csv", f"{number}\n" * 1000)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delays", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)
        (folder / "vsftpd").mkdir()
        served = Served(folder / "space")
        try:
            with vsftpd(folder / "vsftpd") as other:
                where = targets(served, other)
                rows = large(folder, where, size=given.size * 2**20, rounds=given.rounds)
                rows += small(folder, where, files=given.files, rounds=given.rounds)
            client = ftplib.FTP(timeout=30)
            client.connect("127.0.0.1", served.port)
            client.login("team", "pw")

            def upload(number: int) -> float:
                client.storbinary(f"STOR train_data/x{number}.zip", io.BytesIO(archive(number)))
                return time.time()

            space = delays(served.home, upload, count=given.delays)
            client.close()
        finally:
            served.stop()
        tree = folder / "tree"
        (tree / "train_data").mkdir(parents=True)
        with agent(tree, log=folder / "agent.log"):

            def write(number: int) -> float:
                (tree / f"train_data/x{number}.zip").write_bytes(archive(number))
                return time.time()

            beside = delays(tree, write, count=given.delays)
    body = table(("work", "vsftpd (s)", "iqdata serve (s)", "vsftpd ÷ serve"), rows)
    body += "\n\n" + table(
        ("extraction starts after the end of an upload", "median (ms)", "95 % within (ms)"),
        [
            ("iqdata serve", f"{space[0]:.1f}", f"{space[1]:.1f}"),
            ("iqdata agent", f"{beside[0]:.1f}", f"{beside[1]:.1f}"),
        ],
    )
    body += f"\n\n{given.delays} uploads each. What bounds small uploads is one Python thread that serves all sessions; beyond it, run a native server with the agent."
    print(body)
    write_section(
        "server", "The embedded space", body, command=f"scripts/bench server {' '.join(sys.argv[1:])}".strip()
    )


if __name__ == "__main__":
    main()
