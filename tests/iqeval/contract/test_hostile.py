"""Models that mean harm, one test each, under every sandbox of this machine.

Each does its worst in the category `seq`; the same module's `verbal` is an honest model. Whatever happens, `verbal` keeps
its score, the run ends in order, nothing outside the scratch changes, and no process stays behind.
"""

import dataclasses
import hashlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from textwrap import dedent, indent

import pytest

from iqeval.outcome import Outcome
from iqeval.run import Settings, run
from iqeval.sandbox.base import Kind, Limits, Wanted

pytestmark = pytest.mark.live

LIMITS = Limits(
    start_s=90, question_s=90, suite_s=100, memory_bytes=400 << 20, processes=30, file_bytes=8 << 20
)
# Only for models that never answer: on a busy machine an honest one may well take as long.
HASTY = dataclasses.replace(LIMITS, question_s=2.5)

TEMPLATE = """
import atexit, builtins, json, os, signal, socket, subprocess, sys, threading, time

class Honest:
    def pre_run(self): pass
    def solve(self, question): return [question["id"], [1]]

class Hostile(Honest):
    def solve(self, question):
{body}

def get_model_object(category):
    return Hostile() if category == "seq" else Honest()
"""


def snapshot(*roots):
    """Every path below the roots with its content."""
    found = {}
    for root in roots:
        for where, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name not in ("__pycache__", "out")]
            found[where] = ""
            for name in files:
                path = Path(where, name)
                found[str(path)] = (
                    hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "other"
                )
    return found


