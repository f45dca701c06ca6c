"""A logged-in FTP session: its control connection, what the server was seen to do, and data connections.

Refuses to know files and folders; `ftp` does. Every failure below leaves as a `TransportError`.
"""

import contextlib
import enum
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec

from iqdata.errors import CutOff, TransportError
from iqdata.transports.base import Sink, Source
from iqdata.transports.ftpcontrol import Control, extended_port, limit_waiting, passive_port
from iqdata.transports.ftpreplies import SYNTAX_CODES, Denied, OwnTrouble, Reply, UnexpectedReply
from iqdata.transports.tls import TlsOptions, check_pin

SEND_BYTES = 128 * 1024
EARLY_BYTES = 32 * 1024
"""So much leaves before the server agrees: it fits in any socket's buffers, so it cannot block on one that refuses."""
RECEIVE_BYTES = 1024 * 1024
"""1 MiB moved 1.3 times what 256 KiB did downwards; sending gains nothing beyond 256 KiB, and loses by sendfile (loopback FTP)."""

_TICKET_MARGIN_S = 30
_SECOND_REPLY_S = 2.0


class DateCommand(enum.Enum):
    """The ways to date a file that FTP servers have."""

    MFMT = "MFMT {time} {path}"
    MDTM = "MDTM {time} {path}"
    UTIME_LONG = "SITE UTIME {path} {time} {time} {time} UTC"
    UTIME_SHORT = "SITE UTIME {time} {path}"


