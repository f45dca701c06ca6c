"""Checks passwords, slows down and shuts out whoever guesses them.

The memory-hard check is the slow half and runs on a thread of its own; a password that was right a moment ago is known
by a keyed hash that lives in memory only, because clients open a connection for every few files.
"""

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping

from iqdata.server.accounts import Account, verify

_KNOWN_FOR_S = 600.0
_MOST_KNOWN = 4096
_MOST_ADDRESSES = 65_536


class PasswordCheck:
    """Tells whether a password is right; safe to call from several threads."""

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        """Make it with the passwords that came with the command line, of which only keyed hashes are kept."""
        self._key = secrets.token_bytes(32)
        self._given = {name: self._digest(name, "", password) for name, password in (given or {}).items()}
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        # Compared when there is no such account, so that the time of an answer does not tell whether there is one.
        self._nobody: str | None = None

    def _digest(self, name: str, digest: str, password: str) -> bytes:
        text = "\0".join((name, digest, password)).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def quick(self, account: Account | None, name: str, password: str, *, now: float) -> bool | None:
        """Return the answer if it is known without the slow check, else None."""
        given = self._given.get(name)
        if given is not None:
            right = hmac.compare_digest(given, self._digest(name, "", password))
            if right or account is None or account.hash is None:
                return right and (account is None or account.enabled)
        if account is None or account.hash is None or not account.enabled:
            return None
        with self._lock:
            until = self._known.get(self._digest(name, account.hash, password), 0.0)
        return True if until > now else None

    def slow(self, account: Account | None, name: str, password: str, *, now: float) -> bool:
        """Check against the stored hash; an unknown or disabled account takes as long as any other."""
        if account is None or account.hash is None:
            if self._nobody is None:
                from iqdata.server.accounts import _hash

                self._nobody = _hash(secrets.token_hex(16))
            verify(self._nobody, password)
            return False
        if not verify(account.hash, password) or not account.enabled:
            return False
        with self._lock:
            self._known[self._digest(name, account.hash, password)] = now + _KNOWN_FOR_S
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return True


class LoginGuard:
    """Counts failed logins by address and by account; pure but for the counts.

    After `most` failures within `window_s` from one address, that address is turned away for `ban_s`. An account is
    never locked by failures (anyone could lock out a team by that): guesses at it only become slower.
    """

    def __init__(self, *, most: int = 10, window_s: float = 300.0, ban_s: float = 300.0) -> None:
        self._most = most
        self._window_s = window_s
        self._ban_s = ban_s
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._banned: dict[str, float] = {}

    def is_banned(self, address: str, *, now: float) -> bool:
        """Tell whether connections from an address are turned away now."""
        until = self._banned.get(address)
        if until is None:
            return False
        if until <= now:
            del self._banned[address]
            return False
        return True

    def failed(self, address: str, name: str, *, now: float) -> tuple[float, bool]:
        """Count a failure and return how long to wait with the answer, and whether the address is banned from now on."""
        counts = []
        for key in (f"address {address}", f"account {name}"):
            recent = [moment for moment in self._failures.pop(key, []) if moment > now - self._window_s][
                -100:
            ]
            recent.append(now)
            self._failures[key] = recent
            counts.append(len(recent))
        while len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
        if counts[0] >= self._most:
            self._banned = {key: until for key, until in self._banned.items() if until > now}
            self._banned[address] = now + self._ban_s
            self._failures.pop(f"address {address}", None)
            return 0.0, True
        return min(5.0, 0.25 * 2 ** min(max(counts) - 1, 10)), False

    def succeeded(self, address: str) -> None:
        """Forget an address's failures."""
        self._failures.pop(f"address {address}", None)
