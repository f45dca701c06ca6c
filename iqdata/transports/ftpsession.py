"""A logged-in FTP session: its control connection, what the server was seen to do, and data connections.

Refuses to know files and folders; `ftp` does. Every failure below leaves as a `TransportError`.
"""

import contextlib
import dataclasses
import enum
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence

from iqdata.errors import CutOff
from iqdata.transports.base import Sink, Source
from iqdata.transports.ftpcontrol import Control, extended_port, limit_waiting, passive_port
from iqdata.transports.ftpreplies import SYNTAX_CODES, Reply, UnexpectedReply, failure
from iqdata.transports.tls import TlsOptions, check_pin

SEND_BYTES = 256 * 1024
RECEIVE_BYTES = 1024 * 1024
"""1 MiB moved 1.3 times what 256 KiB did downwards; sending gains nothing beyond 256 KiB (loopback FTP)."""

_TICKET_MARGIN_S = 30


class DateCommand(enum.Enum):
    """The ways to date a file that FTP servers have."""

    MFMT = "MFMT {time} {path}"
    MDTM = "MDTM {time} {path}"
    UTIME_LONG = "SITE UTIME {path} {time} {time} {time} UTC"
    UTIME_SHORT = "SITE UTIME {time} {path}"


@dataclasses.dataclass(slots=True, kw_only=True)
class Facts:
    """What one server was seen to do, shared by all connections to it; every field moves one way only.

    Attributes:
        features: FEAT's lines, first words in capitals → the rest.
        extended_passive: EPSV works (None: not tried).
        lists_facts: MLSD works.
        lists_hidden: `LIST -a` shows more than `LIST` does, and no less (None: not known yet).
        clock_offset_s: how far LIST's clock is ahead of UTC (None: not known yet).
        date_commands: what is left to try, best first; the first is the one in use once `dates` is True.
        dates: whether dating works (None: not tried).
        pipelines: several commands may be in flight; False after the first anomaly.
    """

    features: dict[str, str] = dataclasses.field(default_factory=dict)
    extended_passive: bool | None = None
    lists_facts: bool = False
    lists_hidden: bool | None = None
    clock_offset_s: int | None = None
    date_commands: tuple[DateCommand, ...] = ()
    dates: bool | None = None
    resumes: bool = False
    renames_over: bool = True
    pipelines: bool = True
    hashes: tuple[str, ...] = ()
    probed: bool = False


