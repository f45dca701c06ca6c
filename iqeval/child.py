"""The sandboxed child: the only place where a team's code is imported and called.

It locks itself up, tries the doors, loads the model and answers the parent's lines. It knows no answers, no scores and
no other model; whatever a model raises becomes a message. It keeps its own references to everything it uses after
the model is loaded, so that a model that changes `json`, `os` or `sys` does not change what is said to the parent.
"""

import faulthandler
import importlib
import importlib.machinery
import os
import sys
import time

from iqeval import confine, wire

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType, TracebackType
    from typing import Any, NoReturn

_encode = wire.encode
_decode = wire.decode
_read, _write, _dup2, _close, _chdir = os.read, os.write, os.dup2, os.close, os.chdir
_clock = time.perf_counter
_exit = os._exit
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120  # the child starts without pathlib
_HIGH_DESCRIPTOR = 256
_MAX_TEXT = 64 * 1024


class BadAnswer(Exception):
    """What a model returned has no JSON form."""


class _Hangup(BaseException):
    """The parent has closed the channel."""


class _Channel:
    """Lines to and from the parent."""

    def __init__(self, descriptor: int) -> None:
        import fcntl

        # Moved out of the way of models that close or use low descriptors, and kept from what they start.
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH_DESCRIPTOR)
        _close(descriptor)
        self._descriptor = high
        self._pending = b""
        self._lines: list[bytes] = []

    def receive(self) -> dict[str, object]:
        while not self._lines:
            block = _read(self._descriptor, 1 << 16)
            if not block:
                raise _Hangup
            *lines, self._pending = (self._pending + block).split(b"\n")
            lines.reverse()
            self._lines = lines
        said = _decode(self._lines.pop().decode("ascii"))
        if not isinstance(said, dict):
            raise _Hangup
        return said

    def send(self, text: str) -> None:
        data = memoryview(text.encode("ascii", "backslashreplace") + b"\n")
        while data:
            data = data[_write(self._descriptor, data) :]


def _text_of(error: BaseException) -> str:
    """Return an error's traceback as the model's author knows it: without our frames and the import machinery's."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    text = _formatted(error, trace)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT // 2]}\n…\n{text[-_MAX_TEXT // 2 :]}"


def _formatted(error: BaseException, trace: "TracebackType | None") -> str:
    try:
        import traceback

        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException as exc:  # noqa: BLE001  # an exception's own __str__ is a stranger's code too
        return f"{type(error).__name__} (its text cannot be had: {type(exc).__name__})"


def _load_what_failures_need() -> None:
    """Import what describes an error: at a time when nobody waits for it, and before memory is short."""
    try:
        import traceback  # noqa: F401  # `_formatted` finds it loaded
    except BaseException:  # noqa: BLE001  # a model has broken the import; then its errors have names only
        return


def _is_ours(trace: "TracebackType") -> bool:
    name = trace.tb_frame.f_code.co_filename
    return name.startswith((_OURS, "<frozen importlib")) or name == importlib.__file__


def _kind_of(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    return "bad-answer" if isinstance(error, BadAnswer) else "model-error"


def plain_json(value: object, *, depth: int = 0) -> object:
    """Return `value` as what JSON can hold: iterators and arrays become lists, numbers of numpy numbers, NaN null.

    Raises:
        BadAnswer: a set, bytes, an object, a number that JSON has no word for, or nesting without end.
    """
    if depth > 100:
        raise BadAnswer("the answer is nested more than 100 deep")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): plain_json(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or (hasattr(value, "__next__") and hasattr(value, "__iter__")):
        items = []
        for item in value:
            items.append(plain_json(item, depth=depth + 1))
            if len(items) > 1_000_000:
                raise BadAnswer("an answer with more than 1,000,000 parts")
        return items
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return plain_json(value.tolist(), depth=depth + 1)
    raise BadAnswer(
        f"a {type(value).__name__} is no answer: it has no JSON form; return [id, [number]] or [id, 'text']"
    )


def json_of(prediction: object) -> str:
    """Return a prediction's JSON form.

    Raises:
        BadAnswer: it has none, or it is larger than any answer can be.
    """
    try:
        text = _encode(prediction)
    except (TypeError, ValueError, RecursionError):
        text = _encode(plain_json(prediction))
    if type(prediction) is not list or len(prediction) != 2 or type(prediction[0]) not in (int, str):
        fault = wire.prediction_fault(_decode(text))
        if fault is not None:
            raise BadAnswer(fault)
    if len(text) > wire.MAX_LINE_BYTES - 1024:
        raise BadAnswer(f"an answer of {len(text):,} bytes; at most {wire.MAX_LINE_BYTES:,} are taken")
    return text


class _EntryFinder:
    """Finds one module by its file, before anyone else looks for that name."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if name != self._name:
            return None
        loader = importlib.machinery.SourceFileLoader(name, self._path)
        package = loader.is_package(name)
        spec = importlib.machinery.ModuleSpec(name, loader, origin=self._path, is_package=package)
        spec.has_location = True
        if package and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(self._path.rpartition("/")[0])
        return spec


