"""SFTP version 3 over an SSH channel: many requests in flight on one connection, answers matched by number.

Refuses to know files; `sftp` does. paramiko's own client waits for each answer and spends a packet on each request;
here requests gather until somebody waits, and leave together.

Source: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL for the extensions.
"""

import contextlib
import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

import paramiko

from iqdata.errors import CutOff, UnsafePath

MAX_PACKET_BYTES = 1024 * 1024
"""An answer longer than this is no SFTP: ours are asked for in smaller pieces."""

_GATHER_BYTES = 256 * 1024
_RECEIVE_BYTES = 1024 * 1024


class Op(enum.IntEnum):
    """Packet types."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Code(enum.IntEnum):
    """Status codes."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    UNSUPPORTED = 8


class Answer(NamedTuple):
    """One answer: its type and what follows the number."""

    op: int
    body: memoryview

    @property
    def status(self) -> tuple[int, str]:
        """Code and text of a STATUS answer."""
        (code,) = struct.unpack_from(">I", self.body)
        text, _ = string(self.body, 4) if len(self.body) > 4 else (b"", 4)
        return code, text.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """Whether it is a STATUS that says OK."""
        return self.op == Op.STATUS and struct.unpack_from(">I", self.body)[0] == Code.OK


class Attributes(NamedTuple):
    """What attributes hold, where given."""

    size_bytes: int | None
    mode: int | None
    mtime_s: int | None


def string(body: memoryview, at: int) -> tuple[bytes, int]:
    """Return the string at an offset and the offset behind it.

    Raises:
        Malformed: it ends beyond the packet.
    """
    (length,) = struct.unpack_from(">I", body, at)
    end = at + 4 + length
    if end > len(body):
        raise Malformed
    return bytes(body[at + 4 : end]), end


def attributes(body: memoryview, at: int) -> tuple[Attributes, int]:
    """Return the attributes at an offset and the offset behind them."""
    (flags,) = struct.unpack_from(">I", body, at)
    at += 4
    size = mode = mtime = None
    if flags & 1:
        (size,) = struct.unpack_from(">Q", body, at)
        at += 8
    if flags & 2:
        at += 8
    if flags & 4:
        (mode,) = struct.unpack_from(">I", body, at)
        at += 4
    if flags & 8:
        _, mtime = struct.unpack_from(">II", body, at)
        at += 8
    if flags & 0x80000000:
        (count,) = struct.unpack_from(">I", body, at)
        at += 4
        for _ in range(count):
            _, at = string(body, at)
            _, at = string(body, at)
    return Attributes(size, mode, mtime), at


class Malformed(Exception):
    """An answer that cannot be read. Never seen outside this package."""


BREAKS = (OSError, EOFError, paramiko.SSHException, Malformed, struct.error)
"""What ends a connection's use."""


@contextlib.contextmanager
def translated(op: str, path: str = "") -> Iterator[None]:
    """Turn what breaks a connection into `CutOff`."""
    try:
        yield
    except BREAKS as exc:
        if isinstance(exc, TimeoutError):
            what = "the server fell silent"
        elif isinstance(exc, Malformed | struct.error):
            what = "the server does not speak SFTP as it should"
        else:
            what = f"the connection broke ({exc or 'closed'})"
        on = f" {path}" if path else ""
        raise CutOff(f"{op}{on}: {what}", op=op, path=path, reply=str(exc), retryable=True) from exc


class Wire:
    """One SFTP conversation. For one thread."""

    def __init__(self, channel: paramiko.Channel) -> None:
        """Begin the conversation; `channel` has SFTP at its other end and a time-out."""
        self._channel = channel
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._in = bytearray()
        self._at = 0
        self._number = 0
        self._answers: dict[int, Answer] = {}
        self._forgotten: set[int] = set()
        channel.sendall(struct.pack(">IBI", 5, Op.INIT, 3))
        op, body = self._packet()
        if op != Op.VERSION:
            raise Malformed
        self.extensions: dict[str, str] = {}
        at = 4
        while at < len(body):
            name, at = string(body, at)
            value, at = string(body, at)
            self.extensions[name.decode("ascii", "replace")] = value.decode("ascii", "replace")

    def send(self, op: Op, *parts: bytes) -> int:
        """Queue one request and return its number."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        length = 5 + sum(map(len, parts))
        self._out.append(struct.pack(">IBI", length, op, number))
        self._out += parts
        self._out_bytes += length + 4
        if self._out_bytes >= _GATHER_BYTES:
            self.flush()
        return number

    def flush(self) -> None:
        """Let what is queued leave."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_bytes = 0
            self._channel.sendall(data)

    def answer(self, number: int) -> Answer:
        """Wait for the answer to a request."""
        found = self._answers.pop(number, None)
        if found is not None:
            return found
        self.flush()
        while True:
            op, body = self._packet()
            (came,) = struct.unpack_from(">I", body)
            one = Answer(op, body[4:])
            if came == number:
                return one
            if came in self._forgotten:
                self._forgotten.discard(came)
            else:
                self._answers[came] = one

    def ask(self, op: Op, *parts: bytes) -> Answer:
        """Send one request and wait for its answer."""
        return self.answer(self.send(op, *parts))

    def forget(self, number: int) -> None:
        """Drop the answer to a request whenever it comes."""
        if self._answers.pop(number, None) is None:
            self._forgotten.add(number)

    def _packet(self) -> tuple[int, memoryview]:
        """Return the next packet's type and content."""
        buffer = self._in
        while len(buffer) - self._at < 4:
            self._receive()
        (length,) = struct.unpack_from(">I", buffer, self._at)
        if not 1 <= length <= MAX_PACKET_BYTES:
            raise Malformed
        while len(buffer) - self._at < 4 + length:
            self._receive()
        start = self._at + 4
        self._at = start + length
        body = bytes(memoryview(buffer)[start + 1 : self._at])
        op = buffer[start]
        if self._at >= len(buffer):
            buffer.clear()
            self._at = 0
        elif self._at > _RECEIVE_BYTES:
            del buffer[: self._at]
            self._at = 0
        return op, memoryview(body)

    def _receive(self) -> None:
        piece = self._channel.recv(_RECEIVE_BYTES)
        if not piece:
            raise EOFError
        self._in += piece


def pack_string(data: bytes) -> bytes:
    """Return a string as it goes over the wire."""
    return struct.pack(">I", len(data)) + data


def pack_path(path: str) -> bytes:
    """Return a path as it goes over the wire.

    Raises:
        UnsafePath: it holds a NUL, at which the server would end it.
    """
    if "\0" in path:
        raise UnsafePath(f"{path!r}: a NUL in a name is not sent")
    return pack_string(path.encode("utf-8", "surrogateescape"))
