"""The password of a space: where it is looked up, where `iqdata login` keeps it.

Refuses to show one: no message, log or repr here holds a password, and a file that others can read is not used.
"""

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import msgspec

from iqdata.errors import ConfigError
from iqdata.location import Location

VARIABLE = "IQDATA_PASSWORD"


class Passwords:
    """Looks a space's password up once, when a server first asks for it, and remembers it for further connections."""

    def __init__(
        self,
        location: Location,
        *,
        env: Mapping[str, str],
        home: Path | None = None,
        prompt: Callable[[str], str | None] | None = None,
    ) -> None:
        """Prepare the look-up.

        Args:
            location: whose password.
            env: environment variables.
            home: the user's home, to find `.netrc`; the real one by default.
            prompt: asks a person, or returns None when there is none; the terminal by default.
        """
        self._location = location
        self._env = env
        self._home = home or Path.home()
        self._prompt = prompt or ask_terminal
        self._lock = threading.Lock()
        self._found: str | None = None
        self._looked = False

    def get(self) -> str | None:
        """Return the password, or None when nothing and nobody knows it.

        In this order: `IQDATA_PASSWORD`, the URL's own, the system keyring, `~/.netrc`, the file of `iqdata login`, a
        prompt on a terminal.

        Raises:
            ConfigError: a file that should hold it cannot be read, or others can read it.
        """
        with self._lock:
            if not self._looked:
                self._found = self._look()
                self._looked = True
            return self._found

    def _look(self) -> str | None:
        location = self._location
        stored = (
            self._env.get(VARIABLE)
            or location.password
            or _from_keyring(location)
            or _from_netrc(location, self._home / ".netrc")
            or _read_file(password_file(self._env, self._home)).get(account(location))
        )
        return stored or self._prompt(f"Password of {account(location)}: ")


def account(location: Location) -> str:
    """Return the name under which a space's password is kept: the same for every folder and kind of encryption."""
    host = f"[{location.host}]" if ":" in location.host else location.host
    return f"{location.user or 'anonymous'}@{host}:{location.port}"


def password_file(env: Mapping[str, str], home: Path) -> Path:
    """Return where passwords are kept on a machine without a keyring."""
    base = env.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home / ".config") / "iqdata" / "passwords.json"


def ask_terminal(question: str) -> str | None:
    """Ask on the terminal without echo; None when there is none, or the answer is empty."""
    if not sys.stdin.isatty():
        return None
    import getpass

    return getpass.getpass(question) or None


def keep(location: Location, password: str, *, env: Mapping[str, str], home: Path | None = None) -> str:
    """Keep a password and return where, in words.

    Raises:
        ConfigError: neither the keyring nor the file can be written.
    """
    home = home or Path.home()
    keyring = _keyring()
    if keyring is not None:
        with contextlib.suppress(keyring.errors.KeyringError):
            keyring.set_password("iqdata", account(location), password)
            return "the system keyring"
    path = password_file(env, home)
    kept = _read_file(path)
    kept[account(location)] = password
    _write_file(path, kept)
    return f"{path} (only you can read it)"


def forget(location: Location, *, env: Mapping[str, str], home: Path | None = None) -> list[str]:
    """Remove a kept password and return the places it was in."""
    home = home or Path.home()
    places = []
    keyring = _keyring()
    if keyring is not None:
        with contextlib.suppress(keyring.errors.KeyringError):
            keyring.delete_password("iqdata", account(location))
            places.append("the system keyring")
    path = password_file(env, home)
    kept = _read_file(path)
    if kept.pop(account(location), None) is not None:
        _write_file(path, kept)
        places.append(str(path))
    return places


def _keyring() -> ModuleType | None:
    """Return the keyring module where it is installed and has a real store behind it."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return None
    module: ModuleType = keyring
    # The backends "fail" and "null" stand in where there is none.
    if keyring.get_keyring().__class__.__module__.endswith((".fail", ".null")):
        return None
    return module


def _from_keyring(location: Location) -> str | None:
    keyring = _keyring()
    if keyring is None:
        return None
    with contextlib.suppress(keyring.errors.KeyringError):
        found: str | None = keyring.get_password("iqdata", account(location))
        return found
    return None


def _from_netrc(location: Location, path: Path) -> str | None:
    """Return the password of the host's entry in `.netrc` for the same user."""
    if not path.is_file():
        return None
    import netrc

    _check_private(path)
    try:
        entry = netrc.netrc(path).authenticators(location.host)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as exc:
        # The parser's own message may quote what it stumbled over, which may be the password.
        line = getattr(exc, "lineno", None)
        raise ConfigError(
            f"{path} cannot be read{f' (line {line})' if line else ''}; correct it or move it away"
        ) from None
    if entry is None or entry[0] not in (location.user, ""):
        return None
    return entry[2]


def _check_private(path: Path) -> None:
    """Check that nobody else can read a file with passwords.

    Raises:
        ConfigError: others can.
    """
    if sys.platform == "win32":
        return
    status = path.stat()
    if status.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"{path} belongs to another user; its passwords are not used")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigError(f"others can read {path}, so its passwords are not used; chmod 600 {path}")


def _read_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    _check_private(path)
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        raise ConfigError(f"{path} is damaged; delete it and run `iqdata login` again") from None


def _write_file(path: Path, kept: Mapping[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
            file.flush()
            os.fsync(handle)
        part.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
