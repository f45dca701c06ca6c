"""`ftp://user@host/path` → a value; and back, without the password.

Refuses to connect or to look anything up.
"""

import dataclasses
import enum
from typing import Self
from urllib.parse import unquote, urlsplit

from iqdata.errors import ConfigError


class Scheme(enum.Enum):
    """How a space is reached."""

    FTP = "ftp"
    FTPES = "ftpes"  # explicit TLS (AUTH TLS on the plain port)
    FTPS = "ftps"  # implicit TLS (TLS from the first byte)
    SFTP = "sftp"
    FILE = "file"  # a mounted folder
    MEMORY = "memory"  # in this process, for tests and trials

    @property
    def default_port(self) -> int:
        """The registered port. Source: IANA service names; RFC 4217 for 990."""
        return {"ftp": 21, "ftpes": 21, "ftps": 990, "sftp": 22}.get(self.value, 0)

    @property
    def encrypts(self) -> bool:
        """Whether the password and the data are protected on the wire (or never leave the machine)."""
        return self is not Scheme.FTP


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a space is. The password is no part of it: it is looked up when a connection is made.

    Attributes:
        root: absolute folder in the server's own tree that holds the areas; always starts with `/`.
    """

    scheme: Scheme
    host: str = ""
    port: int = 0
    user: str = ""
    root: str = "/"
    password: str | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL.

        Raises:
            ConfigError: unknown scheme, no host, a port that is none; the message shows a right one.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as exc:
            raise ConfigError(f"space URL {_masked(text)!r}: {exc}") from exc
        try:
            scheme = Scheme(parts.scheme.lower())
        except ValueError:
            raise ConfigError(
                f"space URL {_masked(text)!r} does not start with one of ftp:// ftpes:// ftps:// sftp:// file://;"
                " for example ftp://team@space.example.org/"
            ) from None
        root = "/" + unquote(parts.path).strip("/")
        if any(ord(char) < 32 for char in unquote(text)):
            raise ConfigError("space URL: control characters are not allowed in it")
        if scheme in (Scheme.FILE, Scheme.MEMORY):
            return cls(scheme=scheme, host=parts.netloc if scheme is Scheme.MEMORY else "", root=root)
        if not parts.hostname:
            raise ConfigError(
                f"space URL {_masked(text)!r} names no host; for example {scheme.value}://team@space.example.org/"
            )
        return cls(
            scheme=scheme,
            host=parts.hostname,
            port=port or scheme.default_port,
            user=unquote(parts.username or ""),
            root=root,
            password=unquote(parts.password) if parts.password is not None else None,
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by its name or address."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        """The URL without its password: fit for messages, logs and the state file."""
        if self.scheme is Scheme.FILE:
            return f"file://{self.root}"
        who = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port and self.port != self.scheme.default_port else ""
        return f"{self.scheme.value}://{who}{host}{port}{self.root}"


def _masked(text: str) -> str:
    """Return a URL with whatever may be a password replaced."""
    head, at, tail = text.rpartition("@")
    scheme, slashes, who = head.partition("://")
    user = who.partition(":")[0]
    return f"{scheme}{slashes}{user}{':***' if ':' in who else ''}{at}{tail}" if at else text
