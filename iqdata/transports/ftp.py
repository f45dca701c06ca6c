"""A space reached by FTP, in clear or over TLS.

Refuses to believe 550: it says "missing or forbidden", so a listing of the folder above decides which.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from iqdata.errors import CutOff, Missing, Refused, TransportError
from iqdata.paths import RelPath
from iqdata.transports.base import Capabilities, Fetched, FetchJob, Published, PublishJob, Sink, Source
from iqdata.transports.ftpfacts import learn_facts
from iqdata.transports.ftppipeline import fetch, publish
from iqdata.transports.ftpreplies import (
    BREAKS,
    SYNTAX_CODES,
    Denied,
    OwnTrouble,
    Reply,
    UnexpectedReply,
    failure,
    translated,
)
from iqdata.transports.ftpsession import DateCommand, Session
from iqdata.transports.listing import (
    MINUTE_NS,
    NANOSECONDS,
    format_time,
    parse_list,
    parse_mlsd,
    parse_time,
)
from iqdata.tree import FOLDER, Entry, Kind

MAX_LISTING_BYTES = 512 * 1024 * 1024
MAX_LISTING_LINE = 8 * 1024
_LISTING_PATIENCE = 20
"""A listing may take this many time-outs altogether: one that drips for ever is no listing."""

_HASH_PATIENCE_S = 900.0
"""A server reads the whole file before it answers."""
_QUARTER_HOUR_S = 900

_CUT_SHORT = re.compile(r"truncated|limit(ed)? to", re.IGNORECASE)

_NO_FILES = re.compile(r"no files", re.IGNORECASE)

_HASH_COMMANDS = {"sha256": "XSHA256", "sha1": "XSHA1", "md5": "XMD5"}
_HASH_NAMES = {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}
_HEX = re.compile(r"\b[0-9a-fA-F]{32,128}\b")


class FtpTransport:
    """One FTP connection; see `base.Transport` for what each method promises."""

    def __init__(self, session: Session, *, root: str) -> None:
        """Take over a logged-in session whose facts have been learnt.

        Args:
            session: closed by `close`.
            root: absolute folder of the space's root on the server.
        """
        self._session = session
        self._root = root.rstrip("/")
        self._hash_in_use: str | None = None

    @classmethod
    def over(cls, session: Session, *, root: str) -> "FtpTransport":
        """Learn what the server offers and return the transport.

        `root` may begin with `/~`, the folder that the server begins a session in.
        """
        with translated("connect"):
            if not session.facts.probed:
                learn_facts(session)
            else:
                session.control.send(("TYPE I", "OPTS UTF8 ON"))
                session.control.reply()
                session.control.reply()
            if root == "/~" or root.startswith("/~/"):
                reply = session.control.ask("PWD")
                home = re.search(r'"((?:[^"]|"")*)"', reply.text)
                root = (home[1].replace('""', '"').rstrip("/") if home else "") + root[2:]
        return cls(session, root=root)

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers, as known so far."""
        facts = self._session.facts
        return Capabilities(
            mtime_step_ns=NANOSECONDS if facts.lists_facts else MINUTE_NS,
            sets_mtime=bool(facts.date_commands),
            hashes=facts.hashes,
            resumes=facts.resumes,
            renames_over=facts.renames_over,
            exact_listing=facts.lists_facts,
        )

    @property
    def features(self) -> Mapping[str, str]:
        """What FEAT said, for `doctor`."""
        return self._session.facts.features

    @property
    def encryption(self) -> str | None:
        """TLS version and cipher, None in clear."""
        secured = self._session.control.tls
        if secured is None:
            return None
        cipher = secured.cipher()
        return f"{secured.version()}, {cipher[0] if cipher else 'unknown cipher'}; certificate checked"

    def absolute(self, path: RelPath) -> str:
        """Return a path as the server names it."""
        return f"{self._root}/{path}" if path else self._root or "/"

    # --- looking --------------------------------------------------------------------------------------------------

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return the entries of one folder by base name."""
        facts = self._session.facts
        if facts.lists_facts:
            with translated("list", path):
                text, reply = self._fetch_listing(f"MLSD {self.absolute(path)}", path)
            if reply.positive:
                return parse_mlsd(_lines(text, reply, path))
            if reply.code not in (500, 502):
                raise self.why_not(reply, op="list", path=path)
            facts.lists_facts = False
        return self._list_lines(path)

    def _list_lines(self, path: RelPath) -> dict[str, Entry]:
        """List by LIST: in the folder itself, since a path in the command may be taken for a pattern or an option."""
        facts = self._session.facts
        entries = self._parse(path, "LIST" if facts.lists_hidden is False else "LIST -a")
        if facts.lists_hidden is None:
            plain = self._parse(path, "LIST")
            if plain or entries:
                facts.lists_hidden = entries.keys() >= plain.keys()
            if not facts.lists_hidden:
                entries = plain
        return entries

    def _parse(self, path: RelPath, command: str) -> dict[str, Entry]:
        facts = self._session.facts
        with translated("list", path):
            enter = (f"CWD {self.absolute(path)}",)
            text, reply = self._fetch_listing(command, path, before=enter)
        if not reply.positive:
            if _NO_FILES.search(reply.text) and all(first.positive for first in self._session.early):
                return {}  # what some servers say of an empty folder; entering it has succeeded
            raise self.why_not(reply, op="list", path=path)
        lines = _lines(text, reply, path)
        entries = parse_list(lines, now_ns=time.time_ns(), offset_s=facts.clock_offset_s or 0)
        if facts.clock_offset_s is None:
            offset_s = self._learn_offset(path, entries)
            facts.clock_offset_s = offset_s
            if offset_s:
                entries = parse_list(lines, now_ns=time.time_ns(), offset_s=offset_s)
        return entries

    def _learn_offset(self, path: RelPath, entries: Mapping[str, Entry]) -> int | None:
        """Return how far LIST's clock is ahead of UTC, from one file whose exact time MDTM tells; None without one."""
        facts = self._session.facts
        recent = (name for name, entry in entries.items() if entry.kind is Kind.FILE and not entry.coarse_ns)
        name = next(recent, None)
        if name is None or "MDTM" not in facts.features:
            return None
        with translated("list", path):
            reply = self._session.control.ask(f"MDTM {self.absolute(path.joined(name))}")
        exact = parse_time(reply.text[4:].strip()) if reply.code == 213 else None
        shown = entries[name].mtime_ns
        if exact is None or shown is None:
            return None
        return round((shown - exact) / NANOSECONDS / _QUARTER_HOUR_S) * _QUARTER_HOUR_S

    def _fetch_listing(
        self, command: str, path: RelPath, *, before: tuple[str, ...] = ()
    ) -> tuple[bytes, Reply]:
        """Return what came over the data connection and the reply that ended it, or the reply that prevented it."""
        session = self._session
        text = bytearray()
        deadline = time.monotonic() + _LISTING_PATIENCE * session.control.timeout_s

        def check(_size: int) -> None:
            if len(text) > MAX_LISTING_BYTES or time.monotonic() > deadline:
                raise CutOff(f"list {path}: the server's listing does not end", op="list", path=path)

        denied = None
        try:
            session.start(command, before=before)
            session.retrieve(_Gather(text), check)
        except Denied as exc:
            denied = exc.reply
        refused = next((reply for reply in session.early if not reply.positive), denied)
        return (b"", refused) if refused is not None else (bytes(text), session.last)

    def stat(self, path: RelPath) -> Entry | None:
        """Return one entry, or None when nothing is there (asked for by name: no listing is needed)."""
        if not path:
            return FOLDER
        control, facts = self._session.control, self._session.facts
        target = self.absolute(path)
        with translated("look at", path):
            if "MLST" in facts.features:
                reply = control.ask(f"MLST {target}")
                if reply.positive:
                    return _mlst_entry(reply)
                if reply.code == 550 and path.parent:
                    # Of an area it may mean "forbidden"; below one, who may not see a file may not see its folder either.
                    return None
            if "SIZE" in facts.features and "MDTM" in facts.features:
                control.send((f"SIZE {target}", f"MDTM {target}", f"CWD {target}"))
                size, mtime, folder = control.reply(), control.reply(), control.reply()
                if folder.positive:
                    return FOLDER
                if size.code == 213 and size.text[4:].strip().isdecimal():
                    return Entry(Kind.FILE, int(size.text[4:]), parse_time(mtime.text[4:].strip()))
                if size.code == mtime.code == folder.code == 550:
                    return None
        try:
            return self.list_folder(path.parent).get(path.name)
        except Missing:
            return None

    def why_not(self, reply: Reply, *, op: str, path: RelPath) -> TransportError:
        """Return the error for a refused request: `Missing` when a listing of the folder above shows nothing there."""
        if not path or reply.code not in (450, 501, 550, 553):
            return failure(reply, op=op, path=path)
        try:
            there = path.name in self.list_folder(path.parent)
        except Missing:
            there = False
        except Refused:
            there = True
        if there:
            return failure(reply, op=op, path=path)
        return Missing(f"{op} {path}: there is no such path in the space", op=op, path=path, reply=reply.text)

    # --- moving bytes ---------------------------------------------------------------------------------------------

    def read_into(
        self, path: RelPath, sink: Sink, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy the file from `offset` to its end into `sink`."""
        session = self._session
        try:
            with translated("download", path):
                self._restart_at(offset, "download", path)
                session.start(f"RETR {self.absolute(path)}")
                return session.retrieve(sink, on_bytes)
        except OwnTrouble as exc:
            raise exc.cause from None
        except Denied as exc:
            raise self.why_not(exc.reply, op="download", path=path) from exc

    def write_from(
        self, path: RelPath, source: Source, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Write `source` to `path` from `offset` on."""
        session = self._session
        try:
            with translated("upload", path):
                self._restart_at(offset, "upload", path)
                session.start(f"STOR {self.absolute(path)}")
                count = session.store(source, on_bytes)
        except OwnTrouble as exc:
            raise exc.cause from None
        except Denied as exc:
            raise self.why_not_written(exc.reply, path) from exc
        self._check_size(path, offset + count)
        return count

    def _check_size(self, path: RelPath, size_bytes: int) -> None:
        """Ask the server for a file's size, where it has SIZE.

        Raises:
            Refused: it is another than `size_bytes`.
        """
        if "SIZE" not in self._session.facts.features:
            return
        with translated("upload", path):
            reply = self._session.control.ask(f"SIZE {self.absolute(path)}")
        if reply.code == 213 and reply.text[4:].strip() != str(size_bytes):
            raise Refused(
                f"upload {path}: {reply.text[4:].strip()} bytes stand there, not {size_bytes}; it must start again",
                op="upload",
                path=path,
                reply=reply.text,
                retryable=True,
            )

    def _restart_at(self, offset: int, op: str, path: RelPath) -> None:
        """Agree on an offset. Alone, before the transfer: a refused REST followed by STOR would cut the file to nothing."""
        if not offset:
            return
        reply = self._session.control.ask(f"REST {offset}")
        if reply.code != 350:
            self._session.facts.resumes = False
            raise failure(reply, op=f"resume the {op} of", path=path)

    def why_not_written(self, reply: Reply, path: RelPath) -> TransportError:
        """Return the error for a refused STOR: `Missing` when its folder is not there."""
        if reply.code in (550, 553) and path.parent and self._is_missing(path.parent):
            message = f"upload {path}: its folder does not exist in the space"
            return Missing(message, op="upload", path=path, reply=reply.text)
        return failure(reply, op="upload", path=path)

    def _is_missing(self, path: RelPath) -> bool:
        try:
            return self.stat(path) is None
        except TransportError:
            return False

    def publish(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Upload files in the safe order, the commands of one file's end sent together with those of the next one's start."""
        return publish(self, self._session, jobs)

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
        """Download whole files, EPSV and RETR of each in one write."""
        return fetch(self, self._session, jobs)

    # --- changing names -------------------------------------------------------------------------------------------

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`."""
        control = self._session.control
        with translated("rename", source):
            control.send((f"RNFR {self.absolute(source)}", f"RNTO {self.absolute(target)}"))
            first, second = control.reply(), control.reply()
        if first.code != 350:
            raise self.why_not(first, op="rename", path=source)
        if not second.positive:
            raise failure(second, op="rename", path=source)

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete one file, or one empty folder."""
        with translated("delete", path):
            reply = self._session.control.ask(
                f"{'RMD' if kind is Kind.FOLDER else 'DELE'} {self.absolute(path)}"
            )
        if not reply.positive:
            raise self.why_not(reply, op="delete", path=path)

    def make_folder(self, path: RelPath) -> None:
        """Create one folder; one that is there already is no error."""
        with translated("make folder", path):
            reply = self._session.control.ask(f"MKD {self.absolute(path)}")
        if reply.positive:
            return
        there = self.stat(path)
        if there is None or there.kind is not Kind.FOLDER:
            if there is None and path.parent and self._is_missing(path.parent):
                message = f"make folder {path}: the folder above does not exist in the space"
                raise Missing(message, op="make folder", path=path, reply=reply.text)
            raise failure(reply, op="make folder", path=path)

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date a file; False when the server has no way to."""
        facts = self._session.facts
        while facts.date_commands:
            command = facts.date_commands[0]
            line = command.value.format(time=format_time(mtime_ns), path=self.absolute(path))
            with translated("date", path):
                reply = self._session.control.ask(line)
            if self.note_dated(command, reply, path, mtime_ns):
                return True
            if facts.dates or (
                reply.code // 100 == 5 and reply.code not in SYNTAX_CODES and self._is_missing(path)
            ):
                # The command is known to work, or the file is not there: this path is refused, not the command.
                raise self.why_not(reply, op="date", path=path)
            facts.date_commands = facts.date_commands[1:]
        return False

    def note_dated(self, command: DateCommand, reply: Reply, path: RelPath, mtime_ns: int) -> bool:
        """Judge the reply to a date command, and on the first success ask whether the date was really set."""
        facts = self._session.facts
        if not reply.positive:
            return False
        if facts.dates is None and "MDTM" in facts.features:
            with translated("date", path):
                answer = self._session.control.ask(f"MDTM {self.absolute(path)}")
            shown = parse_time(answer.text[4:].strip()) if answer.code == 213 else None
            if shown is not None and shown // NANOSECONDS != mtime_ns // NANOSECONDS:
                return False
            facts.dates = True
        return True

    def checksum(self, path: RelPath, algorithm: str) -> bytes | None:
        """Return the server's own hash of a file's content, or None where it offers none of that kind."""
        if algorithm not in self._session.facts.hashes:
            return None
        control, facts = self._session.control, self._session.facts
        target = self.absolute(path)
        with translated("hash", path), control.waiting(max(_HASH_PATIENCE_S, control.timeout_s)):
            if "HASH" in facts.features and _HASH_NAMES[algorithm] in facts.features["HASH"].upper():
                if self._hash_in_use != algorithm:
                    chosen = control.ask(f"OPTS HASH {_HASH_NAMES[algorithm]}")
                    self._hash_in_use = algorithm if chosen.positive else None
                reply = control.ask(f"HASH {target}") if self._hash_in_use == algorithm else Reply(504, "")
            else:
                reply = control.ask(f"{_HASH_COMMANDS[algorithm]} {target}")
        if not reply.positive:
            if reply.code in SYNTAX_CODES:
                return None
            raise self.why_not(reply, op="hash", path=path)
        digits = _HEX.search(reply.text[4:])
        return bytes.fromhex(digits[0]) if digits else None

    # --- ending ---------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Break whatever is in flight; safe from another thread."""
        self._session.abandon()

    def close(self) -> None:
        """End the connection."""
        session = self._session
        session.drop_data()
        with contextlib.suppress(*BREAKS):
            session.control.send(("QUIT",))
        with contextlib.suppress(OSError):
            session.control.close()


class _Gather:
    """A sink into a bytearray."""

    __slots__ = ("_text",)

    def __init__(self, text: bytearray) -> None:
        self._text = text

    def write(self, data: bytes | memoryview, /) -> object:
        """Append."""
        self._text += data
        return None


def _lines(text: bytes, reply: Reply, path: RelPath) -> list[str]:
    """Return a listing's lines.

    Raises:
        Refused: it was cut short.
    """
    if (text and not text.endswith(b"\n")) or _CUT_SHORT.search(reply.text):
        raise Refused(
            f"list {path}: the server cut the listing short ({reply.text!r}); ask the organizer to raise its limit",
            op="list",
            path=path,
            reply=reply.text,
            retryable=not _CUT_SHORT.search(reply.text),
        )
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    lines.pop()
    if max(map(len, lines), default=0) > MAX_LISTING_LINE:
        message = f"list {path}: the server's listing has a line of more than {MAX_LISTING_LINE} characters"
        raise Refused(message, op="list", path=path)
    return [line.removesuffix("\r") for line in lines]


def _mlst_entry(reply: Reply) -> Entry:
    """Return the entry of an MLST reply: its one line that begins with a space. Source: RFC 3659 section 7.2."""
    for line in reply.text.split("\n"):
        if line.startswith(" ") and "; " in line:
            facts, _, _name = line[1:].partition(" ")
            # Servers repeat the path as they like there; only the facts count.
            typed = facts.replace("type=cdir", "type=dir").replace("Type=cdir", "type=dir")
            return parse_mlsd((f"{typed} x",))["x"]
    raise UnexpectedReply(f"{reply.text[:120]!r} has no facts")
