"""A running `iqdata agent`, and the log of a tree, for tests."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_S = 60.0


class AgentProcess:
    """One agent as its own process; its JSON lines are drained into a file, so that it never waits for a reader."""

    def __init__(self, root: Path, *arguments: str, log: Path) -> None:
        self.root = root
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "iqdata", "agent", "--root", str(root), "--json", *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )

    def events(self) -> list[dict]:
        """What it has said so far."""
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def await_start(self, starts: int = 1) -> None:
        """Wait until it watches."""
        wait_for(
            lambda: sum(event["event"] == "started" for event in self.events()) >= starts or self._died()
        )

    def _died(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the agent ended: {self._log.read_text()[-3000:]}")
        return False

    def stop(self) -> int:
        """Stop it as systemd would and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """End it without a chance to say anything."""
        self.process.kill()
        self.process.wait(30)


@contextlib.contextmanager
def agent(root: Path, *arguments: str, log: Path) -> Iterator[AgentProcess]:
    """Run an agent for a tree until the block ends."""
    running = AgentProcess(root, *arguments, log=log)
    try:
        running.await_start()
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def wait_for(condition, *, patience_s: float = PATIENCE_S) -> None:
    """Wait until something is true; fail when it does not become so."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def log_of(home: Path) -> list[dict]:
    """Return the lines of a home's extraction log that are complete."""
    path = home / ".iqdata" / "extractions.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def await_lines(home: Path, count: int) -> list[dict]:
    """Wait until the log has so many lines."""
    wait_for(lambda: len(log_of(home)) >= count)
    return log_of(home)
