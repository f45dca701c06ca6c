"""Data connections of the space: large reads into one buffer, sendfile out, quota counted while bytes arrive.

Refuses to keep a file whose upload went over the quota or met a full disk.
"""

import contextlib
import errno
import functools
import os
import random
import socket
from pathlib import Path
from typing import Any

from iqdata.server.ftp import DTPHandler, PassiveDTP, RetryLater, TLS_DTPHandler

_BLOCK_BYTES = 256 * 1024  # larger ones leave the processor's cache between reading and writing
_GUESSES = 16
_MOST_DRAINED_BYTES = 64 * 1024 * 1024
# One buffer for all sessions: they take turns on one thread, and each turn empties it.
_buffer = bytearray(_BLOCK_BYTES)
_view = memoryview(_buffer)


class SpaceData(DTPHandler):  # type: ignore[misc]  # pyftpdlib ships no types
    """One data connection."""

    ac_out_buffer_size = 1024 * 1024
    ac_in_buffer_size = _BLOCK_BYTES
    timeout = 300

    def __init__(self, sock: socket.socket, cmd_channel: Any) -> None:
        self.failure: str | None = None
        self._refusal: str | None = None
        self._drained_bytes = 0
        super().__init__(sock, cmd_channel)

    def handle_read(self) -> None:
        """Take what has arrived."""
        if self._data_wrapper is not None or getattr(self, "_ssl_requested", False):
            self._read_wrapped()
            return
        try:
            count = self.socket.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            # A reset is no end of file: what has arrived is not the whole.
            self.fail(f"426 {exc.strerror}; transfer aborted.", "aborted")
            return
        if not count:
            self.handle_close()
            return
        self.tot_bytes_received += count
        self.store(_view[:count])

    handle_read_event = handle_read

    def _read_wrapped(self) -> None:
        """Take what has arrived encrypted, or as text whose line ends change."""
        try:
            chunk = self.recv(self.ac_in_buffer_size)
        except RetryLater:
            return
        except OSError:
            self.handle_error()
            return
        if not chunk:  # `recv` has closed the channel and replied
            return
        self.tot_bytes_received += len(chunk)
        self.store(self._data_wrapper(chunk) if self._data_wrapper is not None else chunk)

    def store(self, block: memoryview | bytes) -> None:
        """Write what has arrived, if the team may hold it."""
        if self._refusal is not None:
            self._drained_bytes += len(block)
            if self._drained_bytes > _MOST_DRAINED_BYTES:
                self.fail(self._refusal, self.failure or "failed")
        elif not self.cmd_channel.draw(len(block)):
            self._refuse("552 Over the team's quota; nothing was kept.", "over-quota")
        else:
            before = self.file_obj.written_bytes
            try:
                self.file_obj.write(block)
            except OSError as exc:
                self.cmd_channel.give_back(len(block) - (self.file_obj.written_bytes - before))
                full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
                reply = f"452 {exc.strerror}; nothing was kept." if full else f"451 {exc.strerror}."
                self._refuse(reply, "disk-full" if full else "failed")

    def _refuse(self, reply: str, outcome: str) -> None:
        """Go on reading for a while without keeping anything.

        A client that is cut off while it sends sees a broken connection and not the reason; most send only a little
        more than they could know was too much.
        """
        self._refusal, self.failure = reply, outcome

    def handle_close(self) -> None:
        """Take the end of the stream for the end of the file, unless it was refused on the way."""
        if self._refusal is not None and not self._closed:
            self.fail(self._refusal, self.failure or "failed")
        else:
            super().handle_close()

    def close(self) -> None:
        """End the connection; what was uploaded is handed on before the reply leaves.

        So a client that reads 226 knows that its archive waits in a journal, whatever happens to the space then.
        """
        if not self._closed and self.receive and self.file_obj is not None and not self.file_obj.closed:
            self.file_obj.close()
            self.cmd_channel.uploaded(self.file_obj, finished=self.transfer_finished, failure=self.failure)
        super().close()

    def fail(self, reply: str, outcome: str) -> None:
        """End the transfer with a refusal."""
        self.failure = outcome
        self._resp = (reply, _silent)
        self.close()


@functools.cache
def _any_ports() -> range:
    """Return the ports that the kernel gives to whoever asks for any."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return range(49152, 65536)
    return range(int(first), int(last) + 1)


class SpaceListener(PassiveDTP):  # type: ignore[misc]  # pyftpdlib ships no types
    """Where a session waits for a data connection.

    Ports of connections that have just ended are used again: thousands of small downloads leave no others. A free one is
    guessed, since the kernel looks for it one by one: among 14,000 such ports that takes it 8 ms, a guess 3 µs.
    """

    def bind(self, addr: tuple[str, int]) -> None:
        """Take one of the space's ports, or any where it has none of its own."""
        self.set_reuse_addr()
        given: range | None = self.cmd_channel.space.settings.passive_ports
        ports = _any_ports() if given is None else given
        for port in random.sample(ports, len(ports) if given is not None else _GUESSES):
            with contextlib.suppress(OSError):
                super().bind((addr[0], port))
                return
        try:
            if given is not None:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            super().bind(addr)
        except OSError:
            self.close()
            raise

    def listen(self, num: int) -> None:
        """Listen, unless another took the same port just now."""
        try:
            super().listen(num)
        except OSError:
            self.close()
            raise


def _silent(_text: str) -> None:
    """Log nothing: the audit log has it."""


class SecureSpaceData(TLS_DTPHandler, SpaceData):  # type: ignore[misc]  # pyftpdlib ships no types
    """One data connection that may be encrypted."""
