"""Relative paths inside a workspace or a space: the only place that decides whether one is safe.

Refuses to touch a file system: a path is judged by its text.
"""

import unicodedata
from typing import Self

from iqdata.errors import UnsafePath

AREAS = ("train_data", "group_data")
"""The two folders that a model can read. Source: service README."""

_MAX_NAME_BYTES = 255


class RelPath(str):
    """A relative path with `/` between its parts, none of them empty, `.` or `..`; the empty path is the root.

    A `str` subclass: a tree holds a million of them, and they are keys and sort keys everywhere.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text` and return it as a path.

        Raises:
            UnsafePath: absolute, empty parts, `.`, `..`, control characters, NUL, or a part over 255 bytes.
        """
        if not text:
            return cls("")
        for part in text.split("/"):
            check_name(part, whole=text)
        return cls(text)

    def joined(self, name: str) -> "RelPath":
        """Return the path of `name` (one checked base name) below this one."""
        return RelPath(f"{self}/{name}" if self else name)

    @property
    def parent(self) -> "RelPath":
        """The containing folder; the root is its own parent."""
        return RelPath(self.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part."""
        return self.rpartition("/")[2]

    @property
    def area(self) -> str:
        """The first part: `train_data`, `group_data` or a name no model sees."""
        return self.partition("/")[0]

    @property
    def parts(self) -> tuple[str, ...]:
        """All parts, from the top; none for the root."""
        return tuple(self.split("/")) if self else ()

    def ancestors(self) -> "list[RelPath]":
        """Return every folder above this path, from the top, without the root."""
        parts = self.split("/")
        return [RelPath("/".join(parts[:depth])) for depth in range(1, len(parts))]

    def is_below(self, folder: str) -> bool:
        """Tell whether this path is `folder` or lies in it."""
        return not folder or self == folder or self.startswith(f"{folder}/")


ROOT = RelPath("")


def check_name(name: str, *, whole: str = "") -> str:
    """Return `name`, one base name from a listing or an archive, if it is safe to use.

    Raises:
        UnsafePath: see `RelPath.parse`.
    """
    if name in ("", ".", ".."):
        raise UnsafePath(f"{whole or name!r}: an empty, '.' or '..' part is not followed")
    if "/" in name:
        raise UnsafePath(f"{name!r}: a name with a separator is not followed")
    if name.isascii() and name.isprintable():
        if len(name) > _MAX_NAME_BYTES:
            raise UnsafePath(f"{name[:40]!r}…: a name over {_MAX_NAME_BYTES} bytes cannot be stored")
        return name
    if any(unicodedata.category(char) == "Cc" for char in name):
        raise UnsafePath(f"{name!r}: control characters in a name are refused")
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME_BYTES:
        raise UnsafePath(f"{name[:40]!r}…: a name over {_MAX_NAME_BYTES} bytes cannot be stored")
    return name


def comparison_key(path: str) -> str:
    """Return the form under which two sides' names are the same name (NFC).

    Source: macOS servers list decomposed names for what was stored composed.
    """
    return path if path.isascii() else unicodedata.normalize("NFC", path)