def load_entry(model_dir: str, name: str) -> "ModuleType":
    """Import the entry module from the model's folder, whatever it is called.

    A module named like one of the standard library is loaded under a name of its own: the library's stays what it is
    for everything else that is imported.
    """
    top, _, rest = name.partition(".")
    package = f"{model_dir}/{top}/__init__.py"
    path = package if os.path.isfile(package) else f"{model_dir}/{top}.py"  # noqa: PTH113  # no pathlib in the child
    if not os.path.isfile(path):  # noqa: PTH113  # no pathlib in the child
        return importlib.import_module(name)
    known = top if top not in sys.stdlib_module_names else f"iqeval_entry_{top}"
    sys.modules.pop(known, None)
    sys.meta_path.insert(0, _EntryFinder(known, path))
    return importlib.import_module(f"{known}.{rest}" if rest else known)


def _enter(groups: object) -> None:
    """Enter the control groups to which the parent has opened descriptors; the model finds them closed."""
    for group in groups if isinstance(groups, list) else ():
        try:
            _write(group, b"0")
        except OSError:  # then only the limits that the parent samples stand
            pass
        _close(group)


def _shut_doors(policy: "Mapping[str, Any]") -> str:
    """Give up powers, files and system calls for good; returns what to say of it."""
    from iqeval import kernel

    if policy["drop_capabilities"]:
        kernel.drop_capabilities()
    abi = kernel.install_landlock(**policy["landlock"])
    kernel.install_seccomp(bytes.fromhex(policy["seccomp"]))
    return f"Landlock ABI {abi}"


