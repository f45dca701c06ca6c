"""An FTP server that says what a test tells it to, right or wrong: for servers that nobody would ship."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from iqdata.location import Location

Handler = Callable[["Conversation", str], None]


def _listen(host: str) -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


class Conversation:
    """One control connection, with a data connection when one was asked for."""

    def __init__(self, sock: socket.socket, script: dict[str, Handler | str | bytes]) -> None:
        self.sock = sock
        self.script = script
        self.received = b""
        self.commands: list[str] = []
        self.listener: socket.socket | None = None
        self.files: dict[str, bytes] = {}

    def say(self, reply: str | bytes) -> None:
        """Send a reply."""
        self.sock.sendall(reply if isinstance(reply, bytes) else reply.encode() + b"\r\n")

    def passive(self) -> int:
        """Listen for a data connection and return the port."""
        if self.listener is not None:
            self.listener.close()
        self.listener = _listen(self.sock.getsockname()[0])
        self.listener.settimeout(2)
        return int(self.listener.getsockname()[1])

    def data(self) -> socket.socket:
        """Accept the data connection."""
        assert self.listener is not None
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        self.listener.close()
        self.listener = None
        return connection

    def deliver(self, content: bytes, *, final: str = "226 Done.") -> None:
        """Send content over a data connection."""
        self.say("150 Here it comes.")
        with self.data() as data, contextlib.suppress(OSError):
            data.sendall(content)
        self.say(final)

    def run(self) -> None:
        """Serve until the client is gone."""
        self.answer("<greeting>", "")
        while (line := self.line()) is not None:
            self.commands.append(line)
            verb, _, argument = line.partition(" ")
            if verb == "QUIT":
                return
            self.answer(verb, argument)

    def line(self) -> str | None:
        """Return the next command."""
        while b"\r\n" not in self.received:
            piece = self.sock.recv(4096)
            if not piece:
                return None
            self.received += piece
        line, _, self.received = self.received.partition(b"\r\n")
        return line.decode("utf-8", "surrogateescape")

    def answer(self, verb: str, argument: str) -> None:
        """Do what the script says, else what a plain server does."""
        act = self.script.get(verb, USUAL.get(verb, "500 Unknown."))
        if callable(act):
            act(self, argument)
        else:
            self.say(act)


def _epsv(talk: Conversation, _argument: str) -> None:
    talk.say(f"229 Entering Extended Passive Mode (|||{talk.passive()}|)")


def _stor(talk: Conversation, argument: str) -> None:
    talk.say("150 Send it.")
    content = b""
    with talk.data() as data:
        while piece := data.recv(65536):
            content += piece
    talk.files[argument] = content
    talk.say("226 Got it.")


def _rnto(talk: Conversation, argument: str) -> None:
    source = next(line[5:] for line in reversed(talk.commands) if line.startswith("RNFR "))
    if source in talk.files:
        talk.files[argument] = talk.files.pop(source)
    talk.say("250 Renamed.")


def _dele(talk: Conversation, argument: str) -> None:
    talk.say("250 Deleted." if talk.files.pop(argument, None) is not None else "550 No such file.")


def _size(talk: Conversation, argument: str) -> None:
    talk.say(f"213 {len(talk.files[argument])}" if argument in talk.files else "550 No such file.")


def _mlsd(talk: Conversation, _argument: str) -> None:
    talk.deliver(
        b"".join(
            f"type=file;size={len(content)};modify=20260101000000; {name.rpartition('/')[2]}\r\n".encode()
            for name, content in talk.files.items()
        )
    )


def _retr(talk: Conversation, argument: str) -> None:
    if argument in talk.files:
        talk.deliver(talk.files[argument])
    else:
        talk.say("550 No such file.")


def mlsd_of(*lines: bytes, final: str = "226 Done.") -> Handler:
    """Return a handler that answers MLSD (or LIST) with these lines."""
    return lambda talk, _argument: talk.deliver(b"".join(line + b"\r\n" for line in lines), final=final)


USUAL: dict[str, Handler | str | bytes] = {
    "<greeting>": "220 Hello.",
    "USER": "331 Password?",
    "PASS": "230 In.",
    "FEAT": "211-Features:\r\n EPSV\r\n MLST type*;size*;modify*;\r\n MFMT\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n UTF8\r\n211 End",
    "TYPE": "200 Binary.",
    "OPTS": "200 Fine.",
    "EPSV": _epsv,
    "MLSD": _mlsd,
    "MLST": "550 No such file.",
    "CWD": "250 There.",
    "RETR": _retr,
    "STOR": _stor,
    "SIZE": _size,
    "RNFR": "350 To what?",
    "RNTO": _rnto,
    "DELE": _dele,
    "MFMT": "213 Dated.",
    "MDTM": "550 No such file.",
    "MKD": "257 Made.",
    "NOOP": "200 Nothing.",
    "ABOR": "226 Aborted.",
}


class Scripted:
    """The server."""

    def __init__(self, script: dict[str, Handler | str | bytes], host: str) -> None:
        self.script = script
        self.host = host
        self.conversations: list[Conversation] = []
        self._server = _listen(host)
        self._stopping = False
        self._threads: list[threading.Thread] = []

    @property
    def location(self) -> Location:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return Location.parse(f"ftp://team@{host}:{self._server.getsockname()[1]}/")

    def _accept(self) -> None:
        while not self._stopping:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            sock.settimeout(20)
            talk = Conversation(sock, self.script)
            self.conversations.append(talk)
            thread = threading.Thread(target=self._serve, args=(talk,), daemon=True)
            self._threads.append(thread)
            thread.start()

    @staticmethod
    def _serve(talk: Conversation) -> None:
        with contextlib.suppress(OSError):
            talk.run()
        talk.sock.close()
        if talk.listener is not None:
            talk.listener.close()

    @contextlib.contextmanager
    def running(self) -> Iterator["Scripted"]:
        """Serve inside the block."""
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopping = True
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            for talk in self.conversations:
                with contextlib.suppress(OSError):
                    talk.sock.shutdown(socket.SHUT_RDWR)
            for one in (thread, *self._threads):
                one.join(10)


@contextlib.contextmanager
def scripted(
    script: dict[str, Handler | str | bytes] | None = None, *, host: str = "127.0.0.1"
) -> Iterator[Scripted]:
    """Run a server with these answers instead of the usual ones."""
    with Scripted(script or {}, host).running() as server:
        yield server
