"""What can stop a run, as one tree; an item that fails is a value in the report instead.

    IqDataError                                      exit
    ├ ConfigError        settings, usage             2
    ├ UnsafePath         a name that leaves its folder
    ├ Busy               another run holds the workspace   4
    ├ TransportError     op path reply retryable     3
    │  ├ ConnectFailed   no server there
    │  │  └ TooManyConnections   it takes no more of ours now
    │  ├ LoginRefused    wrong name or password
    │  ├ Missing         the path does not exist
    │  ├ Refused         the server said no
    │  ├ WorldMoved      a path is not as the plan saw it
    │  └ CutOff          the connection broke
    ├ ArchiveError                                   1
    │  ├ Damaged         not readable to its end
    │  ├ Encrypted       needs a password
    │  ├ UnsafeMember    leads out of the folder
    │  ├ TooLarge        over a limit
    │  └ EngineMissing   needs a program or extra that is not here
    └ PlanRefused        stopped for safety          4

A message says what was tried, on what, what came back and what to do next. Passwords never enter one.
"""


class IqDataError(Exception):
    """Anything the product itself reports; only `cli` catches it and exits with `exit_code`."""

    exit_code = 1


class ConfigError(IqDataError):
    """The settings or the command line cannot be used as they are."""

    exit_code = 2


class UnsafePath(IqDataError):
    """A name from outside (a listing, an archive) that must not be followed."""


class Busy(IqDataError):
    """Another run works in this workspace; nothing was changed."""

    exit_code = 4


class PlanRefused(IqDataError):
    """The plan looks like an accident; nothing was changed. The message names the flag that overrides."""

    exit_code = 4


class TransportError(IqDataError):
    """The space did not do what was asked.

    Attributes:
        op: what was tried, in the user's words ("upload", "list").
        path: on what, as the space names it; may be empty.
        reply: what came back, without secrets.
        retryable: whether the same request may succeed later.
    """

    exit_code = 3

    def __init__(
        self, message: str, *, op: str = "", path: str = "", reply: str = "", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.op = op
        self.path = path
        self.reply = reply
        self.retryable = retryable


class ConnectFailed(TransportError):
    """No server answered there, or it is no server of that kind."""


class TooManyConnections(ConnectFailed):
    """The server is there and takes no more connections now; those that are open go on working."""


class LoginRefused(TransportError):
    """The server is there and does not take this name and password."""


class Missing(TransportError):
    """The path does not exist in the space (decided by a listing, not by a reply's text)."""


class Refused(TransportError):
    """The server understood and said no: permissions, quota, a command it does not have."""


class WorldMoved(TransportError):
    """What stands at a path, on either side, is not what the plan expected: somebody changed it since. Left alone."""


class CutOff(TransportError):
    """The connection broke or fell silent; the state of the last request is unknown."""


class ArchiveError(IqDataError):
    """An archive could not be used as a whole."""


class Damaged(ArchiveError):
    """The archive cannot be read to its end."""


class Encrypted(ArchiveError):
    """The archive or a member needs a password; none is ever asked for."""


class UnsafeMember(ArchiveError):
    """A member that would leave its folder or make what must not exist in a space."""


class TooLarge(ArchiveError):
    """A limit on bytes, ratio, members, depth, names or dictionary was passed while decoding."""


class EngineMissing(ArchiveError):
    """The archive is fine, this machine cannot read it; the message says what to install."""
