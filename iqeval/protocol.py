"""What the parent says to a child, and what it takes from one: messages as values.

Refuses to trust a line from the child: it comes from the process in which a stranger's model runs.
"""

import dataclasses
import enum

from iqeval import wire

_MOST_TEXT = 1 << 16


class Do(enum.Enum):
    """What the parent asks for."""

    START = "start"
    GO = "go"
    OPEN = "open"
    ASK = "ask"
    CLOSE = "close"
    STOP = "stop"


class Form(enum.Enum):
    """Which of the two published functions the entry module has."""

    MODEL = wire.MODEL
    EVAL = wire.EVAL


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """The child has locked itself up and tried the door: what it could not do, by name."""

    refused: tuple[str, ...]
    allowed: tuple[str, ...]
    note: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The module is loaded, the models are made, `global_pre_run` is done.

    Attributes:
        models: category → the model's class name, or None where there is no model.
        failed: category → the traceback of its `get_*` function.
    """

    form: Form
    models: dict[str, str | None]
    failed: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question's answer, in its JSON form."""

    index: int
    elapsed_ms: float
    prediction: object


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Something in the model raised, or what it returned cannot be an answer."""

    where: str
    kind: str
    text: str
    index: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The model is prepared for the suite."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The suite is through; `count` answers were sent for it."""

    count: int


FromChild = Confined | Ready | Answered | Failed | Opened | Closed


class Garbled(Exception):
    """A line that no honest child writes."""


def line(do: Do, **fields: object) -> bytes:
    """Return one line to the child."""
    return wire.encode({"do": do.value, **fields}).encode("ascii") + b"\n"


def ask_line(index: int, question_json: str) -> bytes:
    """Return the line that asks one question; its text is already JSON in ASCII."""
    return f'{{"do":"ask","i":{index},"q":{question_json}}}\n'.encode("ascii")


def question_json(question: object) -> str:
    """Return a question as JSON on one line, in ASCII."""
    return wire.encode(question)


def parse(raw: bytes) -> FromChild:
    """Read one line from the child.

    Raises:
        Garbled: it is no message of this protocol.
    """
    try:
        said = wire.decode(raw.decode("utf-8"))
        kind = said["is"]
        if kind == "answer":
            index, elapsed = said["i"], said["ms"]
            if type(index) is not int or type(elapsed) not in (int, float) or not 0 <= elapsed < 1e12:
                raise Garbled("an answer without a number")
            return Answered(index=index, elapsed_ms=elapsed, prediction=said["p"])
        if kind == "failed":
            index = said["i"]
            if index is not None and type(index) is not int:
                raise Garbled("a failure without a number")
            return Failed(
                where=str(said["where"])[:100],
                kind=str(said["kind"]),
                text=str(said["text"])[-_MOST_TEXT:],
                index=index,
            )
        if kind == "opened":
            return Opened()
        if kind == "closed":
            return Closed(count=int(said["count"]))
        if kind == "ready":
            return Ready(
                form=Form(said["form"]),
                models={
                    str(name): None if made is None else str(made)[:200]
                    for name, made in said["models"].items()
                },
                failed={str(name): str(text)[-_MOST_TEXT:] for name, text in said["failed"].items()},
            )
        if kind == "confined":
            return Confined(
                refused=tuple(map(str, said["refused"])),
                allowed=tuple(map(str, said["allowed"])),
                note=str(said["note"]),
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise Garbled(f"{type(exc).__name__}: {exc}") from exc
    raise Garbled(f"unknown message {kind!r}")
