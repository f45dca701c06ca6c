"""An FTP control connection: commands out, replies in, several commands in flight when asked to.

Refuses to judge replies beyond their form. ftplib supplies the grammar (replies over several lines, logging in); the
bytes are handled here, because ftplib decodes strictly (one odd name would stop a listing), hides what it has already
read, and spends a system call on each command.
"""

import ftplib
import functools
import re
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from iqdata.errors import UnsafePath
from iqdata.transports.ftpreplies import Closing, Reply, UnexpectedReply

ENCODING = "utf-8"
ODD_BYTES = "surrogateescape"
"""Names that are no UTF-8 travel as lone surrogates and come out as the same bytes."""

MAX_LINE_BYTES = 8 * 1024
MAX_REPLY_LINES = 2000

_CODES = {str(code): code for code in range(100, 600)}

_FAR_S = 0.002
"""From this round trip on acknowledgements are hurried; nearer, they would only cost time."""


class Control(ftplib.FTP):
    """A control connection, open after `open`. Its socket never outlives `abandon`."""

    def __init__(self, host: str, port: int, *, timeout_s: float) -> None:
        super().__init__()
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self.peer = host
        self._received = bytearray()
        self._reply_lines = 0
        self._far = False

    def open(self, *, tls: ssl.SSLContext | None = None) -> Reply:
        """Connect, with TLS from the first byte if a context is given, and return the greeting."""
        started = time.monotonic()
        self.sock = socket.create_connection((self.host, self.port), timeout=self.timeout_s)
        self._far = time.monotonic() - started > _FAR_S and hasattr(socket, "TCP_QUICKACK")
        self.af = self.sock.family
        self.peer = str(self.sock.getpeername()[0])
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(self.sock)
        if tls is None:
            limit_waiting(self.sock, self.timeout_s)
        else:
            self.encrypt(tls)
        return self.reply()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Go over to TLS; what came in clear before is not taken for part of the secured conversation."""
        if self.sock is None or self._received:
            raise UnexpectedReply("bytes in clear after the answer to AUTH TLS")
        self.sock.settimeout(self.timeout_s)
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The socket when it is encrypted."""
        return self.sock if isinstance(self.sock, ssl.SSLSocket) else None

    @property
    def has_more(self) -> bool:
        """Whether bytes of a reply have come that nobody has read."""
        return bool(self._received)

    def send(self, commands: Sequence[str]) -> None:
        """Send commands, without their line ends, in one write.

        Raises:
            UnexpectedReply: the server has spoken out of turn.
        """
        if self._received:
            raise UnexpectedReply(f"{bytes(self._received[:80])!r} before anything was asked")
        if self.sock is None:
            raise EOFError
        self.sock.sendall(encode(commands))

    def reply(self) -> Reply:
        """Return the next reply, whatever its code but one.

        Raises:
            Closing: 421, which may answer any command: nothing more comes.
            UnexpectedReply: it has not the form of one.
        """
        text = self.getmultiline()
        code = _CODES.get(text[:3])
        if code is None:
            raise UnexpectedReply(f"{text[:80]!r} is no reply")
        if code == 421:
            raise Closing(Reply(421, text))
        return Reply(code, text)

    def ask(self, command: str) -> Reply:
        """Send one command and return its reply."""
        self.send((command,))
        return self.reply()

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Wait this long for replies inside the block."""
        sock = self.sock
        if sock is None:
            raise EOFError
        wait = sock.settimeout if self.tls is not None else functools.partial(limit_waiting, sock)
        wait(seconds)
        try:
            yield
        finally:
            wait(self.timeout_s)

    def abandon(self) -> None:
        """Break the connection at once; safe from another thread, whose call then fails."""
        sock = self.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    # --- what ftplib calls -----------------------------------------------------------------------------------------

    def putline(self, line: str) -> None:
        """Send one command (called by `login`)."""
        self.send((line,))

    def getmultiline(self) -> str:
        """Return one whole reply, of bounded length."""
        self._reply_lines = 0
        line = self.getline()
        if line[3:4] != "-":
            return line
        code, lines = line[:3], [line]
        while line[:3] != code or line[3:4] == "-":
            line = self.getline()
            lines.append(line)
        return "\n".join(lines)

    def getline(self) -> str:
        """Return one line without its end."""
        received = self._received
        self._reply_lines += 1
        if self._reply_lines > MAX_REPLY_LINES:
            raise UnexpectedReply(f"a reply of more than {MAX_REPLY_LINES} lines")
        searched = 0
        while (end := received.find(b"\n", searched)) < 0:
            searched = len(received)
            if searched > MAX_LINE_BYTES:
                raise UnexpectedReply(f"a reply line of more than {MAX_LINE_BYTES} bytes")
            if self.sock is None:
                raise EOFError
            piece = self.sock.recv(65536)
            if self._far:
                # A server that sends each reply by itself may hold the next until this one is acknowledged, and the kernel
                # here would wait up to 40 ms for something to send along.
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if not piece:
                raise EOFError
            received += piece
        line = received[:end].rstrip(b"\r").decode(ENCODING, ODD_BYTES)
        del received[: end + 1]
        return line

    def close(self) -> None:
        """Close the socket."""
        sock, self.sock = self.sock, None
        if sock is not None:
            sock.close()


def encode(commands: Sequence[str]) -> bytes:
    """Return commands as they go over the wire.

    Raises:
        UnsafePath: a command with a line end in it, which would be two.
    """
    for command in commands:
        if "\r" in command or "\n" in command or "\0" in command:
            # Only the verb is named: the rest may be a password.
            raise UnsafePath(f"a line end or NUL after {command[:4]!r} is not sent")
    return ("\r\n".join(commands) + "\r\n").encode(ENCODING, ODD_BYTES)


_EPSV = re.compile(r"\((.)\1\1(\d{1,5})\1\)")
_PASV = re.compile(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)")


def extended_port(reply: Reply) -> int:
    """Return the port of an EPSV reply. Source: RFC 2428 section 3."""
    match = _EPSV.search(reply.text)
    port = int(match[2]) if match is not None else 0
    if not 0 < port < 65536:
        raise UnexpectedReply(f"{reply.text!r} names no port")
    return port


def passive_port(reply: Reply) -> int:
    """Return the port of a PASV reply; its address is ignored.

    Behind address translation it is wrong, and a hostile one would have us connect elsewhere.
    """
    match = _PASV.search(reply.text)
    if match is None:
        raise UnexpectedReply(f"{reply.text!r} names no port")
    port = int(match[5]) * 256 + int(match[6])
    if not 0 < port < 65536:
        raise UnexpectedReply(f"{reply.text!r} names no port")
    return port


_KEEP_ALIVE_S = 60


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel speak up while nothing is said: routers forget a control connection that is silent during a long transfer."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):  # not every system has them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), _KEEP_ALIVE_S)


def limit_waiting(sock: socket.socket, timeout_s: float) -> None:
    """Let a plain socket give up after `timeout_s` of silence.

    The kernel's own limits: Python's would cost a poll() before each call, a third of all calls for a small file.
    """
    if sys.platform == "win32":
        sock.settimeout(timeout_s)
        return
    if sock.gettimeout() is not None:
        sock.settimeout(None)
    span = _time_span(timeout_s)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, span)


@functools.lru_cache(maxsize=8)
def _time_span(seconds: float) -> bytes:
    """Return a span as the kernel takes it (struct timeval)."""
    whole = int(seconds)
    return struct.pack("ll", whole, int((seconds - whole) * 1_000_000))
