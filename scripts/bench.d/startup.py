"""How long `iqdata --help` takes beside the interpreter with click alone."""

import subprocess
import sys
from pathlib import Path

from _sidebyside import in_turn, table, write_section


def main() -> None:
    """Measure and write the section."""

    def run(*command: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    program = str(Path(sys.executable).with_name("iqdata"))
    times = in_turn(
        {
            "python -c 'import click'": lambda: run(sys.executable, "-c", "import click"),
            "iqdata --help": lambda: run(program, "--help"),
            "iqdata --version": lambda: run(program, "--version"),
        },
        rounds=21,
    )
    base = times["python -c 'import click'"].median
    rows = [(f"`{name}`", str(value), f"{value.median / base:.2f}") for name, value in times.items()]
    body = table(("command", "seconds", "times click alone"), rows)
    print(body)
    write_section("startup", "Start-up", body, command="scripts/bench startup")


if __name__ == "__main__":
    main()
