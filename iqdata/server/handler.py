"""A whole FTP session of the space: commands that change names and folders, on top of those that look and carry."""

import re
import stat
from datetime import UTC, datetime
from typing import Any, ClassVar

from iqdata.paths import RelPath
from iqdata.rules import tool_for
from iqdata.server.data import SecureSpaceData
from iqdata.server.ftp import TLS_FTPHandler
from iqdata.server.happenings import What
from iqdata.server.jobs import Trigger
from iqdata.server.permissions import Act
from iqdata.server.session import MORE_COMMANDS, quoted
from iqdata.server.transfers import Transfers


class SpaceSession(Transfers):
    """One control connection."""

    def ftp_MKD(self, path: str) -> None:
        """Make a folder."""
        relative = self._may(Act.MAKE, path)
        if relative is None:
            return
        with self._answering() as jail:
            jail.make_folder(relative)
            self._note_change(What.MAKE_FOLDER, relative)
            self.respond(f'257 "{quoted(path)}" directory created.')

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
            self.space.removed(jail.home, jail.remove_file(relative))
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
            with self.space.replacing(jail, target):
                jail.rename(source, target)
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

    def process_command(self, cmd: str, *args: Any, **kwargs: Any) -> None:
        """Call the method of a command."""
        super().process_command(cmd.replace("-", "_"), *args, **kwargs)


class SecureSpaceSession(SpaceSession, TLS_FTPHandler):  # type: ignore[misc]  # pyftpdlib ships no types
    """One control connection that may be encrypted."""

    dtp_handler = SecureSpaceData
    proto_cmds: ClassVar[dict[str, dict[str, object]]] = {**TLS_FTPHandler.proto_cmds, **MORE_COMMANDS}
