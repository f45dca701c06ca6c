"""push and pull of many files against lftp and rclone, over loopback."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _sidebyside import in_turn, table, write_section

from iqdata.location import Location
from iqdata.server.space import EmbeddedSpace
from tests.servers import vsftpd


def make_files(folder: Path, count: int, size: int) -> None:
    """Write `count` files, 500 to a folder."""
    numbers = random.Random(1)
    for index in range(count):
        place = folder / "train_data" / f"d{index // 500:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{index:06}.bin").write_bytes(numbers.randbytes(size))
    (folder / "group_data").mkdir(exist_ok=True)


class Peers:
    """The same job done by each contender."""

    def __init__(self, scratch: Path, url: str, password: str) -> None:
        self.scratch = scratch
        self.source = scratch / "source"
        self.password = password
        self.url = url
        where = Location.parse(url)
        self.login = (
            f"set ftp:ssl-allow no; set net:max-retries 2; open -u {where.user},{password} ftp://{where.host}:{where.port};"
            f" cd {where.root}"
        )
        obscured = subprocess.run(
            ["rclone", "obscure", password], capture_output=True, text=True, check=True
        ).stdout.strip()
        self.remote = f":ftp,host={where.host},port={where.port},user={where.user},pass={obscured}:{where.root.strip('/')}"

    def iqdata(self, verb: str, workspace: Path, *options: str) -> None:
        """Run our command as a user does."""
        self._run(
            [sys.executable, "-m", "iqdata", "-C", str(workspace), "--space", self.url, "-q", verb, *options]
        )

    def lftp(self, command: str) -> None:
        """Run lftp."""
        self._run(["lftp", "-c", f"{self.login}; {command}"])

    def rclone(self, *arguments: str) -> None:
        """Run rclone with its defaults but the number of transfers."""
        self._run(["rclone", "copy", "--transfers", "8", "--checkers", "8", *arguments])

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            env={**os.environ, "IQDATA_PASSWORD": self.password},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{command[:6]} ended with {done.returncode}: {done.stderr[:1500]}")


def measure(peers: Peers, root: Path, count: int, rounds: int) -> list[tuple[str, ...]]:
    """Return the rows for one server: up, down, and a run with nothing to do."""
    rows = []

    def fresh_space(_name: str) -> None:
        for item in root.glob("*_data/*"):
            shutil.rmtree(item)
        shutil.rmtree(peers.source / ".iqdata", ignore_errors=True)

    def row(what: str, times: dict) -> None:
        best = min((name for name in times if name != "iqdata"), key=lambda name: times[name].median)
        rows.append(
            (
                what,
                *(str(times[name]) for name in times),
                f"{times[best].median / times['iqdata'].median:.2f} ({best})",
            )
        )

    up = in_turn(
        {
            "iqdata": lambda: peers.iqdata("push", peers.source),
            "lftp -P4": lambda: peers.lftp(f"mirror -R -P4 {peers.source}/train_data train_data"),
            "rclone": lambda: peers.rclone(f"{peers.source}/train_data", f"{peers.remote}/train_data"),
        },
        rounds=rounds,
        prepare=fresh_space,
    )
    row(f"{count:,} × 4 KiB up", up)

    fresh_space("")
    peers.iqdata("push", peers.source)
    target = peers.scratch / "target"

    def fresh_target(_name: str) -> None:
        shutil.rmtree(target, ignore_errors=True)
        (target / "train_data").mkdir(parents=True)

    down = in_turn(
        {
            "iqdata": lambda: peers.iqdata("pull", target),
            "lftp -P8": lambda: peers.lftp(f"mirror -P8 train_data {target}/train_data"),
            "rclone": lambda: peers.rclone(f"{peers.remote}/train_data", f"{target}/train_data"),
        },
        rounds=rounds,
        prepare=fresh_target,
    )
    row(f"{count:,} × 4 KiB down", down)

    nothing = in_turn(
        {
            "iqdata": lambda: peers.iqdata("push", peers.source),
            "lftp -P4": lambda: peers.lftp(f"mirror -R -P4 {peers.source}/train_data train_data"),
            "rclone": lambda: peers.rclone(f"{peers.source}/train_data", f"{peers.remote}/train_data"),
        },
        rounds=rounds,
    )
    row(f"{count:,} nothing to do", nothing)
    return rows


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=["embedded", "vsftpd"], action="append")
    given = parser.parse_args()
    body = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm") as name:
        scratch = Path(name)
        scratch.chmod(0o755)  # vsftpd works as another user
        make_files(scratch / "source", given.files, 4096)
        for server in given.server or ["embedded", "vsftpd"]:
            place = scratch / server
            place.mkdir()
            if server == "embedded":
                with EmbeddedSpace(place, users={"team": "secret"}) as space:
                    peers = Peers(scratch, space.url("team"), "secret")
                    rows = measure(peers, place / "homes" / "team", given.files, given.rounds)
            else:
                with vsftpd(place) as running:
                    peers = Peers(scratch, running.url, running.password)
                    rows = measure(peers, running.root, given.files, given.rounds)
            header = (f"{server}", "iqdata", "lftp", "rclone --transfers 8", "best peer ÷ iqdata")
            body.append(table(header, rows))
            print(body[-1], flush=True)
    write_section(
        "mirror",
        "Many small files",
        "\n\n".join(body),
        command="scripts/bench mirror " + " ".join(sys.argv[1:]),
    )


if __name__ == "__main__":
    main()