class _Child:
    """One model's life: start, then suites one after the other."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._objects: dict[str, object] = {}
        self._form = wire.MODEL
        self._work = "."

    def _say(self, **fields: object) -> None:
        self._channel.send(_encode(fields))

    def _fail(self, where: str, error: BaseException, index: int | None = None) -> None:
        text = str(error) if isinstance(error, BadAnswer) else _text_of(error)
        self._say(**{"is": "failed"}, where=where, kind=_kind_of(error), text=text, i=index)

    def run(self) -> None:
        start = self._channel.receive()
        stack_output = os.dup(2)
        faulthandler.enable(stack_output)
        if isinstance(number := start.get("stack_signal"), int):
            faulthandler.register(number, stack_output, all_threads=True)
        _enter(start.get("enter"))
        if not self._lock_up(start):
            return
        if self._channel.receive().get("do") != "go" or not self._start(start):
            return
        _load_what_failures_need()
        while True:
            said = self._channel.receive()
            if said["do"] == "open":
                self._suite(str(said["category"]), stop_on_error=bool(said["stop_on_error"]))
            elif said["do"] == "stop":
                return

    def _lock_up(self, start: dict[str, object]) -> bool:
        policy = start["confine"]
        if not isinstance(policy, dict):
            return False
        note = ""
        try:
            if closed := policy.get("closed"):
                note = _shut_doors(closed)
            confine.limit_resources(policy["limits"])
            refused, allowed = confine.try_doors(policy["doors"])
        except OSError as exc:
            self._say(
                **{"is": "confined"}, refused=[], allowed=["everything"], note=f"{type(exc).__name__}: {exc}"
            )
            return False
        self._say(**{"is": "confined"}, refused=refused, allowed=allowed, note=note)
        return True

    def _start(self, start: dict[str, object]) -> bool:
        model_dir, categories = str(start["model_dir"]), start["categories"]
        self._work = str(start["work"])
        _chdir(self._work)
        extra = start["sys_path"]
        top = str(start["entry"]).partition(".")[0]
        if any(name.partition(".")[0] in sys.stdlib_module_names for name in os.listdir(model_dir)):  # noqa: PTH208  # no pathlib in the child
            _load_what_failures_need()  # from the library, not from a file of the model that has such a name
        if top in sys.stdlib_module_names and top not in (
            "this",
            "antigravity",
        ):  # these two do things when imported
            try:
                importlib.import_module(top)
            except ImportError:
                pass
        sys.path[:0] = [model_dir, f"{_OURS}alias"]
        sys.path.extend(
            str(entry) for entry in (extra if isinstance(extra, list) else []) if entry not in sys.path
        )
        seed = start.get("seed")
        where = "import"
        made: dict[str, str | None] = {}
        failed: dict[str, str] = {}
        try:
            _seed(seed)
            module = load_entry(model_dir, str(start["entry"]))
            _seed(seed)
            if hasattr(module, "get_model_object"):
                make, self._form = module.get_model_object, wire.MODEL
            elif hasattr(module, "get_eval_cls"):
                make, self._form = module.get_eval_cls, wire.EVAL
            else:
                self._say(
                    **{"is": "failed"}, where="import", kind="entry", i=None,
                    text=f"{module.__file__} defines neither get_model_object(category) nor get_eval_cls(category)",
                )  # fmt: skip
                return False
            for category in categories if isinstance(categories, list) else []:
                where = make.__name__ if hasattr(make, "__name__") else "get_model_object"
                try:
                    self._objects[category] = thing = make(category)
                    made[category] = None if thing is None else type(thing).__name__
                except BaseException as exc:  # noqa: BLE001  # a stranger's code may raise anything
                    failed[category] = _text_of(exc)
            where = "global_pre_run"
            if hasattr(module, "global_pre_run") and module.global_pre_run:
                module.global_pre_run()
        except BaseException as exc:  # noqa: BLE001  # a stranger's code may raise anything
            _flush()
            self._fail(where, exc)
            return False
        _flush()
        self._say(**{"is": "ready"}, form=self._form, models=made, failed=failed)
        return True

    def _suite(self, category: str, *, stop_on_error: bool) -> None:
        try:
            _chdir(self._work)
        except OSError:
            pass
        thing = self._objects.get(category)
        if self._form is wire.EVAL:
            self._suite_at_once(thing)
            return
        broken = opened = False
        count = 0
        send = self._channel.send
        while True:
            said = self._channel.receive()
            if said["do"] == "close":
                break
            if broken:
                continue
            index = said["i"]
            where = "pre_run"
            try:
                if not opened:
                    thing.pre_run()  # type: ignore[attr-defined]  # a model is what has the methods
                    opened = True
                    _flush()
                    self._say(**{"is": "opened"})
                where = "solve"
                since = _clock()
                prediction = thing.solve(said["q"])  # type: ignore[attr-defined]  # a model is what has the methods
                elapsed = (_clock() - since) * 1000
                text = json_of(prediction)
            except BaseException as exc:  # noqa: BLE001  # a stranger's code may raise anything
                _flush()
                self._fail(where, exc, index if where == "solve" else None)  # type: ignore[arg-type]  # our parent sends numbers
                broken = stop_on_error or where == "pre_run"
                continue
            send(f'{{"is":"answer","i":{index},"ms":{elapsed:.4f},"p":{text}}}')
            count += 1
        _flush()
        self._say(**{"is": "closed"}, count=count)

    def _suite_at_once(self, thing: object) -> None:
        self._say(**{"is": "opened"})
        questions = []
        while (said := self._channel.receive())["do"] == "ask":
            questions.append(said["q"])
        count = 0
        try:
            since = _clock()
            predictions = thing.eval_questions(questions)  # type: ignore[attr-defined]  # a model is what has the methods
            elapsed = (_clock() - since) * 1000 / max(len(questions), 1)
            try:
                each = iter(predictions)
            except TypeError:
                kind = type(predictions).__name__
                raise BadAnswer(f"eval_questions returned a {kind}, not a list of [id, answer]") from None
            for prediction in each:
                try:
                    text = json_of(prediction)
                except BadAnswer as exc:
                    raise BadAnswer(f"prediction {count} of eval_questions: {exc}") from None
                self._channel.send(f'{{"is":"answer","i":{count},"ms":{elapsed:.4f},"p":{text}}}')
                count += 1
        except BaseException as exc:  # noqa: BLE001  # a stranger's code may raise anything
            _flush()
            self._fail("eval_questions", exc)
        _flush()
        self._say(**{"is": "closed"}, count=count)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: BLE001, S112  # a model may have closed or replaced its output: its own affair
            continue


def _seed(seed: object) -> None:
    if isinstance(seed, int):
        import random

        random.seed(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(seed % 2**32)


def main(descriptor: int, evaluator: int = 0) -> "NoReturn":
    """Serve the parent on an inherited socket until it closes, then leave without running the model's exit hooks.

    Nothing that a model registered to run at exit may run: its results are already with the parent.

    Args:
        descriptor: the socket.
        evaluator: the parent's process, where a supervisor has to stay behind; 0 in a process namespace.
    """
    if evaluator:
        from iqeval import supervise

        supervise.split(evaluator)
    channel = _Channel(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # the interpreter's own
    sys.argv[:] = ["iqeval"]
    status = 0
    try:
        _Child(channel).run()
    except (_Hangup, BrokenPipeError, ConnectionError):
        status = 3
    except BaseException as exc:  # noqa: BLE001  # our own failure: the parent reads it from the output
        _write(2, _formatted(exc, exc.__traceback__).encode("utf-8", "backslashreplace"))
        status = 70
    _flush()
    _exit(status)
