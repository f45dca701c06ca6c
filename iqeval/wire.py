"""The lines between parent and child as bytes: both sides encode and decode here, and the child needs nothing more.

JSON Lines over a private socket. Refuses to send code or pickles. Imports little: the child starts with it.
"""

import json

MAX_LINE_BYTES = 32 * 1024 * 1024
"""A longer line from a child is a broken one: the answer would be larger than any question can ask for."""

MODEL, EVAL = "model", "eval"
"""Which of the two published functions the entry module has."""

# The functions are taken once: a model that replaces attributes of `json` later changes nothing here.
encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
decode = json.JSONDecoder().decode


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
