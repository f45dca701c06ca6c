"""Commands that look: folders, facts, hashes. Refuses to change anything."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable

from iqdata.paths import RelPath
from iqdata.server import listing
from iqdata.server.jail import StoredFile
from iqdata.server.permissions import Act
from iqdata.server.session import Session, quoted

_HASHES = {"SHA-256": "sha256", "SHA-1": "sha1", "MD5": "md5"}


class Looking(Session):
    """What a session may learn."""

    def ftp_CWD(self, path: str) -> None:
        """Enter a folder."""
        relative = self._may(Act.LOOK, path)
        if relative is None:
            return
        with self._answering() as jail:
            if not stat.S_ISDIR(jail.stat(relative).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self.fs.cwd = path
            self.respond(f'250 "{quoted(path)}" is the current directory.')

    def ftp_PWD(self, line: str) -> None:
        """Say which folder is the current one."""
        self.respond(f'257 "{quoted(self.fs.cwd)}" is the current directory.')

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


def _digest(file: StoredFile, algorithm: str) -> tuple[int, str]:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = 0
    with file:
        while block := file.read(1024 * 1024):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
