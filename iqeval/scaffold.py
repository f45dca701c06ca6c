"""A working example in a new folder: a model, its run script, a small suite, and for the third kind data to read.

Refuses to write into a folder that holds anything.
"""

import enum
import shutil
from pathlib import Path

from iqeval.errors import UsageError
from iqeval.sandbox.base import PACKAGE

TEMPLATES = PACKAGE / "templates"
SUITE = PACKAGE / "suite"
_DOT = "dot-"


class Template(enum.Enum):
    """What kind of model the example is."""

    MODEL = "model"
    EVAL = "eval"
    TRAINDATA = "traindata"


def scaffold(folder: Path, template: Template) -> list[Path]:
    """Make a folder with an example and return its files.

    Raises:
        UsageError: the folder holds something already, or cannot be made.
    """
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: not empty; nothing was written")
        for source in (TEMPLATES / "common", TEMPLATES / template.value):
            _copy(source, folder)
        shutil.copytree(SUITE, folder / "data", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    except OSError as exc:
        raise UsageError(f"{folder}: cannot be written: {exc.strerror or exc}") from exc
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy(source: Path, folder: Path) -> None:
    """Copy a template; code and data carry an ending more, so that no tool takes them for parts of this package."""
    for path in sorted(source.rglob("*")):
        target = folder / path.relative_to(source)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            place = target.with_suffix("") if target.suffix in (".txt", ".data") else target
            if place.name.startswith(_DOT):  # build tools leave out files that begin with a dot
                place = place.with_name(f".{place.name.removeprefix(_DOT)}")
            place.write_bytes(path.read_bytes())
