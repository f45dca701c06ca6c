"""iqeval: start of a sandboxed child, cost of a question, a whole run against the published SDK, a million questions."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from _sidebyside import in_turn, table, write_section

from iqeval import protocol
from iqeval.run import Settings, run
from iqeval.sandbox.base import Kind, Limits, View, Wanted
from iqeval.sandbox.choose import Opening

MODEL = """
class Model:
    def pre_run(self): pass
    def solve(self, question): return [question["id"], [1]]
def get_model_object(category): return Model()
"""
BUSY = """
import time
class Model:
    def pre_run(self): pass
    def solve(self, question):
        end = time.perf_counter() + 0.004
        while time.perf_counter() < end: pass
        return [question["id"], [1]]
def get_model_object(category): return Model()
"""
# The SDK's server mode and its analysis: the same work, without its look at the network.
SDK = """
import contextlib, io, sys
sys.path.insert(0, sys.argv[1])
from iqtest import eval_result, run_model
data, work, model = sys.argv[2:5]
sys.argv = ["x", "-s", "-c", data + "/config.json", "-w", work, model]
run_model.run()
eval_result.run_analysis(data, work, data)
"""


def make_model(folder: Path, source: str) -> Path:
    folder.mkdir()
    (folder / "entry.json").write_text('{"model": "entry_model"}')
    (folder / "entry_model.py").write_text(source)
    return folder


def make_suite(folder: Path, count: int) -> Path:
    """Write a suite of `count` questions without holding it."""
    folder.mkdir()
    with (folder / "s.json").open("w") as questions, (folder / "s.answer.json").open("w") as answers:
        questions.write("[")
        answers.write("{")
        for number in range(count):
            separator = "," if number else ""
            options = [str(number + step) for step in (10, 12, 13, 11)]
            question = {
                "stem": f"{number},{number + 3},{number + 6},?",
                "options": options,
                "category": "sequence",
                "id": number,
            }
            questions.write(separator + json.dumps(question))
            answers.write(f'{separator}"{number}": {{"answer": [{number % 4 + 1}], "hint": ""}}')
        questions.write("]")
        answers.write("}")
    (folder / "config.json").write_text('{"test_suites": {"seq": ["s"]}}')
    return folder / "config.json"


def start_child(kind: Kind, model: Path, work: Path) -> None:
    """Start a child, confine it, load a model, and end it."""
    start = {
        "model_dir": str(model),
        "entry": "entry_model",
        "categories": ["seq"],
        "sys_path": [],
        "seed": None,
    }
    view = View(work=work, model=model)
    with Opening(
        Wanted(kind.value), view=view, limits=Limits(), start=start, env=os.environ, extra_env={}
    ) as (session, _):
        assert isinstance(session.receive(within_s=30), protocol.Ready)


def plain_python() -> None:
    """Start an interpreter that reads one JSON line and writes one."""
    code = "import json, sys; print(json.dumps(json.loads(sys.stdin.readline())))"
    subprocess.run(
        [sys.executable, "-I", "-c", code], input=b'{"is": "x"}\n', capture_output=True, check=True
    )


def kinds_here() -> list[Kind]:
    from iqeval import kernel

    found = [Kind.BUBBLEWRAP] if shutil.which("bwrap") else []
    return [*found, *([Kind.LANDLOCK] if kernel.landlock_abi() else []), Kind.NONE]


def peak(command: list[str]) -> tuple[float, float]:
    """Return a command's seconds and its own peak memory in MB (its children's counts only where it is larger)."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def large(questions: int, model: Path, work: Path, folder: Path) -> None:
    """Measure a suite that is not to stand in memory, into a section of its own: it takes minutes."""
    config = make_suite(folder, questions)
    command = [sys.executable, "-m", "iqeval", "run", str(model), "-c", str(config), "-w", str(work), "-q"]
    seconds, megabytes = peak(command)
    rows = [(f"{questions:,}", f"{seconds:.0f} s", f"{megabytes:.0f} MB")]
    body = "Asked, answered, scored and reported:\n\n" + table(
        ("questions", "time", "peak memory of the parent"), rows
    )
    write_section("eval-large", "Evaluation of a large suite", body, command="scripts/bench eval --large")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", action="store_true", help="also a suite of --questions questions: minutes")
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("IQTEST_DATA", "../shared/iqtest-data"))
    )
    parser.add_argument("--sdk", type=Path, help="a checkout of the published SDK")
    parser.add_argument(
        "--sdk-python", default=sys.executable, help="an interpreter with requests and pkg_resources for it"
    )
    given = parser.parse_args()
    parts: list[str] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, busy = make_model(scratch / "model", MODEL), make_model(scratch / "busy", BUSY)
        work = scratch / "work"
        for area in ("train_data", "group_data"):
            (work / area).mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "iqeval", "iqdata"], check=True)

        kinds = kinds_here()
        starts = in_turn(
            {"plain `python -I`": plain_python}
            | {kind.value: lambda kind=kind: start_child(kind, model, work) for kind in kinds},
            rounds=given.rounds * 3,
        )
        base = starts["plain `python -I`"].median
        rows = [
            (name, f"{times.median * 1000:.0f} ms", f"{times.median / base:.2f}")
            for name, times in starts.items()
        ]
        parts.append(
            "Start of a child until its model is loaded, its end included:\n\n"
            + table(("child", "median", "÷ plain"), rows)
        )

        small, large = make_suite(scratch / "small", 1000), make_suite(scratch / "large", 21_000)
        rows = []
        for kind in kinds:
            settings = Settings(work=work, sandbox=Wanted(kind.value))
            times = in_turn(
                {
                    "small": lambda s=settings: run(model, small, s),
                    "large": lambda s=settings: run(model, large, s),
                },
                rounds=3,
            )
            rows.append(
                (kind.value, f"{(times['large'].median - times['small'].median) / 20_000 * 1000:.3f} ms")
            )
        parts.append(
            "Cost of a question: asked, answered, kept, scored and reported (20,000 more questions ÷ 20,000):\n\n"
            + table(("child", "a question"), rows)
        )

        config = given.data / "config.json"
        if config.is_file():
            ours = [
                sys.executable,
                "-m",
                "iqeval",
                "run",
                str(model),
                "-c",
                str(config),
                "-w",
                str(work),
                "-q",
            ]
            contenders = {
                "iqeval run, in its best sandbox": lambda: subprocess.run(
                    ours, check=True, capture_output=True
                )
            }
            if given.sdk:
                (scratch / "sdk.py").write_text(SDK)
                theirs = [
                    given.sdk_python,
                    str(scratch / "sdk.py"),
                    *map(str, (given.sdk, given.data.absolute(), scratch / "sdkwork", model)),
                ]
                (scratch / "sdkwork").mkdir()
                contenders["published SDK, server mode and analysis"] = lambda: subprocess.run(
                    theirs, check=True, capture_output=True
                )
            times = in_turn(contenders, rounds=given.rounds)
            mine = times["iqeval run, in its best sandbox"].median
            rows = [(name, str(value), f"{value.median / mine:.2f}") for name, value in times.items()]
            parts.append(
                "The 1,322 published questions, whole command, trivial model:\n\n"
                + table(("command", "seconds", "÷ iqeval"), rows)
            )

        jobs = make_suite(scratch / "jobs", 1000)
        times = in_turn(
            {
                "--jobs 1": lambda: run(busy, jobs, Settings(work=work)),
                "--jobs 2 --split": lambda: run(busy, jobs, Settings(work=work, jobs=2, split=True)),
            },
            rounds=3,
        )
        one = times["--jobs 1"].median
        rows = [(name, str(value), f"{one / value.median:.2f}") for name, value in times.items()]
        parts.append(
            f"1,000 questions of 4 ms of work each, {os.cpu_count()} cores:\n\n"
            + table(("run", "seconds", "faster"), rows)
        )

        if given.large:
            large(given.questions, model, work, scratch / "million")
    write_section(
        "eval",
        "Evaluation",
        "\n\n".join(parts),
        command="scripts/bench eval" + (" --sdk …" if given.sdk else ""),
    )


if __name__ == "__main__":
    main()
