"""The embedded space beside vsftpd with the same clients; how soon extraction starts; what 200 sessions cost."""

import argparse
import contextlib
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
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from _sidebyside import in_own_network, in_turn, table, write_section

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


def in_the_way(
    folder: Path, where: dict[str, tuple[str, str, str]], *, files: int, size: int
) -> list[tuple[str, ...]]:
    """Return rows with the median time of a small upload, alone and while two large ones run."""
    source = folder / "large.bin"
    rows = []
    found: dict[str, dict[str, float]] = {"alone": {}, "beside": {}}
    for name in where:
        client = connect(where[name])
        base = where[name][2]
        found["alone"][name] = small_latency(client, base, files=files)
        # Each upload is started anew until the small ones are through.
        with kept_busy(lambda number, name=name: upload_by_curl(where[name], source, f"w{number}.bin"), 2):
            found["beside"][name] = small_latency(client, base, files=files)
        client.quit()
    for label, key in (("alone", "alone"), (f"while two uploads of {size // 2**20} MiB run", "beside")):
        here = {name: found[key][name] * 1000 for name in where}
        ratio = here["vsftpd"] / here["iqdata serve"]
        rows.append((f"{label} (ms)", f"{here['vsftpd']:.2f}", f"{here['iqdata serve']:.2f}", f"{ratio:.2f}"))
        print("small upload", *rows[-1], flush=True)
    return rows


def connect(target: tuple[str, str, str]) -> ftplib.FTP:
    url, account, _base = target
    client = ftplib.FTP(timeout=60)
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    client.login(*account.split(":"))
    client.voidcmd("TYPE I")
    return client


def small_latency(client: ftplib.FTP, base: str, *, files: int) -> float:
    times = []
    for number in range(files):
        started = time.perf_counter()
        client.storbinary(f"STOR {base}/q{number}", io.BytesIO(bytes(4096)))
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def upload_by_curl(target: tuple[str, str, str], file: Path, name: str) -> None:
    url, account, base = target
    call("curl", "-sS", "-u", account, "-T", file, f"{url}{base}/{name}")


@contextlib.contextmanager
def kept_busy(act: Callable[[int], object], count: int) -> Iterator[None]:
    """Have so many threads do something again and again within the block."""
    stop = threading.Event()

    def go(number: int) -> None:
        while not stop.is_set():
            act(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# --- memory


class Memory:
    """The memory of a process and everything below it, sampled; pages that several share count once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak = 0

    def now(self) -> int:
        """Return the bytes held now."""
        total, waiting = 0, [self._pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (thread / "children").read_text().split())
        self.peak = max(self.peak, total)
        return total


def memory(served: Served, *, sessions: int, size: int) -> list[tuple[str, ...]]:
    """Return rows: what the space holds with no session, with idle ones, and while each of them transfers."""
    target = (f"ftp://127.0.0.1:{served.port}", "team:pw", "/train_data")
    watch = Memory(served.process.pid)
    rows = [("no session", watch.now())]
    clients = [connect(target) for _ in range(sessions)]
    rows.append((f"{sessions} sessions, idle", watch.now()))
    block = bytes(64 * 1024)
    for label, command in (("upload", "STOR"), ("download", "RETR")):
        watch.peak = 0
        channels = [
            client.transfercmd(f"{command} train_data/m{number}.bin") for number, client in enumerate(clients)
        ]
        for _ in range(size // len(block)):
            for channel in channels:
                if command == "STOR":
                    channel.sendall(block)
                else:
                    left = len(block)
                    while left:
                        left -= len(channel.recv(left))
            watch.now()
        for channel in channels:
            channel.close()
        for client in clients:
            client.voidresp()
        rows.append(
            (f"{sessions} sessions, each with its {label} of {size // 2**20} MiB, at most", watch.peak)
        )
    for client in clients:
        client.quit()
    found = [(label, f"{held / 2**20:.0f}") for label, held in rows]
    print(*found, sep="\n", flush=True)
    return found


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
    parser.add_argument("--sessions", type=int, default=200)
    given = parser.parse_args()
    in_own_network()
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
                latencies = in_the_way(folder, where, files=300, size=given.size * 2**20)
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
        fresh = Served(folder / "fresh")
        try:
            held = memory(fresh, sessions=given.sessions, size=2 * 2**20)
        finally:
            fresh.stop()
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
    body += "\n\n" + table(("a small upload", "vsftpd", "iqdata serve", "vsftpd ÷ serve"), latencies)
    body += "\n\n" + table(("memory of the space and its workers", "MiB"), held)
    body += f"\n\n{given.delays} uploads each for the delay; below zero the extraction began before the client had read its reply. What bounds small uploads is one Python thread that serves all sessions; beyond it, run a native server with the agent."
    print(body)
    write_section(
        "server", "The embedded space", body, command=f"scripts/bench server {' '.join(sys.argv[1:])}".strip()
    )


if __name__ == "__main__":
    main()
