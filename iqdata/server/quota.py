"""How much each team holds and may hold; uploads and extraction draw on one account, from any thread.

A home is walked once; from then on every byte that comes or goes is counted. Where that cannot be known (a worker died,
an extraction replaced a file that was being received) the account is in doubt, and is counted anew as soon as the home
is quiet. What the space writes into a home itself does not count.
"""

import dataclasses
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from iqdata.server.permissions import LOG_FOLDER


@dataclasses.dataclass(slots=True)
class _Account:
    limit_bytes: int
    used_bytes: int | None = None  # not counted yet
    moves: int = 0
    in_doubt: bool = False


class QuotaKeeper:
    """The accounts of all homes that have a limit; the others are free."""

    def __init__(self, measure: Callable[[Path], int] | None = None) -> None:
        """Make it.

        Args:
            measure: returns the bytes that a home holds; `usage_of` by default.
        """
        self._measure = measure or usage_of
        self._lock = threading.Lock()
        self._accounts: dict[Path, _Account] = {}

    def set_limit(self, home: Path, limit_bytes: int | None, *, in_use: bool = False) -> None:
        """Say what a home may hold; None for as much as it likes.

        Args:
            home: whose.
            limit_bytes: how much.
            in_use: sessions may be at it: a home that had no limit is counted first, so that nobody waits for that.
        """
        used_bytes = None
        if in_use and limit_bytes is not None and home not in self._accounts:
            used_bytes = self._measure(home)
        with self._lock:
            if limit_bytes is None:
                self._accounts.pop(home, None)
            elif home in self._accounts:
                self._accounts[home].limit_bytes = limit_bytes
            else:
                # What came while it was counted may be missing.
                self._accounts[home] = _Account(limit_bytes, used_bytes, in_doubt=used_bytes is not None)

    def is_limited(self, home: Path) -> bool:
        """Tell whether a home has a limit."""
        return home in self._accounts

    def count(self, home: Path) -> None:
        """Make sure that a home was counted: that takes a moment, and is not for the event loop."""
        account = self._accounts.get(home)
        if account is not None and account.used_bytes is None:
            used_bytes = self._measure(home)
            with self._lock:
                if account.used_bytes is None:
                    account.used_bytes = used_bytes

    def take(self, home: Path, size_bytes: int) -> bool:
        """Draw bytes; False, and nothing drawn, when they would pass the limit."""
        self.count(home)
        with self._lock:
            account = self._accounts.get(home)
            if account is None:
                return True
            used_bytes = (account.used_bytes or 0) + size_bytes
            if used_bytes > account.limit_bytes:
                return False
            account.used_bytes = used_bytes
            account.moves += 1
            return True

    def give_back(self, home: Path, size_bytes: int) -> None:
        """Return bytes that are free again; a negative number counts what came without asking."""
        with self._lock:
            account = self._accounts.get(home)
            if account is not None and account.used_bytes is not None and size_bytes:
                account.used_bytes = max(0, account.used_bytes - size_bytes)
                account.moves += 1

    def left(self, home: Path) -> int | None:
        """Return what may still be written, None without a limit."""
        self.count(home)
        with self._lock:
            account = self._accounts.get(home)
            return None if account is None else max(0, account.limit_bytes - (account.used_bytes or 0))

    def used(self, home: Path) -> int | None:
        """Return what a home holds, as far as the account knows; None without a limit."""
        self.count(home)
        account = self._accounts.get(home)
        return account.used_bytes if account is not None else None

    def doubt(self, home: Path) -> None:
        """Say that something came or went which the account does not know."""
        account = self._accounts.get(home)
        if account is not None:
            account.in_doubt = True

    def is_in_doubt(self, home: Path) -> bool:
        """Tell whether a home is to be counted anew."""
        account = self._accounts.get(home)
        return account is not None and account.in_doubt

    def doubt_all(self) -> list[Path]:
        """Say so of every home, for what happens behind the space's back, and return them."""
        homes = list(self._accounts)
        for home in homes:
            self.doubt(home)
        return homes

    def settle(self, home: Path, is_quiet: Callable[[], bool]) -> None:
        """Count a home anew that is in doubt, unless something comes or goes meanwhile: then that asks again.

        Args:
            home: whose.
            is_quiet: whether nothing is being received or extracted there.
        """
        account = self._accounts.get(home)
        if account is None or not account.in_doubt or not is_quiet():
            return
        moves = account.moves
        used_bytes = self._measure(home)
        with self._lock:
            if account.moves == moves and is_quiet():
                account.used_bytes, account.in_doubt = used_bytes, False


def usage_of(home: Path) -> int:
    """Return the bytes that the files of a home hold; a file with several names counts once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    top = True
    for _folder, folders, _names, descriptor in os.fwalk(home, onerror=None, follow_symlinks=False):
        if top:
            folders[:] = [name for name in folders if name != LOG_FOLDER]
            top = False
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:  # it has gone since
                    continue
                if not stat.S_ISREG(found.st_mode):
                    continue
                if found.st_nlink > 1:
                    key = (found.st_dev, found.st_ino)
                    if key in seen:
                        continue
                    seen.add(key)
                total += found.st_size
    return total
