"""The README is true: its session runs as written, and its commands are the ones that exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import iqdata.cli
import iqeval.cli
from tests.servers import free_port

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "README.md").read_text()
CONSOLE = [
    line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]
MARK = "=== command ended "


def session():
    """Return the README's commands with the output that it shows for each."""
    commands: list[tuple[str, list[str]]] = []
    for line in CONSOLE:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


def comparable(line):
    """Return a line without what differs from run to run: durations, folders, packed sizes that depend on a clock."""
    line = re.sub(r"\d+\.\d+ s\b", "N s", line)
    return re.sub(r"/\S*/session/", "/session/", line)


def test_the_session_runs_as_written(tmp_path):
    port = free_port()
    folder = tmp_path / "session"
    folder.mkdir()
    commands = session()
    script = ["set -u", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for command, _ in commands:
        script.append(command)
        script.append(f'echo "{MARK}$?"')
        if command.startswith("iqdata serve"):
            script.append(
                f"for _ in $(seq 200); do (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.1; done"
            )
    done = subprocess.run(
        ["bash", "-c", "\n".join(script).replace("2121", str(port))],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    parts = re.split(re.escape(MARK) + r"(\d+)\n", done.stdout)
    outputs, codes = parts[0:-1:2], parts[1::2]
    assert len(codes) == len(commands), done.stdout + done.stderr
    for (command, shown), output, code in zip(commands, outputs, codes, strict=True):
        assert code == "0", f"{command}: {output}{done.stderr}"
        # Transfers finish in any order.
        written = sorted(comparable(line) for line in output.replace(str(port), "2121").splitlines())
        assert not shown or sorted(comparable(line) for line in shown) == written, command


def test_the_table_names_every_command_and_no_other():
    named = set(re.findall(r"`(iqdata|iqeval) ([a-z]+)`", TEXT.split("## Commands")[1].split("## Where")[0]))
    there = {("iqdata", verb) for verb in iqdata.cli.VERBS} | {("iqeval", verb) for verb in iqeval.cli.VERBS}
    assert named == there


@pytest.mark.parametrize("verb", sorted(iqdata.cli.VERBS))
def test_every_iqdata_verb_explains_itself(verb):
    result = CliRunner().invoke(iqdata.cli.cli, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize("verb", sorted(iqeval.cli.VERBS))
def test_every_iqeval_verb_explains_itself(verb):
    result = CliRunner().invoke(iqeval.cli.cli, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_the_two_commands_are_run_by_ci():
    gate = (ROOT / ".ci" / "run").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for command in block.split("\n"):
        assert command in gate


def test_every_page_that_is_linked_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).is_file(), target
