"""The frame of one FTP session: command lines, waiting, login, and the question whether a path may be touched.

Differences to the library below, each with its reason: commands that come while a transfer runs wait for their turn
(clients send several at once); slow work happens on other threads while the session waits; refusals say why.
"""

import contextlib
import errno
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from iqdata.errors import UnsafePath
from iqdata.paths import RelPath
from iqdata.server import listing
from iqdata.server.data import SpaceData, SpaceListener
from iqdata.server.ftp import AbstractedFS, FTPHandler
from iqdata.server.happenings import What
from iqdata.server.jail import Jail, StoredFile
from iqdata.server.permissions import Act, Standing, refusal

if TYPE_CHECKING:
    from iqdata.server.app import Space

_MOST_LINE_BYTES = 16 * 1024
_MOST_FLOOD_BYTES = 1024 * 1024
_MOST_WAITING = 4096
_PORT_TRIES = 20
_BEFORE_LOGIN_S = 60
_HASHES = {"SHA-256": "sha256", "SHA-1": "sha1", "MD5": "md5"}
_LIST_OPTIONS = re.compile(r"^(-[a-zA-Z1]+( +|$))+")  # clients send options of `ls`
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AT_ONCE = (b"ABOR", b"STAT")


def _command(perm: str | None, usage: str, *, arg: bool | None = True) -> dict[str, object]:
    return {"perm": perm, "auth": True, "arg": arg, "help": f"Syntax: {usage}"}


MORE_COMMANDS = {
    "HASH": _command("l", "HASH <SP> path (hash of a file's content)."),
    "XSHA256": _command("l", "XSHA256 <SP> path (SHA-256 of a file)."),
    "XSHA1": _command("l", "XSHA1 <SP> path (SHA-1 of a file)."),
    "XMD5": _command("l", "XMD5 <SP> path (MD5 of a file)."),
    "SITE EXTRACT-STATUS": _command("l", "SITE EXTRACT-STATUS <SP> path (what became of an archive)."),
}


class VirtualPaths(AbstractedFS):  # type: ignore[misc]  # pyftpdlib ships no types
    """Paths as the session sees them; everything that would touch the disk by a path is the jail's."""

    def __init__(self, cmd_channel: Any) -> None:
        super().__init__("/", cmd_channel)

    def ftp2fs(self, ftppath: str) -> str:
        """Return the absolute virtual path."""
        path: str = self.ftpnorm(ftppath)
        return path

    def fs2ftp(self, fspath: str) -> str:
        """Return the same: there is no other kind of path here."""
        return fspath

    def validpath(self, path: str) -> bool:
        """Leave the question to the jail."""
        return True


class _Everyone:
    """The authorizer that the library wants; `permissions` decides, command by command."""

    def has_perm(self, username: str, perm: str, path: str | None = None) -> bool:
        return True

    def get_msg_quit(self, username: str) -> str:
        return "Goodbye."

    def impersonate_user(self, username: str, password: str) -> None: ...

    def terminate_impersonation(self, username: str) -> None: ...


