"""Commands that carry content: RETR, STOR, APPE, STOU, and what follows an upload."""

import contextlib
import os
import secrets
from typing import Any

from iqdata.paths import RelPath, check_name
from iqdata.rules import tool_for
from iqdata.server.happenings import What
from iqdata.server.jail import StoredFile
from iqdata.server.jobs import Trigger
from iqdata.server.looking import Looking
from iqdata.server.permissions import Act


class Transfers(Looking):
    """What a session sends and receives."""

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
                with self.space.replacing(jail, relative):
                    file = jail.open_new(relative)
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
        self.receiving = file
        ready = self.data_channel is not None
        self.respond(f"{125 if ready else 150} {text}")
        if self._closed:
            return  # the client is gone, which only this reply found out
        if ready:
            self.data_channel.file_obj = file
            self.data_channel.enable_receiving(self._current_type, command)
        else:
            self._in_dtp_queue = (file, command)

    def ftp_APPE(self, path: str) -> None:
        """Receive more of a file."""
        if self._restart_position:
            self.respond("450 APPE cannot be restarted.")
        else:
            self.ftp_STOR(path, mode="a")

    def is_receiving(self, home: Any, path: RelPath) -> bool:
        """Tell whether this session is writing that file."""
        file = self.receiving
        return file is not None and file.path == path and self.home_key == home

    @property
    def home_key(self) -> Any:
        """The home, as the quota knows it."""
        return self.jail.home if self.jail is not None else None

    def draw(self, size_bytes: int) -> bool:
        """Count bytes that arrive; False when the team may not hold them."""
        return self.space.take(self.home_key, size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Return bytes that arrived and could not be written."""
        self.space.give_back(self.home_key, size_bytes)

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
        self.stop_receiving()
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

    def uploaded(self, stored: StoredFile, *, finished: bool, failure: str | None) -> None:
        """Take over an upload that has just ended; called before the client hears of it.

        What was cut off stays, so that it can be resumed, and the rules run as after any upload: to plain FTP a client
        that died looks the same as one that finished, and other servers cannot tell either. Only what the quota or a
        full disk ended is removed, unless another session has put its own file there since.
        """
        file = stored.path
        outcome = "ok" if finished and failure is None else failure or "aborted"
        if outcome in ("over-quota", "disk-full"):
            with contextlib.suppress(OSError):
                if self.jail is not None:
                    self.space.removed(self.jail.home, self.jail.remove_file(file, only=stored.identity))
            if outcome == "over-quota":
                self._say_refused_archive(file)
        else:
            self._extract_upload(file)
        self._note_transfer(What.UPLOAD, file, self._moved_bytes(), outcome)
        self.stop_receiving()

    def _extract_upload(self, file: RelPath) -> None:
        """Queue what was uploaded, unless somebody else is putting another file in its place already."""
        if self.jail is None or tool_for(file) is None:
            return
        if not self.space.is_being_uploaded(self.jail.home, file, but_by=self):
            self.space.extractor.submit(self.jail.home, file, trigger=Trigger.UPLOAD)

    def on_file_sent(self, file: RelPath) -> None:
        """A download ended."""
        self._note_transfer(What.DOWNLOAD, file, self._moved_bytes())

    def on_incomplete_file_sent(self, file: RelPath) -> None:
        """A download was cut off."""
        self._note_transfer(What.DOWNLOAD, file, self._moved_bytes(), "aborted")


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
