"""Extraction and preview against the real tar and 7zz, on a file system in memory."""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from _sidebyside import Times, in_turn, table, write_section

_OWN = """
import os, re, sys, time
from pathlib import Path
from iqdata.extract.engine import extract, inspect
from iqdata.extract.model import Engine
verb, archive, into, engine = sys.argv[1:]
def peak():
    # Not getrusage's figure, which a child inherits from the process that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
base = peak()
before = os.times()
started = time.perf_counter()
if verb == "extract":
    result = extract(Path(archive), Path(into), engine=Engine(engine))
else:
    result = inspect(Path(archive), engine=Engine(engine))
took = time.perf_counter() - started
cpu = sum(os.times()[:4]) - sum(before[:4])
assert result.status.value == "ok", result
print(took, cpu, (peak() - base) // 1024)
"""


class Work:
    """Archives in a folder in memory, and the two ways to read them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.out = place / "out"
        self.inside: dict[str, list[float]] = {}
        self.memory: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def fresh(self, _name: str = "") -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def tool(self, archive: str, *, listing: bool, zone: bool) -> Callable[[], object]:
        path = str(self.place / archive)
        if ".tar" in archive:
            command = ["tar", "-tvf", path] if listing else ["tar", "-xf", path]
        else:
            command = ["7zz", "l", path] if listing else ["7zz", "x", "-y", "-bd", "-o.", path]

        env = {name: value for name, value in os.environ.items() if name != "TZ"}
        if zone:
            env["TZ"] = "UTC"

        def run() -> None:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                command,
                cwd=self.out,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self.cpu.setdefault(f"{archive} tool", []).append(spent)

        return run

    def own(self, archive: str, *, listing: bool, engine: str) -> Callable[[], object]:
        verb = "inspect" if listing else "extract"
        command = [sys.executable, "-c", _OWN, verb, str(self.place / archive), str(self.out), engine]

        def run() -> None:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, cpu, megabytes = done.stdout.split()
            key = f"{archive} {verb} {engine}"
            self.inside.setdefault(key, []).append(float(seconds))
            self.cpu.setdefault(key, []).append(float(cpu))
            self.memory.setdefault(key, []).append(float(megabytes))

        return run

    def row(
        self,
        label: str,
        archive: str,
        *,
        rounds: int,
        listing: bool = False,
        engine: str = "portable",
        zone: bool = False,
    ) -> tuple[str, ...]:
        """Measure one archive and return its row; `zone` sets TZ for the tool, which Debian leaves unset."""
        contenders = {
            "tool": self.tool(archive, listing=listing, zone=zone),
            "own": self.own(archive, listing=listing, engine=engine),
        }
        times = in_turn(contenders, rounds=rounds, prepare=self.fresh)
        self.fresh()
        key = f"{archive} {'inspect' if listing else 'extract'} {engine}"
        inside = Times(tuple(self.inside.pop(key)))
        memory = statistics.median(self.memory.pop(key))
        cpu = statistics.median(self.cpu.pop(f"{archive} tool")) / max(
            statistics.median(self.cpu.pop(key)), 0.001
        )
        tool, own = times["tool"], times["own"]
        name = "tar" if ".tar" in archive else "7zz"
        print(label, tool.median, inside.median, memory, file=sys.stderr, flush=True)
        return (
            label,
            name,
            str(tool),
            str(inside),
            f"**{tool.median / inside.median:.2f}**",
            f"{cpu:.2f}",
            f"{tool.median / own.median:.2f}",
            f"{memory:.0f}",
        )


def make(place: Path, *, scale: float, members: int) -> None:
    """Write the mixed tree, the small files and the many members, and pack them by the real tools."""
    draw = random.Random(1)

    def put(path: str, data: bytes) -> None:
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    for index in range(int(40 * scale)):
        rows = "".join(
            f"{index},{row},{draw.random():.5f},{draw.choice(('alpha', 'beta', 'gamma'))},{draw.randrange(10000)}\n"
            for row in range(60_000)
        )
        put(f"mix/csv/{index}.csv", rows.encode())
    for index in range(int(20 * scale)):
        put(f"mix/noise/{index}.bin", draw.randbytes(1_500_000))
        put(f"mix/float/{index}.npy", struct.pack("<250000d", *[draw.gauss(0, 1) for _ in range(250_000)]))
    for index in range(int(400 * scale)):
        records = [{"id": number, "v": draw.random(), "t": f"text {number % 7}"} for number in range(600)]
        put(f"mix/json/{index // 50}/{index}.json", json.dumps(records).encode())
    text = "".join(f"{row},{draw.random():.6f}\n" for row in range(60_000)).encode()
    for index in range(20_000):
        put(f"small/{index // 200:03}/{index:05}.csv", text[index * 40 % 900_000 :][:4096])
    for index in range(members):
        put(f"many/{index // 1000:04}/file{index:07}.txt", b"%064d" % index)

    def sh(command: str) -> None:
        subprocess.run(command, shell=True, cwd=place, check=True, stdout=subprocess.DEVNULL)

    sh("cd mix && tar -cf ../mix.tar . && zip -qr ../mix.zip . && 7zz a -bd -mx3 ../mix.7z .")
    sh("gzip -c mix.tar > mix.tar.gz && zstd -qc mix.tar > mix.tar.zst")
    sh(
        "cat mix/csv/*.csv > one.csv && gzip -c one.csv > one.csv.gz && xz -T2 -3 --block-size=8MiB -c one.csv > blocks.xz && xz -3 -c one.csv > single.xz"
    )
    sh("cd small && tar -cf ../small.tar . && zip -qr ../small.zip . && 7zz a -bd -mx1 ../small.7z .")
    sh("cd many && tar -cf ../many.tar . && zip -qr0 ../many.zip . && 7zz a -bd -mx0 ../many.7z .")
    for name in ("mix", "small", "many", "one.csv"):
        target = place / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()


def make_huge(place: Path, *, members: int) -> None:
    """Write a zip of very many tiny members, as `zip -0` would; making the files first takes ten times as long."""
    exact, owner = (
        b"UT\5\0\3" + struct.pack("<i", 1_600_000_000),
        b"ux\x0b\0\1\4" + bytes(4) + b"\4" + bytes(4),
    )
    central = bytearray()
    with (place / "huge.zip").open("wb") as out:
        for index in range(members):
            name, data = b"%05d/file%08d.txt" % (index // 1000, index), b"%08d" % index
            sizes = struct.pack("<LLLHH", zlib.crc32(data), len(data), len(data), len(name), 24)
            at = out.tell()
            out.write(
                b"PK\3\4" + struct.pack("<HHHHH", 10, 0, 0, 0, 33) + sizes + name + exact + owner + data
            )
            central += b"PK\1\2" + struct.pack("<BBHHHHH", 30, 3, 10, 0, 0, 0, 33) + sizes
            central += struct.pack("<HHHLL", 0, 0, 0, 0o100644 << 16, at) + name + exact + owner
        at = out.tell()
        out.write(central)
        record = out.tell()
        out.write(b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, members, members, len(central), at))
        out.write(b"PK\6\7" + struct.pack("<LQL", 0, record, 1))
        out.write(b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="1.0: a mixed tree of 150 MB")
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument(
        "--huge", type=int, default=1_000_000, help="members of the largest zip; 0 leaves it out"
    )
    parser.add_argument("--place", default="/dev/shm", help="a folder in memory")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.place, prefix="iqdata-bench") as name:
        place = Path(name)
        make(place, scale=given.scale, members=given.members)
        work = Work(place)
        rounds = given.rounds
        rows = [
            work.row("`.tar`, mixed", "mix.tar", rounds=rounds),
            work.row("`.tar.gz`, mixed", "mix.tar.gz", rounds=rounds),
            work.row("`.tar.zst`, mixed", "mix.tar.zst", rounds=rounds),
            work.row("`.zip`, mixed", "mix.zip", rounds=rounds),
            work.row("`.7z`, mixed, portable", "mix.7z", rounds=rounds),
            work.row("`.7z`, mixed, native", "mix.7z", rounds=rounds, engine="native"),
            work.row("`.gz`, one file", "one.csv.gz", rounds=rounds),
            work.row("`.xz`, many blocks, portable", "blocks.xz", rounds=rounds),
            work.row("`.xz`, many blocks, native", "blocks.xz", rounds=rounds, engine="native"),
            work.row("`.xz`, one block", "single.xz", rounds=rounds),
            work.row("`.tar`, 20,000 × 4 KiB", "small.tar", rounds=rounds),
            work.row("`.zip`, 20,000 × 4 KiB", "small.zip", rounds=rounds),
            work.row("`.7z`, 20,000 × 4 KiB, portable", "small.7z", rounds=rounds),
            work.row("`.7z`, 20,000 × 4 KiB, native", "small.7z", rounds=rounds, engine="native"),
        ]
        rows += [
            work.row(
                f"preview of {given.members:,} members, `.{suffix}`{', TZ set' if zone else ''}",
                f"many.{suffix}",
                rounds=rounds,
                listing=True,
                zone=zone,
            )
            for zone in (False, True)
            for suffix in ("tar", "zip", "7z")
        ]
        if given.huge:
            make_huge(place, members=given.huge)
            rows += [
                work.row(f"preview of {given.huge:,} members, `.zip`", "huge.zip", rounds=1, listing=True),
                work.row(f"`.zip`, {given.huge:,} × 8 bytes", "huge.zip", rounds=1),
            ]
    header = (
        "archive",
        "tool",
        "tool (s)",
        "engine (s)",
        "tool ÷ engine",
        "of processor time",
        "with Python's start",
        "memory (MB)",
    )
    body = (
        table(header, rows)
        + "\n\nThe engine's time is the call's own, as a server or a sync pays it; the third ratio counts the start of an interpreter too."
        " The ratio of processor time (user + system, all threads) is the one that other work on the machine disturbs least."
        " Memory is what the call adds to the interpreter's. The tools run as Debian has them, without TZ: their C library then asks for"
        " /etc/localtime at each date that it prints, which is most of what a long listing takes; the rows with TZ set spare them that."
        " On tmpfs; `portable` decodes in Python, `native` runs 7zz and checks and moves what it leaves."
    )
    write_section(
        "extraction", "Extraction and preview against tar and 7zz", body, command="scripts/bench extraction"
    )
    print(body)


if __name__ == "__main__":
    main()