class Session(FTPHandler):  # type: ignore[misc]  # pyftpdlib ships no types
    """One control connection."""

    space: ClassVar["Space"]

    # What the library keeps for itself and is used here.
    _in_buffer: list[bytes]
    _in_buffer_len: int
    _in_dtp_queue: Any
    _out_dtp_queue: Any
    _idler: Any
    _restart_position: int
    attempted_logins: int

    dtp_handler = SpaceData
    passive_dtp = SpaceListener
    authorizer = _Everyone()
    proto_cmds: ClassVar[dict[str, dict[str, object]]] = {**FTPHandler.proto_cmds, **MORE_COMMANDS}
    banner = "iqdata space ready."
    unicode_errors = "surrogateescape"
    timeout = _BEFORE_LOGIN_S
    ac_in_buffer_size = 64 * 1024

    def __init__(self, conn: Any, server: Any, ioloop: Any = None) -> None:
        self.standing: Standing | None = None
        self.jail: Jail | None = None
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._transferring = False
        self._overflow_bytes = 0
        self._hash = "SHA-256"
        self.receiving: StoredFile | None = None
        super().__init__(conn, server, ioloop)
        self._extra_feats += ["HASH SHA-256*;SHA-1;MD5", "XSHA256", "XSHA1", "XMD5", "SITE EXTRACT-STATUS"]
        self._current_facts = list(listing.FACTS)
        self._available_facts = list(listing.FACTS)

    # --- what the library says is said in the audit log instead

    def log(self, msg: str, logfun: object = None) -> None:
        """Say nothing."""

    logline = log

    def log_cmd(self, cmd: str, arg: str, respcode: int, respstr: str) -> None:
        """Say nothing."""

    def log_transfer(self, **_kwargs: object) -> None:
        """Say nothing: `on_file_received` and its like do."""

    def log_exception(self, instance: object) -> None:
        """Record a mistake of ours."""
        self.space.note_error(f"session of {self.username or 'nobody'}")

    def push(self, data: str) -> None:
        """Send a reply; names that are no UTF-8 leave as they came."""
        self.push_bytes(data.encode("utf-8", "surrogateescape"))

    def push_bytes(self, data: bytes) -> None:
        """Send bytes on the control connection."""
        super(FTPHandler, self).push(data)

    # --- command lines

    def collect_incoming_data(self, data: bytes) -> None:
        """Gather a line; one that is too long is dropped whole and answered once."""
        if self._overflow_bytes or self._in_buffer_len + len(data) > _MOST_LINE_BYTES:
            self._overflow_bytes += self._in_buffer_len + len(data)
            self._in_buffer, self._in_buffer_len = [], 0
            if self._overflow_bytes > _MOST_FLOOD_BYTES:
                self.respond("421 Command too long; closing.")
                self.close_when_done()
            return
        self._in_buffer.append(data)
        self._in_buffer_len += len(data)

    def found_terminator(self) -> None:
        """Take a line: now, or when the one before it is done."""
        if self._idler is not None and not self._idler.cancelled:
            self._idler.reset()
        line = b"".join(self._in_buffer)
        self._in_buffer, self._in_buffer_len = [], 0
        if self._overflow_bytes:
            self._overflow_bytes = 0
            self.respond("500 Command too long.")
            return
        if (self._waiting or self._is_busy()) and line[-4:].upper() not in _AT_ONCE:
            if len(self._waiting) >= _MOST_WAITING:
                self.respond("421 Too many commands at once; closing.")
                self.close_when_done()
                return
            self._waiting.append(line)
            return
        self._take_line(line)

    def _take_line(self, raw: bytes) -> None:
        # Telnet's own signs may precede ABOR; they are no part of the command.
        line = raw.decode("utf-8", "surrogateescape") if raw[:1] < b"\xf0" else raw[-4:].decode("latin-1")
        command = line.partition(" ")[0].upper()
        if _CONTROL.search(line):
            self.respond("501 Control characters are not accepted.")
            return
        argument = line[len(command) + 1 :]
        if command in ("LIST", "NLST"):
            argument = _LIST_OPTIONS.sub("", argument, count=1)
        self.pre_process_command(line, command, argument)

    def _is_busy(self) -> bool:
        if self._paused:
            return True
        if not self._transferring:
            return False
        if self.data_channel is not None:
            return True
        waiting = self._dtp_acceptor or self._dtp_connector
        if waiting is not None and not waiting._closed:
            return True
        self._give_up_transfer()
        return False

    def _give_up_transfer(self) -> None:
        """The data connection never came: let go of what was opened for it."""
        self._transferring = False
        self.stop_receiving()
        for queue in (self._in_dtp_queue, self._out_dtp_queue):
            for part in queue or ():
                if isinstance(part, StoredFile):
                    part.close()
        self._in_dtp_queue = self._out_dtp_queue = None

    def stop_receiving(self) -> None:
        """Let go of the file that was being received, whatever ended that."""
        file, self.receiving = self.receiving, None
        if file is not None:
            file.close()
            if self.jail is not None:
                self.space.received(self.jail.home, file)

    def _drain(self) -> None:
        while self._waiting and not self._closed and not self._is_busy():
            self._take_line(self._waiting.popleft())

    def _offload(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have `work` done on another thread and go on with `then`; lines that come meanwhile wait."""
        self._paused = True

        def back(result: Any) -> None:
            if self._closed:
                return
            self._paused = False
            try:
                if isinstance(result, BaseException):
                    raise result
                then(result)
            except Exception:  # noqa: BLE001  one session's failure must not end the loop
                self.handle_error()
                return
            self._drain()

        self.space.offload(work, back)

    def _make_epasv(self, extmode: bool = False) -> None:  # noqa: FBT001, FBT002  the library's signature
        """Listen for a data connection; a machine that is out of ports says so, and the session goes on."""
        for _ in range(_PORT_TRIES):
            try:
                super()._make_epasv(extmode)
                return
            except OSError as exc:
                if exc.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                    raise
        self.respond("425 No port is free for a data connection; try again.")

    # --- life

    def handle(self) -> None:
        """Greet, or turn away an address that guesses passwords."""
        if self.space.is_banned(self.remote_ip):
            self.space.note(What.TURNED_AWAY, address=self.remote_ip, detail="banned after failed logins")
            self.respond("421 Too many failed logins from this address; try again later.")
            self.close_when_done()
            return
        super().handle()

    def handle_max_cons(self) -> None:
        """Turn away: the space is full."""
        self.space.note(What.TURNED_AWAY, address=self.remote_ip, detail="too many connections")
        super().handle_max_cons()

    def handle_max_cons_per_ip(self) -> None:
        """Turn away: this address has enough connections."""
        self.space.note(
            What.TURNED_AWAY, address=self.remote_ip, detail="too many connections from this address"
        )
        super().handle_max_cons_per_ip()

    def close(self) -> None:
        """End the session."""
        if self._closed:
            return
        super().close()
        self._waiting.clear()
        self.stop_receiving()
        self._leave()

    def _leave(self) -> None:
        if self.jail is not None:
            self.jail.close()
            self.jail = None
        if self.standing is not None:
            self.space.left(self, self.standing.team)
            self.standing = None

    def flush_account(self) -> None:
        """Forget who is logged in."""
        super().flush_account()
        self._leave()

    # --- login

    def ftp_PASS(self, line: str) -> None:
        """Check the password on another thread."""
        if self.authenticated:
            self.respond("503 User already authenticated.")
            return
        if not self.username:
            self.respond("503 Login with USER first.")
            return
        name, address = self.username, self.remote_ip
        self._offload(
            lambda: self.space.admit(name, line), lambda standing: self._after_check(standing, name, address)
        )

    def _after_check(self, standing: Standing | None, name: str, address: str) -> None:
        if standing is None:
            delay_s, banned = self.space.login_failed(address, name)
            self.attempted_logins += 1
            self.username = ""
            self._paused = True
            self.ioloop.call_later(delay_s, self._say_wrong, banned, _errback=self.handle_error)
            return
        reason = self.space.entered(self, standing)
        if reason is not None:
            self.respond(f"421 {reason}")
            self.close_when_done()
            return
        self.standing = standing
        self.jail = Jail(self.space.home_of(standing.team))
        self.fs = VirtualPaths(self)
        self.authenticated = True
        self.attempted_logins = 0
        self.timeout = self.space.idle_timeout_s
        if self._idler is not None and not self._idler.cancelled:
            self._idler.cancel()
        self._idler = self.ioloop.call_later(self.timeout, self.handle_timeout, _errback=self.handle_error)
        self.space.note(What.LOGIN, team=standing.team, address=address)
        self.respond("230 Welcome: train_data/ is yours, group_data/ your group's.")

    def _say_wrong(self, banned: bool) -> None:  # noqa: FBT001  called by the library's timer
        if self._closed:
            return
        self._paused = False
        if banned or self.attempted_logins >= self.max_login_attempts:
            self.respond("530 Login incorrect. Disconnecting.")
            self.close_when_done()
            return
        self.respond("530 Login incorrect.")
        self._drain()

    # --- paths

    def _may(self, act: Act, path: str) -> RelPath | None:
        """Return the path in the home if this is allowed, else answer and return None."""
        text = path[1:]
        try:
            relative = RelPath.parse(text) if text else RelPath("")
        except UnsafePath as exc:
            self.respond(f"553 {exc}.")
            return None
        if self.standing is None:
            self.respond("530 Log in with USER and PASS first.")
            return None
        why = refusal(self.standing, act, relative)
        if why is not None:
            self.space.note(
                What.REFUSED,
                team=self.standing.team,
                address=self.remote_ip,
                path=text,
                outcome="refused",
                detail=why,
            )
            self.respond(f"550 {why}.")
            return None
        return relative

    @contextlib.contextmanager
    def _answering(self) -> Any:
        """Turn what the disk says into a reply."""
        try:
            yield self.jail
        except OSError as exc:
            code = {errno.ENOSPC: 452, errno.EDQUOT: 552, errno.EMFILE: 451, errno.ENFILE: 451}.get(
                exc.errno or 0, 550
            )
            text = {errno.ELOOP: "A link stands in the way", errno.EXDEV: "That would leave the space"}.get(
                exc.errno or 0
            )
            self.respond(f"{code} {text or exc.strerror or 'Failed'}.")
        except UnsafePath as exc:
            self.respond(f"553 {exc}.")


def quoted(path: str) -> str:
    """Return a path as replies quote it: a quotation mark is doubled (RFC 959)."""
    return path.replace('"', '""')