class Session:
    """Control connection and facts, with the one way to open a data connection."""

    def __init__(
        self, control: Control, facts: Facts, *, context: ssl.SSLContext | None, tls: TlsOptions
    ) -> None:
        self.control = control
        self.facts = facts
        self.context = context
        self.tls = tls
        self.buffer: memoryview | None = None
        self.data: socket.socket | None = None
        self.early: list[Reply] = []

    def start(self, command: str, *, before: Sequence[str] = (), owed: int = 0) -> None:
        """Send `before` and a command that moves data, and open its data connection.

        The replies to `before` (and, first, to `owed` commands sent earlier) stand in `early` afterwards, whether the
        rest succeeded or not. What came of the command itself is read later (`finish`): 150 need not be awaited to
        send or to receive.

        Raises:
            TransportError: the server will not open a data connection, or refused the command at once.
        """
        control, facts = self.control, self.facts
        early = self.early = []
        if not owed:
            self._check_ticket()
        if facts.extended_passive and facts.pipelines:
            control.send((*before, "EPSV", command), owed=owed)
            for _ in range(owed + len(before)):
                early.append(control.reply())  # noqa: PERF401  # what was read before a failure must not be lost
            answer = control.reply()
            if answer.code != 229:
                # The command was sent all the same; its refusal is due before anything else.
                self.finish()
                facts.pipelines = False
                raise failure(answer, op="open a data connection")
            self._connect(extended_port(answer))
            return
        for _ in range(owed):
            early.append(control.reply())  # noqa: PERF401  # as above
        for one in before:
            early.append(control.ask(one))  # noqa: PERF401  # as above
        port = self._ask_port()
        control.send((command,))
        self._connect(port)

    def _ask_port(self) -> int:
        facts = self.facts
        if facts.extended_passive is not False:
            reply = self.control.ask("EPSV")
            if reply.code == 229:
                facts.extended_passive = True
                return extended_port(reply)
            if reply.code not in SYNTAX_CODES or self.control.af == socket.AF_INET6:
                raise failure(reply, op="open a data connection")
            facts.extended_passive = False
        reply = self.control.ask("PASV")
        if reply.code != 227:
            raise failure(reply, op="open a data connection")
        return passive_port(reply)

    def _connect(self, port: int) -> None:
        control = self.control
        sock = socket.socket(control.af, socket.SOCK_STREAM)
        self.data = sock
        if self.context is None:
            limit_waiting(sock, control.timeout_s)
        else:
            sock.settimeout(control.timeout_s)
        try:
            sock.connect((control.peer, port))
        except ConnectionRefusedError as exc:
            # A command refused at once takes its listening socket along; its reply says why.
            self.drop_data()
            reply = control.reply()
            if reply.code >= 400:
                raise failure(reply, op="open a data connection") from exc
            raise

    def secure_data(self) -> None:
        """Shake hands on the data connection, resuming the control connection's TLS session.

        Called once the command is on its way: servers begin TLS only when they serve it.

        Source: vsftpd answers 522 and ProFTPD 425 to a data connection with a session of its own.
        """
        if self.context is None or self.data is None:
            return
        secured = self.control.tls
        sock = self.context.wrap_socket(
            self.data,
            server_hostname=self.control.host,
            session=secured.session if secured is not None else None,
            suppress_ragged_eofs=True,
        )
        self.data = sock
        check_pin(sock, self.tls)

    def send_from(self, source: Source, on_bytes: Callable[[int], None]) -> int:
        """Send all of `source`, end the data stream properly, and return the count of bytes."""
        self.secure_data()
        data = self.data
        if data is None:
            raise EOFError
        count = 0
        while block := source.read(SEND_BYTES):
            data.sendall(block)
            count += len(block)
            on_bytes(len(block))
        self.end_data()
        return count

    def receive_into(self, sink: Sink, on_bytes: Callable[[int], None]) -> int:
        """Pass what comes to `sink` until the server closes, and return the count of bytes."""
        self.secure_data()
        data = self.data
        if data is None:
            raise EOFError
        if self.buffer is None:
            self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        buffer = self.buffer
        count = 0
        while size := data.recv_into(buffer):
            sink.write(buffer[:size])
            count += size
            on_bytes(size)
        self.drop_data()
        return count

    def end_data(self) -> None:
        """Tell the server that no more comes; it may still read what is on its way."""
        data = self.data
        if data is None:
            return
        if isinstance(data, ssl.SSLSocket):
            # One-way close: some servers never answer close_notify. Then the end of the stream, and the socket stays
            # open until the reply: with unread TLS 1.3 tickets in it, closing now would reset the last bytes away.
            data.settimeout(0)
            with contextlib.suppress(OSError):  # "would block": it is sent, and the answer not waited for
                data.unwrap()
            with contextlib.suppress(OSError):
                data.shutdown(socket.SHUT_WR)
        else:
            self.data = None
            data.close()

    def drop_data(self) -> None:
        """Close the data connection, whatever its state."""
        data, self.data = self.data, None
        if data is not None:
            data.close()

    def finish(self) -> Reply:
        """Return the final reply to the command that moved data."""
        try:
            while (reply := self.control.reply()).code < 200:
                pass
        finally:
            self.drop_data()
        return reply

    def give_up_transfer(self) -> None:
        """End a transfer that cannot go on for a reason of ours, and leave the session usable if possible."""
        data = self.data
        if data is not None:
            # Reset instead of a proper end, so that the server does not take the file for whole.
            with contextlib.suppress(OSError):
                data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop_data()
        self.finish()

    def _check_ticket(self) -> None:
        """Refuse a data connection whose TLS session would no longer be resumed.

        Source: servers were seen to accept such a connection and to lose the file (0 bytes, or its last ones).
        """
        secured = self.control.tls
        session = secured.session if secured is not None else None
        if session is None:
            return
        lifetime_s = min(
            span for span in (session.timeout, session.ticket_lifetime_hint or session.timeout) if span
        )
        if time.time() > session.time + lifetime_s - min(_TICKET_MARGIN_S, lifetime_s / 2):
            raise CutOff("the TLS session has aged; a new connection is needed", op="connect", retryable=True)

    def expect(self, reply: Reply, *codes: int) -> None:
        """Check that a reply is one of the possible ones.

        Raises:
            UnexpectedReply: it belongs to another command.
        """
        if reply.code < 400 and reply.code not in codes:
            self.facts.pipelines = False
            raise UnexpectedReply(f"{reply.text[:120]!r} where {' or '.join(map(str, codes))} was due")
