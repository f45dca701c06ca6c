"""How much each team holds and may hold; uploads and extraction draw on one account, from any thread.

Refuses to measure by itself: whoever has walked a home says what it holds.
"""

import threading
from pathlib import Path


class QuotaKeeper:
    """Counts bytes by home."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[Path, int] = {}
        self._limit: dict[Path, int] = {}

    def set_limit(self, home: Path, limit_bytes: int | None) -> None:
        """Say what a home may hold."""
        with self._lock:
            if limit_bytes is None:
                self._limit.pop(home, None)
            else:
                self._limit[home] = limit_bytes

    def is_known(self, home: Path) -> bool:
        """Tell whether the home was counted."""
        with self._lock:
            return home in self._used

    def counted(self, home: Path, used_bytes: int) -> None:
        """Take over a count."""
        with self._lock:
            self._used[home] = used_bytes

    def take(self, home: Path, size_bytes: int) -> bool:
        """Draw bytes; False, and nothing drawn, when they would pass the limit."""
        with self._lock:
            limit = self._limit.get(home)
            used = self._used.get(home, 0)
            if limit is not None and used + size_bytes > limit:
                return False
            self._used[home] = used + size_bytes
            return True

    def give_back(self, home: Path, size_bytes: int) -> None:
        """Return bytes that are free again."""
        with self._lock:
            self._used[home] = max(0, self._used.get(home, 0) - size_bytes)

    def left(self, home: Path) -> int | None:
        """Return what may still be written, None without a limit."""
        with self._lock:
            limit = self._limit.get(home)
            return None if limit is None else max(0, limit - self._used.get(home, 0))
