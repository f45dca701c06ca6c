"""A proxy between an FTP client and a server that breaks things: at a chosen byte of a chosen stream, once, in a chosen way.

It rewrites EPSV replies to a listener of its own, so data connections pass through it too. All connections of a stream
are counted together: byte 5,000 of `DATA_UP` may be in the third file that is sent.
"""

import contextlib
import dataclasses
import enum
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self


class Stream(enum.Enum):
    """Which bytes."""

    COMMANDS = "commands"
    REPLIES = "replies"
    DATA_UP = "data up"
    DATA_DOWN = "data down"


class Harm(enum.Enum):
    """What is done to them."""

    CUT = "cut"  # both sides see the end of the stream
    RESET = "reset"
    STALL = "stall"  # nothing passes any more, nothing is closed
    DELAY = "delay"
    TRUNCATE = "truncate"  # the rest of this piece is swallowed, the connection goes on
    DOUBLE = "double"  # the piece comes twice
    CORRUPT = "corrupt"  # one byte is another
    CALL = "call"  # nothing happens to the bytes; `FaultProxy.call` is called


_ON_REPLIES = tuple(harm for harm in Harm if harm is not Harm.CALL)
_ON_DATA = (Harm.CUT, Harm.RESET, Harm.STALL, Harm.DELAY)
"""Bytes that a network changes or repeats are TCP's to notice; a reply may come wrong from the server itself."""


def harms_of(stream: Stream) -> tuple[Harm, ...]:
    """Return what can happen to a stream."""
    return _ON_REPLIES if stream is Stream.REPLIES else _ON_DATA


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    stream: Stream
    harm: Harm
    at: int
    everything: bool = False
    """Whether all connections break with this one (the line is down), and not only the one in which it happens."""


class _Broken(Exception):
    """This connection is over."""


_EPSV = re.compile(rb"^229 .*\(\|\|\|(\d+)\|\)", re.MULTILINE)
_PASV = re.compile(rb"^227 .*?(\d+,\d+,\d+,\d+),(\d+),(\d+)", re.MULTILINE)
_DELAY_S = 0.3


class FaultProxy:
    """Listens on a free port of 127.0.0.1 while the `with` lasts."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._fault: Fault | None = None
        self._closed = False
        self.passed = dict.fromkeys(Stream, 0)
        self.fired = False
        self.call: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closed = True
        self._listener.close()
        self.drop_all()

    def arm(self, fault: Fault | None) -> None:
        """Begin to count, and let this happen."""
        self.drop_all()
        with self._lock:
            self._fault, self.fired = fault, False
            self.passed = dict.fromkeys(Stream, 0)

    def drop_all(self, *, reset: bool = False) -> None:
        """Close every connection."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            _close(sock, reset=reset)

    # --- connections
    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._control, args=(client,), daemon=True).start()

    def _keep(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._sockets.update(sockets)
        if self._closed:
            self.drop_all()

    def _control(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server), timeout=10)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._keep(client, server)
        self._both(client, server, Stream.COMMANDS, Stream.REPLIES)

    def _both(self, client: socket.socket, server: socket.socket, up: Stream, down: Stream) -> None:
        thread = threading.Thread(target=self._pump, args=(client, server, up), daemon=True)
        thread.start()
        self._pump(server, client, down)
        thread.join()
        for sock in (client, server):
            with self._lock:
                self._sockets.discard(sock)
            sock.close()

    def _pump(self, source: socket.socket, target: socket.socket, stream: Stream) -> None:
        try:
            while data := source.recv(65536):
                if stream is Stream.REPLIES:
                    data = self._own_ports(data)
                for piece in self._harmed(data, stream, (source, target)):
                    target.sendall(piece)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        except (OSError, _Broken):
            for sock in (source, target):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    # --- data connections
    def _own_ports(self, data: bytes) -> bytes:
        def extended(match: "re.Match[bytes]") -> bytes:
            port = self._data_listener(int(match[1]))
            return match[0].replace(b"|||" + match[1] + b"|", b"|||%d|" % port)

        def passive(match: "re.Match[bytes]") -> bytes:
            port = self._data_listener(int(match[2]) * 256 + int(match[3]))
            numbers = b",".join(match[1:4])
            return match[0].replace(numbers, b"127,0,0,1,%d,%d" % divmod(port, 256))

        return _PASV.sub(passive, _EPSV.sub(extended, data))

    def _data_listener(self, port: int) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._keep(listener)

        def serve() -> None:
            try:
                listener.settimeout(10)
                client, _ = listener.accept()
            except OSError:
                return
            finally:
                with self._lock:
                    self._sockets.discard(listener)
                listener.close()
            try:
                server = socket.create_connection(("127.0.0.1", port), timeout=10)
            except OSError:
                client.close()
                return
            for sock in (client, server):
                sock.settimeout(None)
            self._keep(client, server)
            self._both(client, server, Stream.DATA_UP, Stream.DATA_DOWN)

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    # --- harm
    def _harmed(self, data: bytes, stream: Stream, pair: tuple[socket.socket, socket.socket]) -> list[bytes]:
        """Return what is passed on instead of `data`."""
        with self._lock:
            start = self.passed[stream]
            self.passed[stream] += len(data)
            fault = self._fault
            if fault is None or fault.stream is not stream or not start <= fault.at < start + len(data):
                return [data]
            self._fault, self.fired = None, True
        split = fault.at - start
        before, after = data[:split], data[split:]
        match fault.harm:
            case Harm.CUT | Harm.RESET:
                if before:
                    with contextlib.suppress(OSError):
                        pair[1].sendall(before)
                reset = fault.harm is Harm.RESET
                if fault.everything:
                    self.drop_all(reset=reset)
                else:
                    for sock in pair:
                        _close(sock, reset=reset)
                raise _Broken
            case Harm.STALL:
                with contextlib.suppress(OSError):
                    pair[1].sendall(before)
                    # Silence until the client gives up; then the server hears of the end too.
                    _await_end(pair)
                raise _Broken
            case Harm.DELAY:
                time.sleep(_DELAY_S)
                return [data]
            case Harm.TRUNCATE:
                return [before]
            case Harm.DOUBLE:
                return [data, data]
            case Harm.CALL:
                self.call()
                return [data]
            case Harm.CORRUPT:
                return [before, bytes([after[0] ^ 0x15]), after[1:]]


def _close(sock: socket.socket, *, reset: bool) -> None:
    with contextlib.suppress(OSError):
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        sock.close()


def _await_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """Swallow what comes until either side ends, at most half a minute."""
    source = pair[0]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        source.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            if not source.recv(65536):
                return
        try:
            pair[1].getpeername()
        except OSError:
            return
