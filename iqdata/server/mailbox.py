"""How other threads reach the event loop: a thunk in a box, and a byte on a socket that wakes the loop.

Everything that touches a session runs on the loop's thread; this is the only door to it.
"""

import contextlib
import socket
from collections import deque
from collections.abc import Callable

from iqdata.server.ftp import IOLoop


class Mailbox:
    """A descriptor that the loop watches like a session's; it has the methods the loop calls."""

    def __init__(self, loop: IOLoop, on_error: Callable[[Exception], None]) -> None:
        self._loop = loop
        self._on_error = on_error
        self._box: deque[Callable[[], None]] = deque()
        self._hear, self._ring = socket.socketpair()
        self._hear.settimeout(0)
        self._ring.settimeout(0)
        loop.register(self._hear.fileno(), self, loop.READ)

    def post(self, thunk: Callable[[], None]) -> None:
        """Have `thunk` called on the loop's thread, soon; from any thread."""
        self._box.append(thunk)
        # A full buffer means that the loop is going to wake anyway; a closed one, that it has ended.
        with contextlib.suppress(OSError):
            self._ring.send(b"!")

    def close(self) -> None:
        """Leave the loop."""
        with contextlib.suppress(Exception):
            self._loop.unregister(self._hear.fileno())
        self._hear.close()
        self._ring.close()

    # --- called by the loop

    def readable(self) -> bool:
        """Be watched."""
        return True

    def writable(self) -> bool:
        """Never written to."""
        return False

    def handle_read_event(self) -> None:
        """Call what is in the box."""
        with contextlib.suppress(BlockingIOError):
            self._hear.recv(4096)
        while self._box:
            thunk = self._box.popleft()
            try:
                thunk()
            except Exception as exc:  # noqa: BLE001  one session's failure must not end the loop
                self._on_error(exc)

    def handle_close(self) -> None:
        """Nothing to do: `close` is called by the owner."""

    def handle_error(self) -> None:
        """Errors are caught above."""