class Facts(msgspec.Struct, kw_only=True):
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

    features: dict[str, str] = msgspec.field(default_factory=dict)
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
        self.final: Reply | None = None
        self.last = Reply(0, "")
        self._ahead: str | None = None

    def start(self, command: str, *, before: Sequence[str] = ()) -> None:
        """Send `before` and a command that moves data, and open its data connection.

        The replies to `before` stand in `early` afterwards, whether the rest succeeded or not. What came of the command
        itself is read later, by `store` or `retrieve`.

        Raises:
            Denied: the server will not open a data connection, or refused the command at once.
        """
        control, facts = self.control, self.facts
        early = self.early = []
        self.final = None
        asked, self._ahead = self._ahead == command, None
        if not asked:
            self._check_ticket()
        if asked or (facts.extended_passive and facts.pipelines):
            # EPSV goes first: its reply leaves the server at once, and the connection is made while the others are held
            # back there until the first has been acknowledged (Nagle's algorithm).
            if not asked:
                control.send(("EPSV", *before, command))
            answer = control.reply()
            if answer.code == 229:
                self._connect(extended_port(answer), due=len(before))
                return
            for _ in before:
                early.append(control.reply())  # noqa: PERF401  # what was read before a failure must not be lost
            # The command was sent all the same; its refusal is due before anything else.
            with contextlib.suppress(Denied):
                self.finish()
            facts.pipelines = False
            if not asked:
                raise Denied(answer)
            # It may have come too early for this server: once more, one after the other.
        for one in before:
            early.append(control.ask(one))  # noqa: PERF401  # as above
        port = self._ask_port()
        control.send((command,))
        self._connect(port)

    def ask_ahead(self, command: str) -> bool:
        """Send the next command that moves data while the last word on the present one is due; `start` goes on from there.

        The server has closed the present data connection, so it is done with it. What it says of it may be held back until
        something from here acknowledges what it said before (Nagle's algorithm): these commands do.

        Returns:
            Whether it was sent: not over TLS, where a server may still be closing, and not once the last word has come.
        """
        facts = self.facts
        if (
            self.context is not None
            or not (facts.extended_passive and facts.pipelines)
            or self.control.has_more
            or self.final is not None
        ):
            return False
        self.control.send(("EPSV", command))
        self._ahead = command
        return True

    def _ask_port(self) -> int:
        facts = self.facts
        if facts.extended_passive is not False:
            reply = self.control.ask("EPSV")
            if reply.code == 229:
                facts.extended_passive = True
                return extended_port(reply)
            if reply.code not in SYNTAX_CODES or self.control.af == socket.AF_INET6:
                raise Denied(reply)
            facts.extended_passive = False
        reply = self.control.ask("PASV")
        if reply.code != 227:
            raise Denied(reply)
        return passive_port(reply)

    def _connect(self, port: int, *, due: int = 0) -> None:
        """Open the data connection, and read the replies that are due to earlier commands."""
        control = self.control
        sock = socket.socket(control.af, socket.SOCK_STREAM)
        self.data = sock
        if self.context is None:
            limit_waiting(sock, control.timeout_s)
        else:
            sock.settimeout(control.timeout_s)
        refused: ConnectionError | None = None
        try:
            sock.connect((control.peer, port))
        except ConnectionError as exc:
            refused = exc
        for _ in range(due):
            self.early.append(control.reply())
        if refused is not None:
            # A command refused at once takes its listening socket along; its reply says why.
            self._explain(refused)

    def _secure_data(self) -> None:
        """Shake hands on the data connection, resuming the control connection's TLS session.

        Called once the server has agreed to the transfer: only then does it begin TLS there.

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

    def store(self, source: Source, on_bytes: Callable[[int], None], *, early: bool = False) -> int:
        """Send all of `source` for the command that was started, and return the count of bytes once 226 confirmed them.

        Args:
            source: read to its end.
            on_bytes: told of each piece.
            early: the content is so small that it may leave before the server has agreed to take it.

        Raises:
            Denied: the server did not take it, or not all of it.
            OwnTrouble: reading failed.
        """
        if not early or self.context is not None:
            self._begin()
        count = 0
        read = self._reader(source)
        while True:
            try:
                block = read()
            except (OSError, TransportError) as exc:
                self.give_up()
                raise OwnTrouble(exc) from exc
            if not block:
                break
            try:
                self._need_data().sendall(block)
            except OSError as exc:
                self._explain(exc)
            count += len(block)
            self._tell(on_bytes, len(block))
        self.end_data()
        self.finish()
        return count

    def _reader(self, source: Source) -> Callable[[], bytes | memoryview]:
        """Return what reads the next block.

        Into a buffer of ours where the source can: that spares a large file a new block of memory for each piece.
        """
        readinto: Callable[[memoryview], int | None] | None = getattr(source, "readinto", None)
        if readinto is None:
            return lambda: source.read(SEND_BYTES)
        buffer = self._own_buffer()[:SEND_BYTES]

        def fill() -> memoryview:
            return buffer[: readinto(buffer) or 0]

        return fill

    def _own_buffer(self) -> memoryview:
        if self.buffer is None:
            self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        return self.buffer

    def retrieve(
        self,
        sink: Sink,
        on_bytes: Callable[[int], None],
        *,
        at_end: Callable[[], None] = lambda: None,
    ) -> int:
        """Pass what comes to `sink` until the server has closed and confirmed, and return the count of bytes.

        Args:
            sink: takes what comes.
            on_bytes: told of each piece.
            at_end: called when all has come, before the server's word on it is read.

        Raises:
            Denied: the server sent nothing, or not all of it.
            OwnTrouble: writing failed.
        """
        # The first reply is awaited: some servers leave the data connection open, and silent, when they refuse.
        self._begin()
        buffer, data = self._own_buffer(), self._need_data()
        count = 0
        while True:
            try:
                size = data.recv_into(buffer)
            except OSError as exc:
                self._explain(exc)
            if not size:
                break
            try:
                sink.write(buffer[:size])
            except (OSError, TransportError) as exc:
                self.give_up_receiving()
                raise OwnTrouble(exc) from exc
            count += size
            self._tell(on_bytes, size)
        self.drop_data()
        at_end()
        self.finish()
        return count

    def _begin(self) -> None:
        """Wait for the server's word that the transfer begins, then secure its connection."""
        reply = self.control.reply()
        if reply.code >= 400:
            self.drop_data()
            raise Denied(reply)
        self.final = reply if reply.code >= 200 else None
        self._secure_data()

    def _need_data(self) -> socket.socket:
        if self.data is None:
            raise EOFError
        return self.data

    def _explain(self, exc: OSError) -> NoReturn:
        """Raise the refusal that made a data connection fail, or `exc` when there was none."""
        self.drop_data()
        self.finish()
        raise exc

    def _tell(self, on_bytes: Callable[[int], None], size: int) -> None:
        try:
            on_bytes(size)
        except BaseException:
            # The listener ends the run; what is half sent is not worth the wait for the server's word on it.
            self.abandon()
            raise

    def abandon(self) -> None:
        """Break both connections at once; safe from another thread, whose call then fails."""
        data = self.data
        self.control.abandon()
        if data is not None:
            with contextlib.suppress(OSError):
                data.shutdown(socket.SHUT_RDWR)

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
        """Return the final reply to the command that moved data.

        Raises:
            Denied: it says that the transfer failed.
        """
        try:
            reply, self.final = self.final, None
            while reply is None or reply.code < 200:
                reply = self.control.reply()
        finally:
            self.drop_data()
        self.last = reply
        if reply.code >= 300:
            raise Denied(reply)
        return reply

    def give_up(self) -> None:
        """End an upload that cannot go on for a reason of ours, and leave the session usable.

        It ends like a whole one: a reset would say more, and left a server without any reply (pyftpdlib 2.2). The file
        stands under a temporary name, so nobody takes it for whole.
        """
        self.drop_data()
        with contextlib.suppress(Denied):
            self.finish()

    def give_up_receiving(self) -> None:
        """End a download that cannot go on for a reason of ours, and leave the session usable.

        ABOR goes first and then the data connection, since a server may answer to the loss of the latter with nothing at
        all (Pure-FTPd 1.0.50). Two replies are due, for the transfer and for ABOR; where only one comes, NOOP's reply
        tells that none is outstanding.
        """
        control = self.control
        if control.has_more or self.final is not None:
            # The server's last word on the transfer has come with its first: there is nothing left to abort.
            self.drop_data()
            with contextlib.suppress(Denied):
                self.finish()
            return
        control.send(("ABOR",))
        self.drop_data()
        with contextlib.suppress(Denied):
            self.finish()
        try:
            with control.waiting(min(_SECOND_REPLY_S, control.timeout_s)):
                control.reply()
        except (BlockingIOError, TimeoutError):
            control.send(("NOOP",))
            while control.reply().code != 200:
                pass

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
