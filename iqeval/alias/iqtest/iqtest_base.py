"""Base classes under their published names."""

from iqeval.api import IQTestEvalBase, IQTestEvalDefault, IQTestModelBase

__all__ = ["IQTestEvalBase", "IQTestEvalDefault", "IQTestModelBase"]
