"""One FTP session of the space: the commands, on top of pyftpdlib's sockets and replies.

Differences to the library, each with its reason: commands that come while a transfer runs wait for their turn (clients
send several at once), files are reached through the jail only, refusals say why, hashes and passwords are worked out on
other threads while the session waits, and what is uploaded or renamed goes to the extraction queue.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from iqdata.errors import UnsafePath
from iqdata.paths import RelPath, check_name
from iqdata.rules import tool_for
from iqdata.server import listing
from iqdata.server.data import SecureSpaceData, SpaceData
from iqdata.server.ftp import AbstractedFS, FTPHandler, TLS_FTPHandler
from iqdata.server.happenings import What
from iqdata.server.jail import Jail, StoredFile
from iqdata.server.jobs import Trigger
from iqdata.server.permissions import Act, Standing, refusal

if TYPE_CHECKING:
    from iqdata.server.app import Space

_MOST_LINE_BYTES = 16 * 1024
_MOST_FLOOD_BYTES = 1024 * 1024
_MOST_WAITING = 4096
_BEFORE_LOGIN_S = 60
_HASHES = {"SHA-256": "sha256", "SHA-1": "sha1", "MD5": "md5"}
_LIST_OPTIONS = re.compile(r"^(-[a-zA-Z1]+( +|$))+")  # clients send options of `ls`
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AT_ONCE = (b"ABOR", b"STAT")


def _command(perm: str | None, usage: str, *, arg: bool | None = True) -> dict[str, object]:
    return {"perm": perm, "auth": True, "arg": arg, "help": f"Syntax: {usage}"}


_MORE_COMMANDS = {
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


class SpaceSession(FTPHandler):  # type: ignore[misc]  # pyftpdlib ships no types
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
    authorizer = _Everyone()
    proto_cmds: ClassVar[dict[str, dict[str, object]]] = {**FTPHandler.proto_cmds, **_MORE_COMMANDS}
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
        self._receiving: RelPath | None = None
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
        self._receiving = None
        for queue in (self._in_dtp_queue, self._out_dtp_queue):
            for part in queue or ():
                if isinstance(part, StoredFile):
                    part.close()
        self._in_dtp_queue = self._out_dtp_queue = None

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

    # --- looking

    def ftp_CWD(self, path: str) -> None:
        """Enter a folder."""
        relative = self._may(Act.LOOK, path)
        if relative is None:
            return
        with self._answering() as jail:
            if not stat.S_ISDIR(jail.stat(relative).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self.fs.cwd = path
            self.respond(f'250 "{_quoted(path)}" is the current directory.')

    def ftp_PWD(self, line: str) -> None:
        """Say which folder is the current one."""
        self.respond(f'257 "{_quoted(self.fs.cwd)}" is the current directory.')

    def ftp_SIZE(self, path: str) -> None:
        """Say how large a file is."""
        if self._current_type == "a":
            self.respond("550 SIZE not allowed in ASCII mode.")
            return
        found = self._file_at(path)
        if found is not None:
            self.respond(f"213 {found.st_size}")

    def ftp_MDTM(self, path: str) -> None:
        """Say when a file was modified."""
        found = self._file_at(path)
        if found is not None:
            self.respond(f"213 {listing.utc_stamp(found.st_mtime)}")

    def _file_at(self, path: str) -> os.stat_result | None:
        relative = self._may(Act.LOOK, path)
        if relative is None:
            return None
        with self._answering() as jail:
            found: os.stat_result = jail.stat(relative)
            if stat.S_ISREG(found.st_mode):
                return found
            self.respond("550 Not a plain file.")
        return None

    def ftp_MLST(self, path: str) -> None:
        """Describe one entry."""
        relative = self._may(Act.LOOK, path)
        if relative is None or self.standing is None:
            return
        with self._answering() as jail:
            found = jail.stat(relative)
            perms = listing.perms_of(self.standing, relative, found.st_mode)
            facts = listing.facts_of(found, perms, tuple(self._current_facts))
            self.push(f"250-Listing {path}\r\n {facts} {path}\r\n")
            self.respond("250 End MLST.")

    def ftp_MLSD(self, path: str) -> None:
        """List a folder with exact facts; a missing one is 550, since clients take 501 for a broken server."""
        relative = self._may(Act.LOOK, path)
        if relative is not None and self.standing is not None:
            self._send_listing(
                relative, listing.mlsd_line(self.standing, relative, tuple(self._current_facts)), "MLSD"
            )

    def ftp_LIST(self, path: str) -> None:
        """List a folder for people."""
        relative = self._may(Act.LOOK, path)
        if relative is not None:
            self._send_listing(relative, listing.list_line(time.time()), "LIST")

    def ftp_NLST(self, path: str) -> None:
        """List names."""
        relative = self._may(Act.LOOK, path)
        if relative is not None:
            self._send_listing(relative, listing.name_line, "NLST")

    def _send_listing(self, path: RelPath, line_of: listing.LineOf, command: str) -> None:
        if not self._has_data_connection():
            return
        with self._answering() as jail:
            found = jail.stat(path)
            if stat.S_ISDIR(found.st_mode):
                producer = listing.Lines(jail.open_folder(path), line_of)
                self._transferring = True
                self.push_dtp_data(producer, isproducer=True, cmd=command)
            elif command == "MLSD":
                self.respond("501 Not a folder.")
            else:
                self._transferring = True
                self.push_dtp_data(line_of(path.name, found).encode("utf-8", "surrogateescape"), cmd=command)

    def ftp_STAT(self, path: str) -> None:
        """Say how the session stands; listings go over data connections only."""
        if path:
            self.respond("502 Use LIST or MLSD.")
        else:
            super().ftp_STAT(path)

    # --- transfers

    def _has_data_connection(self) -> bool:
        if self.data_channel or self._dtp_acceptor or self._dtp_connector:
            return True
        self.respond("425 Use PASV, EPSV, PORT or EPRT first.")
        return False

    def ftp_RETR(self, path: str) -> None:
        """Send a file."""
        offset, self._restart_position = self._restart_position, 0
        relative = self._may(Act.READ, path)
        if relative is None or not self._has_data_connection():
            return
        with self._answering() as jail:
            file = jail.open_read(relative)
            if offset > os.fstat(file.fileno()).st_size:
                file.close()
                self.respond("554 The restart position lies behind the end.")
                return
            file.seek(offset)
            self._transferring = True
            self.push_dtp_data(_Content(file, self._current_type), isproducer=True, file=file, cmd="RETR")

    def ftp_STOR(self, path: str, mode: str = "w") -> None:
        """Receive a file."""
        offset, self._restart_position = self._restart_position, 0
        relative = self._may(Act.WRITE, path)
        if relative is None or not self._has_data_connection():
            return
        if not self.space.may_begin_upload(self.home_key):
            self._over_quota(relative)
            return
        with self._answering() as jail:
            if mode == "a" or offset:
                file = jail.open_existing(relative, append=mode == "a")
                if offset:
                    size = os.fstat(file.fileno()).st_size
                    if offset > size:
                        file.close()
                        self.respond("554 The restart position lies behind the end.")
                        return
                    file.truncate(offset)
                    file.seek(offset)
                    self.space.give_back(self.home_key, size - offset)
            else:
                freed = _size_there(jail, relative) if self.space.has_quotas else 0
                file = jail.open_new(relative)
                self.space.give_back(self.home_key, freed)
            if tool_for(relative):
                # Whatever waits under this name is no longer what was uploaded then.
                self.space.extractor.announce(jail.home, relative)
            self._begin_receiving(
                file, "APPE" if mode == "a" else "STOR", "File status okay; about to open data connection."
            )

    def ftp_STOU(self, line: str) -> None:
        """Receive a file under a name that nobody has."""
        if self._restart_position:
            self.respond("450 STOU cannot be restarted.")
            return
        relative = self._may(Act.WRITE, self.fs.ftp2fs(line or "upload"))
        if relative is None or not self._has_data_connection():
            return
        with self._answering() as jail:
            # The token goes first: a name that ends in .zip keeps its rule.
            token = secrets.token_hex(6)
            name = check_name(f"{token}-{relative.name}" if line else f"{token}")
            file = jail.open_unique(relative.parent, "", name)
            self._begin_receiving(file, "STOU", f"FILE: {name}")

    def _begin_receiving(self, file: StoredFile, command: str, text: str) -> None:
        self._transferring = True
        self._receiving = file.path
        if self.data_channel is not None:
            self.respond(f"125 {text}")
            self.data_channel.file_obj = file
            self.data_channel.enable_receiving(self._current_type, command)
        else:
            self.respond(f"150 {text}")
            self._in_dtp_queue = (file, command)

    def ftp_APPE(self, path: str) -> None:
        """Receive more of a file."""
        if self._restart_position:
            self.respond("450 APPE cannot be restarted.")
        else:
            self.ftp_STOR(path, mode="a")

    def is_receiving(self, home: Any, path: RelPath) -> bool:
        """Tell whether this session is writing that file."""
        return self._receiving == path and self.home_key == home

    @property
    def home_key(self) -> Any:
        """The home, as the quota knows it."""
        return self.jail.home if self.jail is not None else None

    def draw(self, size_bytes: int) -> bool:
        """Count bytes that arrive; False when the team may not hold them."""
        return self.space.take(self.home_key, size_bytes)

    def _over_quota(self, path: RelPath) -> None:
        self.respond("552 Over the team's quota.")
        self._note_transfer(What.UPLOAD, path, 0, "over-quota")
        self._say_refused_archive(path)

    def _say_refused_archive(self, path: RelPath) -> None:
        if self.jail is not None and tool_for(path):
            self.space.extractor.refuse(
                self.jail.home, path, "the upload went over the team's quota; nothing was kept"
            )

    def _on_dtp_close(self) -> None:
        """Go on with what waited for the end of the transfer."""
        self._transferring = False
        self._receiving = None
        super()._on_dtp_close()
        if self._waiting and not self._closed:
            self._drain()

    def _note_transfer(self, what: What, path: RelPath, size_bytes: int, outcome: str = "ok") -> None:
        team = self.standing.team if self.standing else self.username
        elapsed = self.data_channel.get_elapsed_time() if self.data_channel is not None else None
        self.space.note(
            what,
            team=team,
            address=self.remote_ip,
            path=path,
            size_bytes=size_bytes,
            elapsed_s=round(elapsed, 3) if elapsed is not None else None,
            outcome=outcome,
        )

    def _moved_bytes(self) -> int:
        return int(self.data_channel.get_transmitted_bytes()) if self.data_channel is not None else 0

    def on_file_received(self, file: RelPath) -> None:
        """An upload ended."""
        self._note_transfer(What.UPLOAD, file, self._moved_bytes())
        self._extract_upload(file)

    def _extract_upload(self, file: RelPath) -> None:
        """Queue what was uploaded, unless somebody else is putting another file in its place already."""
        if self.jail is None or tool_for(file) is None:
            return
        if not self.space.is_being_uploaded(self.jail.home, file, but_by=self):
            self.space.extractor.submit(self.jail.home, file, trigger=Trigger.UPLOAD)

    def on_incomplete_file_received(self, file: RelPath) -> None:
        """An upload was cut off.

        What has arrived stays, so that it can be resumed, and the rules run as after any upload: to plain FTP a client
        that died looks the same as one that finished, and other servers cannot tell either. Only what the quota or a
        full disk ended is removed.
        """
        failure = getattr(self.data_channel, "failure", None) or "aborted"
        moved = self._moved_bytes()
        if failure in ("over-quota", "disk-full"):
            with contextlib.suppress(OSError):
                if self.jail is not None:
                    self.space.give_back(self.jail.home, self.jail.remove_file(file))
            self._note_transfer(What.UPLOAD, file, moved, failure)
            if failure == "over-quota":
                self._say_refused_archive(file)
            return
        self._note_transfer(What.UPLOAD, file, moved, failure)
        self._extract_upload(file)

    def on_file_sent(self, file: RelPath) -> None:
        """A download ended."""
        self._note_transfer(What.DOWNLOAD, file, self._moved_bytes())

    def on_incomplete_file_sent(self, file: RelPath) -> None:
        """A download was cut off."""
        self._note_transfer(What.DOWNLOAD, file, self._moved_bytes(), "aborted")

    # --- changing

    def ftp_MKD(self, path: str) -> None:
        """Make a folder."""
        relative = self._may(Act.MAKE, path)
        if relative is None:
            return
        with self._answering() as jail:
            jail.make_folder(relative)
            self._note_change(What.MAKE_FOLDER, relative)
            self.respond(f'257 "{_quoted(path)}" directory created.')

    def ftp_RMD(self, path: str) -> None:
        """Remove an empty folder."""
        relative = self._may(Act.DELETE, path)
        if relative is None:
            return
        with self._answering() as jail:
            jail.remove_folder(relative)
            self._note_change(What.REMOVE_FOLDER, relative)
            self.respond("250 Directory removed.")

    def ftp_DELE(self, path: str) -> None:
        """Delete a file."""
        relative = self._may(Act.DELETE, path)
        if relative is None:
            return
        with self._answering() as jail:
            self.space.give_back(jail.home, jail.remove_file(relative))
            self._note_change(What.DELETE, relative)
            self.respond("250 File removed.")

    def ftp_RNFR(self, path: str) -> None:
        """Take the old name of a rename."""
        self._rnfr = None
        relative = self._may(Act.MOVE_FROM, path)
        if relative is None:
            return
        with self._answering() as jail:
            jail.stat(relative, follow=False)
            self._rnfr = relative
            self.respond("350 Ready for destination name.")

    def ftp_RNTO(self, path: str) -> None:
        """Rename; a plain file whose new name matches a rule is extracted, a folder never is."""
        source, self._rnfr = self._rnfr, None
        if source is None:
            self.respond("503 Bad sequence of commands: use RNFR first.")
            return
        target = self._may(Act.MOVE_TO, path)
        if target is None:
            return
        with self._answering() as jail:
            moved = jail.stat(source, follow=False)
            freed = _size_there(jail, target) if self.space.has_quotas and source != target else 0
            jail.rename(source, target)
            self.space.give_back(jail.home, freed)
            self.space.note(
                What.RENAME, team=self.username, address=self.remote_ip, path=source, target=target
            )
            if stat.S_ISREG(moved.st_mode):
                self.space.extractor.submit(jail.home, target, trigger=Trigger.RENAME, source=source)
            self.respond("250 Renaming ok.")

    def ftp_MFMT(self, path: str, timeval: str) -> None:
        """Date a file or folder."""
        relative = self._may(Act.WRITE, path)
        if relative is None:
            return
        try:
            moment = datetime.strptime(timeval, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            self.respond("501 The time must be YYYYMMDDHHMMSS, UTC.")
            return
        with self._answering() as jail:
            mtime_ns = int(moment.timestamp()) * 1_000_000_000
            jail.set_mtime(relative, mtime_ns)
            if tool_for(relative):
                self.space.extractor.redated(jail.home, relative, mtime_ns)
            self.respond(f"213 Modify={timeval}; {path}")

    def ftp_SITE_CHMOD(self, path: str, mode: str) -> None:
        """Set permission bits."""
        relative = self._may(Act.WRITE, path)
        if relative is None:
            return
        if not re.fullmatch(r"[0-7]{3,4}", mode):
            self.respond("501 The mode must be three octal digits.")
            return
        with self._answering() as jail:
            jail.set_mode(relative, int(mode, 8))
            self.respond("200 SITE CHMOD successful.")

    def _note_change(self, what: What, path: RelPath) -> None:
        self.space.note(what, team=self.username, address=self.remote_ip, path=path)

    # --- what other servers lack

    def ftp_OPTS(self, line: str) -> None:
        """Choose facts of MLSD, or the hash of HASH."""
        verb, _, value = line.partition(" ")
        if verb.upper() == "HASH":
            if value.upper() in _HASHES:
                self._hash = value.upper()
            elif value:
                self.respond("501 Unknown hash; SHA-256, SHA-1 and MD5 are offered.")
                return
            self.respond(f"200 {self._hash}")
        else:
            super().ftp_OPTS(line)

    def ftp_HASH(self, path: str) -> None:
        """Say the hash of a file's content, as chosen by OPTS HASH."""
        name = self._hash
        self._send_hash(path, _HASHES[name], lambda size, digest: f"213 {name} 0-{size} {digest} {path}")

    def ftp_XSHA256(self, path: str) -> None:
        """Say the SHA-256 of a file's content."""
        self._send_hash(path, "sha256", lambda _size, digest: f"250 {digest}")

    def ftp_XSHA1(self, path: str) -> None:
        """Say the SHA-1 of a file's content."""
        self._send_hash(path, "sha1", lambda _size, digest: f"250 {digest}")

    def ftp_XMD5(self, path: str) -> None:
        """Say the MD5 of a file's content."""
        self._send_hash(path, "md5", lambda _size, digest: f"250 {digest}")

    def _send_hash(self, path: str, algorithm: str, reply: Callable[[int, str], str]) -> None:
        relative = self._may(Act.READ, path)
        if relative is None:
            return
        with self._answering() as jail:
            file = jail.open_read(relative)
            self._offload(lambda: _digest(file, algorithm), lambda answer: self.respond(reply(*answer)))

    def ftp_SITE_EXTRACT_STATUS(self, path: str) -> None:
        """Say what became of an archive: waiting, running, done or unknown, and its last line of the log."""
        relative = self._may(Act.LOOK, path)
        if relative is not None and self.jail is not None:
            self.respond(f"213 {self.space.extraction_status(self.jail.home, relative)}")

    def process_command(self, cmd: str, *args: Any, **kwargs: Any) -> None:
        """Call the method of a command."""
        super().process_command(cmd.replace("-", "_"), *args, **kwargs)


class SecureSpaceSession(SpaceSession, TLS_FTPHandler):  # type: ignore[misc]  # pyftpdlib ships no types
    """One control connection that may be encrypted."""

    dtp_handler = SecureSpaceData
    proto_cmds: ClassVar[dict[str, dict[str, object]]] = {**TLS_FTPHandler.proto_cmds, **_MORE_COMMANDS}


class _Content:
    """A file as the library wants it for sending; binary leaves by sendfile, so `more` serves text and encryption."""

    buffer_size = 256 * 1024

    def __init__(self, file: StoredFile, kind: str) -> None:
        self.file = file
        self._as_text = kind == "a"

    def more(self) -> bytes:
        """Return the next piece."""
        block = self.file.read(self.buffer_size) or b""
        # Text leaves with the line ends of the network (RFC 959); a carriage return already there stays single.
        return block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if self._as_text else block


def _digest(file: StoredFile, algorithm: str) -> tuple[int, str]:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    with file:
        while block := file.read(1024 * 1024):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _size_there(jail: Jail, path: RelPath) -> int:
    try:
        found = jail.stat(path, follow=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else 0


def _quoted(path: str) -> str:
    return path.replace('"', '""')
