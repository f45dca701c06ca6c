"""FTP replies → errors, once: which are worth another try, which say no, which end the connection.

Refuses to decide whether a path exists: 550 says "missing or forbidden", and only a listing can tell which.
"""

import ftplib
import re
import ssl
from typing import NamedTuple

from iqdata.errors import ConnectFailed, CutOff, LoginRefused, Refused, TooManyConnections, TransportError


class Reply(NamedTuple):
    """One reply: its code and its text, code included."""

    code: int
    text: str

    @property
    def positive(self) -> bool:
        """Whether the command was carried out (2yz)."""
        return 200 <= self.code < 300


class UnexpectedReply(ftplib.Error):
    """What came is no answer to what was asked, or no reply at all: the two sides no longer agree on where they are."""


class Closing(ftplib.Error):
    """The server says that it closes the connection (421), in answer to whatever was asked."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Denied(Exception):
    """The server refused a transfer; the connection is still good. Never seen outside this package."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class OwnTrouble(Exception):
    """Our own end of a transfer failed (a disk); the connection is still good. Never seen outside this package."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


SYNTAX_CODES = frozenset((500, 501, 502, 503, 504, 522))
"""The command itself is not understood or not offered (522: not this protocol family). Source: RFC 959, RFC 2428."""

_TOO_MANY = re.compile(
    r"too many|maximum|max(imum)? (number|clients|connections)|limit|overload|try again|connections", re.I
)
_QUOTA = re.compile(r"quota|disk full|no space|not enough space|insufficient (disk )?(space|storage)", re.I)


def is_about_connections(reply: Reply) -> bool:
    """Tell whether a refused connection or login means "too many of you", which another time may not be so.

    Source: RFC 959 gives 421 to a closing service; servers answer 530 with a text when a login would be one too many.
    """
    return reply.code == 421 or (reply.code == 530 and _TOO_MANY.search(reply.text) is not None)


def failure(reply: Reply, *, op: str, path: str = "") -> TransportError:
    """Return the error that a reply other than the wanted one stands for."""
    said = f"the server said {reply.text!r}"
    on = f" {path}" if path else ""
    if reply.code in (452, 552) or (reply.code // 100 in (4, 5) and _QUOTA.search(reply.text)):
        message = f"{op}{on}: {said}: the space is full; delete something there or ask for more room"
        return Refused(message, op=op, path=path, reply=reply.text, retryable=False)
    if reply.code in (530, 532, 430):
        return LoginRefused(f"{op}{on}: {said}; log in again", op=op, path=path, reply=reply.text)
    return Refused(f"{op}{on}: {said}", op=op, path=path, reply=reply.text, retryable=reply.code // 100 == 4)


def login_failure(reply: Reply, *, where: str) -> TransportError:
    """Return the error for a refused login."""
    if is_about_connections(reply):
        return TooManyConnections(
            f"connect to {where}: the server takes no more connections now ({reply.text!r}); use fewer jobs or try later",
            op="connect",
            reply=reply.text,
            retryable=True,
        )
    if reply.code // 100 == 4 and reply.code != 430:
        return ConnectFailed(
            f"connect to {where}: the server said {reply.text!r}",
            op="connect",
            reply=reply.text,
            retryable=True,
        )
    return LoginRefused(
        f"log in to {where}: the server said {reply.text!r}; check user and password (iqdata login)",
        op="login",
        reply=reply.text,
    )


def cut_off(exc: BaseException, *, op: str, path: str = "") -> CutOff:
    """Return what a broken or silent connection stands for."""
    on = f" {path}" if path else ""
    if isinstance(exc, Closing):
        what = f"the server said {exc.reply.text!r} and closed the connection"
    elif isinstance(exc, UnexpectedReply):
        what = f"the server's replies do not fit what was asked ({exc})"
    elif isinstance(exc, ftplib.Error):
        what = f"the server does not speak FTP as it should ({exc})"
    elif isinstance(exc, TimeoutError | BlockingIOError):
        what = "the server fell silent"
    elif isinstance(exc, EOFError):
        what = "the server closed the connection"
    else:
        what = f"the connection broke ({exc})"
    return CutOff(f"{op}{on}: {what}", op=op, path=path, reply=str(exc), retryable=True)


BREAKS = (OSError, EOFError, ftplib.Error, ssl.SSLError)
"""What ftplib and sockets raise when a connection is of no more use."""


class translated:  # noqa: N801  # used like a function; a generator would cost as much as a short request's own work
    """A block in which what breaks a connection becomes `CutOff`."""

    __slots__ = ("_op", "_path")

    def __init__(self, op: str, path: str = "") -> None:
        self._op = op
        self._path = path

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        """Translate."""
        if isinstance(exc, BREAKS):
            raise cut_off(exc, op=self._op, path=self._path) from exc