def marked_processes(marker):
    """Processes whose environment names the marker."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # names are all that is needed
        if name.isdigit() and int(name) != os.getpid():
            try:
                if marker.encode() in Path("/proc", name, "environ").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found


@pytest.fixture
def attack(make_model, two_categories, work, tmp_path):
    """Run a hostile body; returns the record after checking all that must hold for each of them."""

    def run_it(body, kind, *, setup="", limits=LIMITS, **settings):
        model = make_model(TEMPLATE.format(body=indent(dedent(body).strip(), " " * 8)) + dedent(setup))
        out = tmp_path / "out"
        marker = f"iqeval-test-{os.getpid()}-{tmp_path.name}"
        before = snapshot(work, model, two_categories.parent)
        threads = threading.active_count()
        record = run(
            model,
            two_categories,
            Settings(work=work, out=out, sandbox=Wanted(kind.value), limits=limits, **settings),
            env={**os.environ, "LC_MARKER": marker},
        )
        assert record.sandbox.kind == kind.value
        assert snapshot(work, model, two_categories.parent) == before
        assert threading.active_count() == threads
        end = time.monotonic() + 30
        while (left := marked_processes(marker)) and time.monotonic() < end:
            time.sleep(0.02)
        assert left == []
        result = json.loads((out / "result.json").read_text(), parse_constant=pytest.fail)
        assert result["verbal"] == {"pass": 1, "score": 0.5, "message": None}
        json.loads((out / "output.answer.json").read_text(), parse_constant=pytest.fail)
        json.loads((out / "report.json").read_text(), parse_constant=pytest.fail)
        assert sorted(path.name for path in out.iterdir() if path.name != "model.log") == [
            ".iqeval",
            "output.answer.json",
            "report.json",
            "result.json",
        ]
        seq = record.categories[0]
        assert seq.category == "seq"
        assert result["seq"] == seq.published
        return seq

    return run_it


# name → (body of solve, expected outcome, words of the message)
ATTACKS = {
    "exits": ("sys.exit(3)", Outcome.MODEL_ERROR, "SystemExit: 3"),
    "keyboard-interrupt": ("raise KeyboardInterrupt", Outcome.MODEL_ERROR, "KeyboardInterrupt"),
    "os-exit": ("os._exit(0)", Outcome.KILLED, "exit status 0"),
    "segfault": ("import ctypes; ctypes.string_at(0)", Outcome.KILLED, "SIGSEGV"),
    "kills-itself": ("os.kill(os.getpid(), signal.SIGKILL)", Outcome.KILLED, "SIGKILL"),
    "aborts": ("os.abort()", Outcome.KILLED, "SIGABRT"),
    "kills-its-parent": ("os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)", None, ""),
    "kills-its-group": ("os.killpg(0, signal.SIGKILL)", Outcome.KILLED, ""),
    "kills-everyone": ("os.kill(-1, signal.SIGKILL); time.sleep(60)", None, ""),
    "fork-bomb": (
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.01)",
        None,
        "",
    ),
    "thread-bomb": ("while True:\n    threading.Thread(target=time.sleep, args=(60,)).start()", None, ""),
    "allocates": ("blocks = []\nwhile True:\n    blocks.append(bytearray(1 << 24))", Outcome.MEMORY, ""),
    "allocates-in-children": (
        "for _ in range(4):\n    if os.fork() == 0:\n        data = b'x' * (200 << 20)\n        time.sleep(60)\ntime.sleep(60)",
        None,
        "",
    ),
    "shared-memory": (
        "import mmap\nblock = mmap.mmap(-1, 1 << 30)\nfor at in range(0, 1 << 30, 4096):\n    block[at] = 1\ntime.sleep(60)",
        Outcome.MEMORY,
        "memory",
    ),
    "sleeps": (
        "print('about to sleep')\ntime.sleep(60)",
        Outcome.TIMEOUT,
        "time.sleep(60)|about to sleep|line ",
    ),
    "spins": ("while True: pass", Outcome.TIMEOUT, "solve"),
    "ignores-sigterm": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
        Outcome.TIMEOUT,
        "no answer within 2.5 s",
    ),
    "blocks-signals": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})\ntime.sleep(60)",
        Outcome.TIMEOUT,
        "",
    ),
    "stops-itself": ("os.kill(os.getpid(), signal.SIGSTOP)", Outcome.TIMEOUT, ""),
    "leaves-children": (
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "daemonises": (
        "if os.fork() == 0:\n    try:\n        os.setsid()\n    except OSError:\n        pass\n"
        "    if os.fork() == 0:\n        time.sleep(300)\n    os._exit(0)\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "prints-a-gigabyte": (
        "if question['id'] == 0:\n    block = b'x' * (1 << 20)\n    for _ in range(1024):\n        os.write(1, block)\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "writes-a-large-file": (
        "open(os.path.join(os.environ['TMPDIR'], 'big'), 'wb').write(b'x' * (64 << 20))",
        Outcome.MODEL_ERROR,
        "OSError",
    ),
    "closes-descriptors": ("os.closerange(0, 4096); return [question['id'], [1]]", Outcome.KILLED, ""),
    "closes-standard-output": ("os.closerange(1, 3); return [question['id'], [1]]", Outcome.OK, ""),
    "writes-garbage-to-the-channel": (
        "for fd in range(200, 400):\n    try:\n        os.write(fd, b'garbage\\n')\n    except OSError:\n        pass\ntime.sleep(60)",
        Outcome.BAD_ANSWER,
        "channel",
    ),
    "forges-answers": (
        'for fd in range(200, 400):\n    try:\n        os.write(fd, b\'{"is":"answer","i":77,"ms":0,"p":[0,[1]]}\\n\')\n'
        "    except OSError:\n        pass\ntime.sleep(60)",
        Outcome.BAD_ANSWER,
        "channel",
    ),
    "forges-numbers-that-are-none": (
        'for fd in range(200, 400):\n    try:\n        os.write(fd, b\'{"is":"answer","i":0,"ms":1e999,"p":[0,[1]]}\\n\')\n'
        "    except OSError:\n        pass\ntime.sleep(60)",
        Outcome.BAD_ANSWER,
        "channel",
    ),
    "forges-infinity": (
        'for fd in range(200, 400):\n    try:\n        os.write(fd, b\'{"is":"answer","i":0,"ms":1,"p":[0,[1e999, NaN]]}\\n\')\n'
        "    except OSError:\n        pass\ntime.sleep(60)",
        Outcome.BAD_ANSWER,
        "channel",
    ),
    "forges-nesting": (
        'for fd in range(200, 400):\n    try:\n        os.write(fd, b\'{"is":"answer","i":0,"ms":1,"p":\' + b\'[\' * 100000 + b\'\\n\')\n'
        "    except OSError:\n        pass\ntime.sleep(60)",
        Outcome.BAD_ANSWER,
        "channel",
    ),
    "floods-the-channel": (
        "for fd in range(200, 400):\n    try:\n        while True:\n            os.write(fd, b'x' * 65536)\n    except OSError:\n        pass",
        Outcome.BAD_ANSWER,
        "channel",
    ),
    "changes-directory": ("os.chdir('/'); return [question['id'], [1]]", Outcome.OK, ""),
    "monkeypatches-json": (
        "json.dumps = json.loads = json.JSONEncoder.encode = lambda *a, **k: 'null'\n"
        "from json import encoder\nencoder.c_make_encoder = None\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "monkeypatches-os": (
        "os.write = os.read = os._exit = lambda *a: None\ntime.perf_counter = None\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "monkeypatches-builtins": (
        "builtins.len = builtins.isinstance = None; return [question['id'], [1]]",
        None,
        "",
    ),
    "replaces-stdout": (
        "class Out:\n    def write(self, *a): raise RuntimeError\n    def flush(self): raise SystemExit\n"
        "sys.stdout = sys.stderr = Out()\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "sets-a-trace": ("sys.settrace(lambda *a: os._exit(1)); return [question['id'], [1]]", None, ""),
    "returns-nan": ("return [question['id'], [float('nan')]]", Outcome.OK, ""),
    "returns-a-set": ("return [question['id'], {1}]", Outcome.BAD_ANSWER, "set"),
    "returns-bytes": ("return [question['id'], b'1']", Outcome.BAD_ANSWER, "bytes"),
    "returns-a-generator": ("return [question['id'], (n for n in [1])]", Outcome.OK, ""),
    "returns-an-endless-generator": (
        "def forever():\n    while True:\n        yield 1\nreturn [question['id'], forever()]",
        Outcome.BAD_ANSWER,
        "1,000,000",
    ),
    "returns-itself": ("a = [question['id']]; a.append(a); return a", Outcome.BAD_ANSWER, "nested"),
    "returns-deep-nesting": (
        "a = [1]\nfor _ in range(5000): a = [a]\nreturn [question['id'], a]",
        Outcome.BAD_ANSWER,
        "nested",
    ),
    "returns-40-megabytes": ("return [question['id'], 'x' * (40 << 20)]", Outcome.BAD_ANSWER, "bytes"),
    "returns-a-gigabyte": ("return [question['id'], 'x' * (1 << 30)]", Outcome.MEMORY, "MemoryError"),
    "returns-none": ("return None", Outcome.BAD_ANSWER, "expected [id, answer], found None"),
    "returns-a-number": ("return 1", Outcome.BAD_ANSWER, "found a number"),
    "returns-an-equal-to-everything": (
        "class Any:\n    def __eq__(self, other): return True\nreturn [question['id'], Any()]",
        Outcome.BAD_ANSWER,
        "Any",
    ),
    "recurses": ("return self.solve(question)", Outcome.MODEL_ERROR, "RecursionError"),
    "raises-what-cannot-be-shown": (
        "class Bad(Exception):\n    def __str__(self): os._exit(9)\nraise Bad",
        None,
        "",
    ),
    "raises-a-base-exception": (
        "class Odd(BaseException): pass\nraise Odd('x')",
        Outcome.MODEL_ERROR,
        "Odd: x",
    ),
    "ids-that-do-not-exist": ("return ['nobody', [1]]", Outcome.BAD_ANSWER, "nobody"),
    "lists-as-ids": ("return [[1], [1]]", Outcome.BAD_ANSWER, "id"),
    "answers-for-other-questions": ("return [0, [1]]", Outcome.OK, ""),
    "registers-exit-hooks": (
        "atexit.register(lambda: open(os.path.join(os.environ['IQEVAL_SPACE'], 'forged'), 'w'))\nreturn [question['id'], [1]]",
        Outcome.OK,
        "",
    ),
    "kills-later-categories-from-a-thread": (
        "threading.Timer(0.02, lambda: os._exit(1)).start() if question['id'] == 3 else None\nreturn [question['id'], [1]]",
        None,
        "",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_model_harms_nobody_else(attack, sandbox, name):
    if name == "kills-everyone" and sandbox is Kind.NONE:
        name = "kills-its-group"  # without a sandbox nothing keeps a signal to every process of this user from arriving
    body, outcome, words = ATTACKS[name]
    seq = attack(body, sandbox, limits=HASTY if outcome in (Outcome.TIMEOUT, None) else LIMITS)
    if outcome is not None:
        assert seq.outcome is outcome, seq.message
    said = seq.problem.details if seq.problem else ""
    assert any(word in said for word in words.split("|")), said


SECRETS = {
    "answers-beside-the-questions": "open(os.path.join({data!r}, 's.answer.json')).read()",
    "answers-by-a-relative-path": "open('../data/s.answer.json').read()",
    "the-rest-of-the-space": "open(os.path.join({work!r}, 'other.txt')).read()",
    "home": "open({secret!r}).read()",
    "passwords": "open('/etc/shadow').read()",
    "the-callers-environment": "'IQEVAL-SECRET' in open('/proc/1/environ').read() or 1 / 0",
    "the-parents-environment": "open('/proc/{pid}/environ').read()",
    "the-parents-memory": "open('/proc/{pid}/mem', 'rb').read(1)",
    "the-parents-descriptors": "os.listdir('/proc/{pid}/fd')",
    "loopback": "socket.create_connection(('127.0.0.1', {port}), timeout=1)",
    "a-unix-socket": "(lambda s: s.connect({unix!r}))(socket.socket(socket.AF_UNIX))",
    "write-train-data": "open(os.path.join({work!r}, 'train_data', 'new'), 'w')",
    "write-train-data-by-cwd": "open('train_data/user.bin', 'a')",
    "write-group-data": "os.unlink(os.path.join({work!r}, 'group_data', 'shared.bin'))",
    "write-the-model": "open(__file__, 'a')",
    "write-results": "open(os.path.join({out!r}, 'result.json'), 'w')",
    "make-data-writable": "os.chmod(os.path.join({work!r}, 'train_data'), 0o777); open(os.path.join({work!r}, 'train_data', 'new'), 'w')",
    "mount": "subprocess.run(['mount', '-t', 'tmpfs', 'x', '/tmp'], check=True, capture_output=True)",
    "new-namespaces": "subprocess.run(['unshare', '-Ur', 'true'], check=True, capture_output=True)",
    "signal-the-parent": "os.kill({pid}, 0)",
    "trace-the-parent": "__import__('ctypes').CDLL(None, use_errno=True).ptrace(16, {pid}, 0, 0) == 0 or 1 / 0",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_sandbox_keeps_a_model_from(
    attack, closed_sandbox, name, work, two_categories, tmp_path, monkeypatch
):
    import socket

    monkeypatch.setenv("IQEVAL-SECRET", "1")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    # The path of a socket has at most 107 bytes, and one too long would be refused for that alone.
    with (
        tempfile.TemporaryDirectory() as short,
        socket.socket() as listener,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        unix.bind(f"{short}/u")
        unix.listen()
        attempt = SECRETS[name].format(
            data=str(two_categories.parent),
            work=str(work),
            out=str(tmp_path / "out"),
            secret=str(secret),
            pid=os.getpid(),
            port=listener.getsockname()[1],
            unix=f"{short}/u",
        )
        seq = attack(
            f"""
            try:
                {attempt}
            except Exception as error:
                print('refused:', type(error).__name__, flush=True)
                return [question['id'], [1]]
            return [question['id'], [2]]
            """,
            closed_sandbox,
        )
    # The right answers are 1, 2, 1, 2: a model that got through says 2 to the first question.
    rows = [
        row
        for row in json.loads((tmp_path / "out" / "report.json").read_text())["questions"]
        if row["category"] == "seq"
    ]
    assert [row["prediction"][1] for row in rows] == [[1]] * 4, (tmp_path / "out" / "model.log").read_text()
    assert seq.outcome is Outcome.OK


def test_a_model_at_import_is_as_confined_as_one_that_solves(
    make_model, two_categories, work, closed_sandbox, tmp_path
):
    model = make_model(
        f"open({str(two_categories.parent / 's.answer.json')!r})\ndef get_model_object(c): return None"
    )
    record = run(
        model, two_categories, Settings(work=work, out=tmp_path / "out", sandbox=Wanted(closed_sandbox.value))
    )
    assert record.exit_code == 2
    assert {result.outcome for result in record.categories} == {Outcome.START_FAILED}
    assert "Error" in record.categories[0].message


def test_answers_in_the_models_own_folder_stay_hidden(make_model, make_suites, closed_sandbox, tmp_path):
    """The published verbal example has its work root, its data and its model in one folder."""
    config = make_suites({"seq": {"s": [[1], [2]]}}, folder="model/eval-data")
    model = make_model(
        """
        import os
        import helper
        class Model:
            def pre_run(self): pass
            def solve(self, question):
                try:
                    seen = open(os.path.join(os.path.dirname(__file__), "eval-data", "s.answer.json")).read()
                except OSError:
                    seen = ""
                try:
                    seen += open(os.path.join(os.path.dirname(__file__), "report.json")).read()
                except OSError:
                    pass
                return [question["id"], [2] if seen else [helper.ONE]]
        def get_model_object(category):
            return Model()
        """,
        **{"helper.py": "ONE = 1"},
    )
    settings = Settings(work=model, sandbox=Wanted(closed_sandbox.value))
    for _ in range(2):  # the second time a report of the first lies there
        (model / "report.json").write_text("expected answers")
        record = run(model, config, settings)
        assert record.categories[0].outcome is Outcome.OK, record.categories[0].message
        assert [
            row["prediction"] for row in json.loads((model / "report.json").read_text())["questions"]
        ] == [[0, [1]], [1, [1]]]


def test_the_network_is_there_when_it_is_allowed(make_model, two_categories, work, sandbox, tmp_path):
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        model = make_model(
            TEMPLATE.format(
                body=f"        socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), timeout=5).close()\n"
                "        return [question['id'], [1]]"
            )
        )
        settings = Settings(work=work, out=tmp_path / "out", sandbox=Wanted(sandbox.value), network=True)
        record = run(model, two_categories, settings)
    assert [result.outcome for result in record.categories] == [Outcome.OK, Outcome.OK], record.categories[
        0
    ].message
    assert record.sandbox.kind == sandbox.value


def test_more_can_be_made_readable(make_model, two_categories, work, sandbox, tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "w.bin").write_text("1")
    body = f"        return [question['id'], [int(open({str(extra / 'w.bin')!r}).read())]]"
    settings = Settings(work=work, out=tmp_path / "out", sandbox=Wanted(sandbox.value), readable=(extra,))
    record = run(make_model(TEMPLATE.format(body=body)), two_categories, settings)
    assert [result.outcome for result in record.categories] == [Outcome.OK, Outcome.OK], record.categories[
        0
    ].message


def test_a_model_finds_no_descriptor_of_the_evaluators_but_its_channel(attack, sandbox, tmp_path):
    """Those by which a child enters its control groups, or reads its filter, are closed before the model is loaded."""
    attack(
        """
        import stat
        for number in range(1024):
            try:
                mode = os.fstat(number).st_mode
            except OSError:
                continue
            print('open:', number > 2, chr(stat.filemode(mode).encode()[0]), flush=True)
        return [question['id'], [1]]
        """,
        sandbox,
    )
    log = (tmp_path / "out" / "model.log").read_text()
    found = {line for line in log.splitlines() if line.startswith("open: ")}
    # Standard input is /dev/null, the outputs and faulthandler's copy are pipes, the channel is a socket.
    assert found == {"open: False c", "open: False p", "open: True p", "open: True s"}
