"""What a data path means: `resolve("user.bin")` is `train_data/user.bin` of the work root.

The same in a sandboxed model, in the caller's own process and in `iqeval resolve`. Refuses names that leave their
folder, and never extracts: it says what is missing and why. Imports little: models load it.

Source: service README, "train_data would be prepended automatically"; only the two areas are visible to a model.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, overload

TRAIN, GROUP = "train_data", "group_data"
AREAS = (TRAIN, GROUP)


class PathRefused(ValueError):
    """A name that leads, or could lead, out of the two data folders."""


class DataMissing(FileNotFoundError):
    """Nothing is there; the message says the most helpful true thing about why."""

    def __init__(self, name: str, path: Path, hints: "Sequence[str]") -> None:
        super().__init__(errno.ENOENT, "no such data", str(path))
        self.name = name
        self.path = path
        self.hints = tuple(hints)

    def __str__(self) -> str:
        text = f"{self.name!r} means {self.path}, which does not exist"
        return "; ".join([text, *self.hints])

    def __reduce__(self) -> tuple[type["DataMissing"], tuple[str, Path, tuple[str, ...]]]:
        return (DataMissing, (self.name, self.path, self.hints))


def space_root(space: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that holds the two areas: the given one, else the run's, else the current folder.

    Raises:
        DataMissing: none is given, no run has set one, and neither area is in the current folder.
    """
    given = space if space is not None else os.environ.get("IQEVAL_SPACE")
    if given is not None:
        return Path(os.path.abspath(given))  # noqa: PTH100  # no link is followed here: the names stay the caller's
    here = Path.cwd()
    if any((here / area).is_dir() for area in AREAS):
        return here
    raise DataMissing(
        ".",
        here / TRAIN,
        ["neither train_data nor group_data is here; say where with -w (or IQEVAL_SPACE), or change folder"],
    )


def resolve(name: str | os.PathLike[str], *, space: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute path of a data file or folder that exists.

    Args:
        name: below `train_data` unless its first part is `train_data` or `group_data`; an absolute path that lies in one of
            them is taken as it is.
        space: the work root, instead of the one that `space_root` finds.

    Raises:
        PathRefused: `..`, an absolute path elsewhere, `~`, a drive, a backslash, NUL, or a link that leaves its folder.
        DataMissing: nothing is there.
    """
    root = space_root(space)
    text = os.fspath(name)
    if not isinstance(text, str):
        raise PathRefused(f"{text!r}: give the path as text")
    area, inner = _split(text, root)
    path = root / area / inner if inner else root / area
    try:
        real = os.path.realpath(path, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        _refuse_if_leaving(path, root / area, text)
        raise DataMissing(text, path, _why(root, area, inner)) from None
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise DataMissing(text, path, [os.strerror(exc.errno).lower()]) from None
        raise DataMissing(
            text, path, [f"it cannot be looked at: {os.strerror(exc.errno or 0).lower()}"]
        ) from None
    except UnicodeEncodeError:
        raise PathRefused(f"{text!r}: not a name that a file can have") from None
    _refuse_outside(real, root / area, text)
    return path


def exists(name: str | os.PathLike[str], *, space: str | os.PathLike[str] | None = None) -> bool:
    """Tell whether `resolve` would find something.

    Raises:
        PathRefused: as in `resolve`.
    """
    try:
        resolve(name, space=space)
    except DataMissing:
        return False
    return True


@overload
def open(
    name: str | os.PathLike[str],
    mode: Literal["r", "rt"] = "r",
    *,
    encoding: str | None = None,
    space: "str | os.PathLike[str] | None" = None,
) -> IO[str]: ...
@overload
def open(
    name: str | os.PathLike[str],
    mode: Literal["rb"],
    *,
    encoding: None = None,
    space: "str | os.PathLike[str] | None" = None,
) -> IO[bytes]: ...
def open(  # `iqeval.data.open` is what it is called
    name: str | os.PathLike[str],
    mode: str = "r",
    *,
    encoding: str | None = None,
    space: str | os.PathLike[str] | None = None,
) -> IO[str] | IO[bytes]:
    """Open a data file for reading.

    Raises:
        PathRefused, DataMissing: as in `resolve`.
        ValueError: a mode that writes: data are for reading.
    """
    if mode not in ("r", "rt", "rb"):
        raise ValueError(f"mode {mode!r}: data are read-only; write to the working folder instead")
    path = resolve(name, space=space)
    if "b" in mode:
        return path.open("rb")
    return path.open(encoding=encoding or "utf-8")


def list(
    name: str | os.PathLike[str] = "", *, space: str | os.PathLike[str] | None = None
) -> "tuple[str, ...]":  # as above
    """Return the names in a data folder, sorted; of a file, its own.

    Raises:
        PathRefused, DataMissing: as in `resolve`.
    """
    path = resolve(name, space=space)
    return tuple(sorted(entry.name for entry in path.iterdir())) if path.is_dir() else (path.name,)


# --- which folder, and may it be left -----------------------------------------------------------------------------


def _split(text: str, root: Path) -> tuple[str, str]:
    if "\0" in text:
        raise PathRefused(f"{text!r}: a name with NUL")
    if "\\" in text:
        raise PathRefused(f"{text!r}: a backslash separates nothing here; use /")
    if text == "~" or text.startswith("~/") or (text[:1] == "~" and "/" in text):
        raise PathRefused(f"{text!r}: the home folder is no data; name a file below train_data or group_data")
    if len(text) > 1 and text[1] == ":" and text[0].isalpha():
        raise PathRefused(f"{text!r}: a drive letter means nothing here")
    if text.startswith("/"):
        return _split_absolute(text, root)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise PathRefused(f"{text!r}: '..' is not followed, even where it would come back")
    if parts and parts[0] in AREAS:
        return parts[0], "/".join(parts[1:])
    return TRAIN, "/".join(parts)


def _split_absolute(text: str, root: Path) -> tuple[str, str]:
    if ".." in text.split("/"):
        raise PathRefused(f"{text!r}: '..' is not followed, even where it would come back")
    plain = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    for area in AREAS:
        top = str(root / area)
        if plain == top or plain.startswith(f"{top}/"):
            return area, plain[len(top) + 1 :]
    raise PathRefused(f"{text!r}: an absolute path outside {root / TRAIN} and {root / GROUP}")


def _refuse_outside(real: str, folder: Path, text: str) -> None:
    # The area itself may be a link: a group's folder lies in its owner's space.
    top = os.path.realpath(folder)
    if real != top and not real.startswith(f"{top}{os.sep}"):
        raise PathRefused(f"{text!r}: a link leads out of {folder}")


def _why(root: Path, area: str, inner: str) -> "Sequence[str]":
    from iqeval.missing import hints

    return hints(root, area, inner)


def _refuse_if_leaving(path: Path, folder: Path, text: str) -> None:
    """A name that is not there may still be a link to somewhere else: say so, and not what is there."""
    if any(step.is_symlink() for step in (path, *path.parents) if folder in step.parents):
        _refuse_outside(os.path.realpath(path), folder, text)
