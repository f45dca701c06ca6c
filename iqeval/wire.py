"""The lines between parent and child as bytes: both sides encode and decode here, and the child needs nothing more.

JSON Lines over a private socket. Refuses to send code or pickles. Imports little: the child starts with it.
"""

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A longer line from a child is a broken one: the answer would be larger than any question can ask for."""

MODEL, EVAL = "model", "eval"
"""Which of the two published functions the entry module has."""


def _refuse(value: object) -> object:
    raise TypeError(f"a {type(value).__name__} has no JSON form")


class _ByTheBook:
    """What the scanner asks of its decoder: the defaults of `json.JSONDecoder`."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


def _coders() -> "tuple[Callable[[object], str], Callable[[str, int], tuple[Any, int]]]":
    """Return what encodes strictly, and what scans one value.

    Taken once, and the parts that are written in C: what a model later does to `json` changes nothing here. `json` itself
    takes longer to import than all else that a child needs; an interpreter without its C parts gets it all the same.
    """
    try:
        import _json
    except ImportError:
        import json

        return json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode, json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # the stubs leave it out
    quote = _json.encode_basestring_ascii
    chunks = _json.make_encoder(None, _refuse, quote, None, ":", ",", False, False, False)  # noqa: FBT003  # in this order only
    return lambda value: "".join(chunks(value, 0)), _json.make_scanner(_ByTheBook)  # type: ignore[arg-type]  # the stubs name its class


encode, _scan = _coders()


def decode(text: str) -> "Any":
    """Return the value that a line holds.

    Raises:
        ValueError: it is not one JSON value, from the line's first character to its last.
    """
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("a line that is no JSON") from None
    if end != len(text):
        raise ValueError(f"{len(text) - end} characters after the end of a message")
    return value


def prediction_fault(prediction: object) -> str | None:
    """Return what is wrong with a prediction's shape, or None. Source: the published SDK reads `p[0]` and `p[1]`."""
    if not isinstance(prediction, list):
        name = {dict: "an object", str: "a string", type(None): "None", bool: "a truth value"}.get(
            type(prediction), "a number"
        )
        return f"expected [id, answer], found {name}"
    if not prediction or (len(prediction) < 2 and prediction[0] is not None):
        return f"expected [id, answer], found a list of {len(prediction)}"
    if isinstance(prediction[0], (list, dict)):
        return "expected [id, answer], found an array or object where the id should be"
    return None
