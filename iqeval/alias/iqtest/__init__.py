"""The names that published models and run scripts import, given by iqeval.

On the path only in the processes that iqeval starts, never installed as a package of its own.
"""

__all__ = ["eval_result", "iqtest_base", "pack_models", "run_model"]
