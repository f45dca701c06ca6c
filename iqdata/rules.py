"""File name → the tool that the service runs on it; and the one source of names to which no rule applies.

Refuses to look at content: the name alone decides, as on the server.
"""

import enum
import posixpath
from collections.abc import Iterable
from typing import TypeVar


class Tool(enum.Enum):
    """The program that the server runs, by the name that JSON output uses."""

    TAR = "tar"
    SEVENZIP = "7z"


SEVENZIP_SUFFIXES = (".7z", ".zip", ".gz", ".xz", ".gz2")

_INERT_PREFIX = "iqdata-"
_INERT_ALPHABET = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")
_INERT_TOKEN_LENGTH = 20


def tool_for(name: str) -> Tool | None:
    """Return the program the server runs on a file called `name`, or None.

    `name` may be a path with `/`; only its last part counts. The comparison is literal and case-sensitive.

    Source: service README, "Compress data": `.tar` anywhere in the name wins over the suffix; `.gz2` is spelt as it is there.
    """
    base = posixpath.basename(name)
    if ".tar" in base:
        return Tool.TAR
    if base.endswith(SEVENZIP_SUFFIXES):
        return Tool.SEVENZIP
    return None


Path = TypeVar("Path", bound=str)


def to_unpack(paths: Iterable[Path]) -> list[Path]:
    """Return those of many paths on whose name the server runs a program."""
    return [
        path
        for path in paths
        # Most paths fail this cheap look at the whole of them; the others are judged by their names.
        if (".tar" in path or path.endswith(SEVENZIP_SUFFIXES)) and tool_for(path) is not None
    ]


def rule_for(name: str) -> str | None:
    """Return the rule that applies to `name` in words ("name ends in .gz"), or None when none does."""
    base = posixpath.basename(name)
    if ".tar" in base:
        return "name contains .tar"
    # The longest matching suffix is named, though no suffix of the list ends in another today.
    matching = [suffix for suffix in SEVENZIP_SUFFIXES if base.endswith(suffix)]
    return f"name ends in {max(matching, key=len)}" if matching else None


def is_inert(name: str) -> bool:
    """Tell whether no rule applies to `name`, on a server that folds case and hides dot-files either.

    A whole path is judged part by part: a server may match its rule on the path.
    """
    return all(tool_for(part.casefold()) is None and "." not in part for part in name.split("/") if part)


def temporary_name(token: str, *, purpose: str = "part") -> str:
    """Return an inert, opaque base name made from a random `token`.

    Args:
        token: lower-case letters and digits, at least 20 of them; the caller draws it.
        purpose: one lower-case word that tells a reader of a listing what it is (`part`, `stage`, `trash`).

    Raises:
        ValueError: the token or purpose could make the name guessable, visible to a rule, or not recognisable.

    Never derived from the user's name: `x.tar.gz.part` contains `.tar` and would be extracted half-written.
    """
    for word, least in ((token, _INERT_TOKEN_LENGTH), (purpose, 1)):
        if len(word) < least or not _INERT_ALPHABET.issuperset(word):
            raise ValueError(f"not usable in an inert name: {word!r}")
    return f"{_INERT_PREFIX}{purpose}-{token}"


def is_temporary(name: str) -> bool:
    """Tell whether `name` (a base name) is one that `temporary_name` makes; listings and sweeps rely on it."""
    if not name.startswith(_INERT_PREFIX):
        return False
    purpose, _, token = name.removeprefix(_INERT_PREFIX).partition("-")
    return (
        bool(purpose)
        and len(token) >= _INERT_TOKEN_LENGTH
        and _INERT_ALPHABET.issuperset(purpose)
        and _INERT_ALPHABET.issuperset(token)
    )


_ESCAPED_DOT = "%2E"
_ESCAPED_PERCENT = "%25"


def inert_form(name: str) -> str:
    """Return a readable inert name for `name`: dots and percent signs are escaped, nothing else changes.

    For names that keep a user's content under a name that says where it came from (conflict copies, trash).
    `original_of` reverses it exactly.
    """
    return name.replace("%", _ESCAPED_PERCENT).replace(".", _ESCAPED_DOT)


def original_of(inert: str) -> str:
    """Return the name that `inert_form` was given."""
    return inert.replace(_ESCAPED_DOT, ".").replace(_ESCAPED_PERCENT, "%")


def conflict_name(name: str, *, label: str) -> str:
    """Return the base name of the copy that keeps the loser of a conflict beside the winner.

    Args:
        name: the base name both sides wanted.
        label: who lost and when, for people (`local 2026-03-01 12 00 00`); dots in it are escaped too.

    The result keeps the user's name readable and matches no rule, so a copy of `a.tar.gz` is never extracted.
    """
    return inert_form(f"{name} (conflict {label})")
