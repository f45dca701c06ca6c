"""Run a team's model on question suites in a sandboxed child, score it, report it.

* `suites`, `surveys` and `entry` read what is given; `evaluate` asks, through one child process after the other.
* `child` is the only place where a team's code is imported; it never sees an answer, and `sandbox` keeps it from the rest.
* `jobs` says what a child sees; `dispatch` sets children to work, side by side or on an executor.
* `journal` keeps each answer as it comes; `score` counts as published; `conclude` scores and writes, when the model is gone.
* `data` says what a data path means, for models and for people: `iqeval.resolve("user.bin")`.
* `run` is the recipe; `pack` and `check` look at a model folder before it is uploaded; `script` runs published run scripts.

This file imports nothing heavy: the child loads it too.
"""

TYPE_CHECKING = False  # what type checkers take for true; the real one costs milliseconds of every start
if TYPE_CHECKING:
    from iqeval import data as data
    from iqeval.api import IQTestEvalBase as IQTestEvalBase
    from iqeval.api import IQTestModelBase as IQTestModelBase
    from iqeval.data import DataMissing as DataMissing
    from iqeval.data import PathRefused as PathRefused
    from iqeval.data import resolve as resolve

__all__ = ["DataMissing", "IQTestEvalBase", "IQTestModelBase", "PathRefused", "data", "resolve"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "data":
        return import_module("iqeval.data")
    if name in ("resolve", "DataMissing", "PathRefused"):
        return getattr(import_module("iqeval.data"), name)
    if name in ("IQTestModelBase", "IQTestEvalBase"):
        return getattr(import_module("iqeval.api"), name)
    raise AttributeError(f"module 'iqeval' has no attribute {name!r}")
