"""The body of scripts/fuzz-extraction."""

import sys
import tempfile
from pathlib import Path

from tests.support.fuzz import Judge, cuts, field_lies, flips, noise, samples


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        judge = Judge(Path(place, "x"))
        numbers = {"cuts": 0, "flips": 0, "lies": 0, "noise": 0}
        for name, data in samples().items():
            truth = judge.truth(name, data)
            for kind, variants in (
                ("cuts", cuts(data)),
                ("flips", flips(name, data, count, seed=2)),
                (
                    "lies",
                    field_lies(data) if name in ("s.tar", "s.zip", "d.zip", "s.7z", "s.tar.gz") else iter(()),
                ),
            ):
                for label, variant in variants:
                    numbers[kind] += 1
                    judge.judge(f"{name} {label}", name, variant, truth)
        for name in ("x.tar", "x.zip", "x.gz", "x.7z", "x.tar.gz"):
            for label, variant in noise(count, seed=4):
                numbers["noise"] += 1
                judge.judge(f"{name} {label}", name, variant, {})
        tally = judge.tally
        out = sys.stdout.write
        out(
            f"tried {tally.tried}: "
            + ", ".join(f"{number} {kind}" for kind, number in numbers.items())
            + "\n"
        )
        out(f"statuses: {dict(sorted(tally.statuses.items()))}\n")
        out(
            f"tracebacks {len(tally.raised)}, wrong files {len(tally.wrong)}, escapes {len(tally.escaped)}, leftovers {len(tally.left)}\n"
        )
        for bad in tally.bad[:40]:
            out(f"  {bad}\n")
        return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
