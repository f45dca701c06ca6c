"""What happens in a space, as values: the audit log and the lines in the terminal are made of them.

Refuses to write anything; a password is never part of one.
"""

import enum
from collections.abc import Callable

import msgspec


class What(enum.Enum):
    """The words of `"event"` in the audit log and in `serve --json`."""

    STARTED = "started"
    STOPPED = "stopped"
    LOGIN = "login"
    LOGOUT = "logout"
    LOGIN_FAILED = "login-failed"
    BANNED = "banned"
    TURNED_AWAY = "turned-away"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    RENAME = "rename"
    DELETE = "delete"
    MAKE_FOLDER = "mkdir"
    REMOVE_FOLDER = "rmdir"
    REFUSED = "refused"
    EXTRACTED = "extracted"
    RECOVERED = "recovered"
    ERROR = "error"


class Happening(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit log.

    Attributes:
        outcome: "ok", or in a word what went wrong ("aborted", "over-quota", an extraction's status).
        target: of a rename.
        detail: a sentence for people.
    """

    time: str
    event: What
    outcome: str
    team: str | None = None
    address: str | None = None
    path: str | None = None
    target: str | None = None
    size_bytes: int | None = None
    files: int | None = None
    elapsed_s: float | None = None
    detail: str | None = None


Listener = Callable[[Happening], None]
