"""Times contenders in turn within one run and writes tables: medians, and ratios of medians.

On a shared machine an absolute time means little; what was measured minutes apart means nothing. So contenders take turns
(A B C A B C …), and the ratio is what counts.
"""

import dataclasses
import datetime
import os
import platform
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_IN_OWN_NETWORK = "IQDATA_BENCH_NETWORK"
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "benchmarks.md"


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of one contender, one figure a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.seconds):.2f}–{max(self.seconds):.2f})"


def in_own_network() -> None:
    """Start this program again in a network of its own, where nobody else's connections have taken the ports.

    A connection keeps its ports for a minute after its end, and these suites open tens of thousands. Without root or
    unshare they run where they are.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None or _IN_OWN_NETWORK in os.environ:
        return
    prepare = "ip link set lo up && sysctl -qw net.ipv4.ip_local_port_range='10240 65535' && exec \"$@\""
    arguments = ["unshare", "--net", "sh", "-c", prepare, "sh", sys.executable, *sys.argv]
    os.execvpe("unshare", arguments, {**os.environ, _IN_OWN_NETWORK: "1"})


def in_turn(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    prepare: Callable[[str], object] = lambda _name: None,
) -> dict[str, Times]:
    """Run every contender once a round; `prepare(name)` comes before each run and is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            prepare(name)
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def write_section(suite: str, title: str, body: str, *, command: str) -> None:
    """Replace a suite's section of docs/benchmarks.md, or add it."""
    start, end = f"<!-- {suite} -->", f"<!-- /{suite} -->"
    stamp = f"{datetime.date.today():%Y-%m-%d}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    section = f"{start}\n## {title}\n\n`{command}` ({stamp})\n\n{body}\n{end}"
    text = PAGE.read_text() if PAGE.exists() else _HEAD
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    text = (
        pattern.sub(lambda _match: section, text)
        if pattern.search(text)
        else f"{text.rstrip()}\n\n{section}\n"
    )
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)


_HEAD = """\
# Benchmarks

Each table comes from one command, which anyone can run. Contenders take turns within one run; the figures are medians in
seconds with the range in parentheses. The machines are shared: trust the ratios (peer's time ÷ ours, above 1 is faster).
"""
