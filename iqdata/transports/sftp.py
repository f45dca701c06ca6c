"""A space reached by SFTP.

Refuses to share a connection between threads, and to follow links: a link is neither file nor folder here.
"""

import contextlib
import stat as modes
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

import paramiko

from iqdata.errors import CutOff, Missing, Refused, TransportError, UnsafePath
from iqdata.paths import RelPath, check_name
from iqdata.transports.base import (
    Capabilities,
    Fetched,
    FetchJob,
    Published,
    PublishJob,
    Sink,
    Source,
    check_fetched,
)
from iqdata.transports.listing import NANOSECONDS
from iqdata.transports.sftpwire import (
    Answer,
    Attributes,
    Code,
    Malformed,
    Op,
    Wire,
    attributes,
    pack_path,
    pack_string,
    string,
    translated,
)
from iqdata.tree import FOLDER, Entry, Kind

_READ, _WRITE, _CREATE, _TRUNCATE = 1, 2, 8, 16
_WINDOW_BYTES = 8 * 1024 * 1024
"""What may be under way of one file: a round trip of 20 ms at 400 MB/s."""

_DEFAULT_BLOCK = 32 * 1024
_LEAST_BLOCK = 4 * 1024
_MAX_BLOCK = 255 * 1024
"""What OpenSSH takes at once; rclone's notes and measurements here agree that it doubles the rate."""

_SMALL_BYTES = 256 * 1024
_BATCH = 32
"""So many small files are under way together: three round trips for all of them."""

_MAX_ENTRIES = 5_000_000
_AHEAD = 4
"""READDIRs under way together, each of about 100 names."""

_HASHES = ("sha256", "sha1", "md5")
_RENAME = "posix-rename@openssh.com"


class SftpTransport:
    """One SFTP connection; see `base.Transport` for what each method promises."""

    def __init__(self, wire: Wire, ssh: paramiko.Transport, *, root: str) -> None:
        """Take over a conversation that has just begun.

        Args:
            wire: the conversation.
            ssh: what it runs over; closed by `close`.
            root: absolute folder of the space's root; `/~` at its beginning is the account's home.
        """
        self._wire = wire
        self._ssh = ssh
        self._block = _DEFAULT_BLOCK
        with translated("connect"):
            if "limits@openssh.com" in wire.extensions:
                answer = wire.ask(Op.EXTENDED, pack_string(b"limits@openssh.com"))
                if answer.op == Op.EXTENDED_REPLY:
                    _, read, write, _ = struct.unpack_from(">QQQQ", answer.body)
                    self._block = max(
                        _DEFAULT_BLOCK, min(read or _MAX_BLOCK, write or _MAX_BLOCK, _MAX_BLOCK)
                    )
            if root == "/~" or root.startswith("/~/"):
                answer = wire.ask(Op.REALPATH, pack_string(b"."))
                if answer.op == Op.NAME:
                    home, _ = string(answer.body, 4)
                    root = home.decode("utf-8", "surrogateescape").rstrip("/") + root[2:]
            self._root = root.rstrip("/")
            # Asked of a folder: a server that knows the request refuses this one, another says that it does not know it.
            answer = wire.ask(Op.EXTENDED, *self._hash_request(RelPath(""), "sha256"))
            self._hashes = answer.op == Op.EXTENDED_REPLY or answer.status[0] != Code.UNSUPPORTED

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers."""
        names = self._wire.extensions
        return Capabilities(
            sets_mtime=True,
            resumes=True,
            overlaps=True,
            renames_over=_RENAME in names,
            hashes=_HASHES if self._hashes else (),
        )

    @property
    def features(self) -> Mapping[str, str]:
        """The extensions the server named, for `doctor`."""
        return self._wire.extensions

    @property
    def encryption(self) -> str | None:
        """SSH's cipher."""
        cipher: str = self._ssh.remote_cipher  # type: ignore[attr-defined]  # the stubs leave it out
        return f"SSH, {cipher}; host key known"

    def _path(self, path: RelPath) -> bytes:
        return pack_path(f"{self._root}/{path}" if path else self._root or "/")

    # --- looking --------------------------------------------------------------------------------------------------

    def list_folder(self, path: RelPath) -> Mapping[str, Entry]:
        """Return the entries of one folder by base name."""
        wire = self._wire
        entries: dict[str, Entry] = {}
        with translated("list", path):
            answer = wire.ask(Op.OPENDIR, self._path(path))
            if answer.op != Op.HANDLE:
                raise self._error(answer, op="list", path=path)
            handle = pack_string(string(answer.body, 0)[0])
            ahead: deque[int] = deque()
            try:
                while True:
                    while len(ahead) < _AHEAD:
                        ahead.append(wire.send(Op.READDIR, handle))
                    answer = wire.answer(ahead.popleft())
                    if answer.op != Op.NAME:
                        break
                    _add_names(entries, answer.body, path)
            finally:
                for number in (*ahead, wire.send(Op.CLOSE, handle)):
                    wire.forget(number)
                wire.flush()
            if answer.op != Op.STATUS or answer.status[0] != Code.EOF:
                raise self._error(answer, op="list", path=path)
        return entries

    def stat(self, path: RelPath) -> Entry | None:
        """Return one entry, or None when nothing is there."""
        with translated("look at", path):
            answer = self._wire.ask(Op.LSTAT, self._path(path))
            if answer.op == Op.ATTRS:
                return _entry(attributes(answer.body, 0)[0])
        if answer.op == Op.STATUS and answer.status[0] == Code.NO_SUCH_FILE:
            return None
        raise self._error(answer, op="look at", path=path)

    # --- moving bytes ---------------------------------------------------------------------------------------------

    def _open(self, path: RelPath, flags: int, *, op: str) -> bytes:
        answer = self._wire.ask(Op.OPEN, self._path(path), struct.pack(">II", flags, 0))
        if answer.op != Op.HANDLE:
            raise self._why_not_opened(answer, op=op, path=path)
        return pack_string(string(answer.body, 0)[0])

    def read_into(
        self, path: RelPath, sink: Sink, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Copy the file from `offset` to its end into `sink`."""
        with translated("download", path):
            handle = self._open(path, _READ, op="download")
        reader = _Reader(self._wire, handle, offset, self._block)
        count = 0
        try:
            while True:
                with translated("download", path):
                    data = reader.next()
                if isinstance(data, Answer):
                    raise self._error(data, op="download", path=path)
                if not data:
                    return count
                sink.write(data)
                count += len(data)
                on_bytes(len(data))
        finally:
            with translated("download", path):
                reader.close()

    def write_from(
        self, path: RelPath, source: Source, *, offset: int = 0, on_bytes: Callable[[int], None]
    ) -> int:
        """Write `source` to `path` from `offset` on."""
        with translated("upload", path):
            handle = self._open(path, _WRITE | (0 if offset else _CREATE | _TRUNCATE), op="upload")
            if offset:
                answer = self._wire.ask(Op.FSETSTAT, handle, struct.pack(">IQ", 1, offset))
                if not answer.ok:
                    raise self._error(answer, op="resume the upload of", path=path)
        count = self._write_all(path, handle, source, offset, on_bytes)
        with translated("upload", path):
            answer = self._wire.ask(Op.CLOSE, handle)
        if not answer.ok:
            raise self._error(answer, op="upload", path=path)
        return count

    def _write_all(
        self, path: RelPath, handle: bytes, source: Source, offset: int, on_bytes: Callable[[int], None]
    ) -> int:
        """Write to an open handle, many blocks under way; the handle is closed when that fails."""
        wire = self._wire
        waiting: deque[tuple[int, int]] = deque()
        count = under_way = 0
        try:
            while True:
                block = source.read(self._block)
                with translated("upload", path):
                    if block:
                        head = struct.pack(">QI", offset + count, len(block))
                        waiting.append((wire.send(Op.WRITE, handle, head, block), len(block)))
                        count += len(block)
                        under_way += len(block)
                    while waiting and (under_way > _WINDOW_BYTES or not block):
                        number, size = waiting.popleft()
                        answer = wire.answer(number)
                        if not answer.ok:
                            raise self._error(answer, op="upload", path=path)
                        under_way -= size
                        on_bytes(size)
                if not block:
                    return count
        except CutOff:
            raise
        except BaseException:
            with contextlib.suppress(CutOff), translated("upload", path):
                for number, _size in waiting:
                    wire.forget(number)
                wire.forget(wire.send(Op.CLOSE, handle))
                wire.flush()
            raise

    def publish(self, jobs: Iterable[PublishJob]) -> Iterator[Published]:
        """Upload files in the safe order, many small ones under way together."""
        batch: list[PublishJob] = []
        for job in jobs:
            if job.size_bytes > _SMALL_BYTES:
                yield from self._publish_batch(batch)
                batch = []
                yield self._publish_large(job)
                continue
            batch.append(job)
            if len(batch) == _BATCH:
                yield from self._publish_batch(batch)
                batch = []
        yield from self._publish_batch(batch)

    def _publish_large(self, job: PublishJob) -> Published:
        try:
            with job.open_source() as source:
                count = self.write_from(job.temporary, source, on_bytes=job.on_bytes)
            _check_count(job, count)
            standing = self.stat(job.temporary)
            if standing is None or standing.size_bytes != count:
                raise Refused(
                    f"upload {job.path}: not all of it arrived", op="upload", path=job.path, retryable=True
                )
            if job.mtime_ns is not None:
                self.set_mtime(job.temporary, job.mtime_ns)
            job.before_rename()
            self._clear(job)
            self.rename(job.temporary, job.path)
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            self._sweep(job)
            return Published(job=job, error=exc)
        return Published(job=job, dated=job.mtime_ns is not None)

    def _publish_batch(self, batch: list[PublishJob]) -> list[Published]:
        """Publish small files in four waves: open; write, date and close; rename; and what each came to."""
        results: list[Published | None] = [None] * len(batch)
        wire = self._wire

        def fail(index: int, error: Exception) -> None:
            results[index] = Published(job=batch[index], error=error)

        opened: list[tuple[int, bytes, int]] = []
        with translated("upload"):
            for index, job in enumerate(batch):
                try:
                    content = _read_small(job)
                except (TransportError, OSError) as exc:
                    fail(index, exc)
                    continue
                flags = struct.pack(">II", _WRITE | _CREATE | _TRUNCATE, 0)
                opened.append((index, content, wire.send(Op.OPEN, self._path(job.temporary), flags)))
            written: list[tuple[int, list[int]]] = []
            for index, content, number in opened:
                answer = wire.answer(number)
                if answer.op != Op.HANDLE:
                    fail(index, self._why_not_opened(answer, op="upload", path=batch[index].path))
                    continue
                handle = pack_string(string(answer.body, 0)[0])
                numbers = []
                if content:
                    numbers += [
                        wire.send(
                            Op.WRITE,
                            handle,
                            struct.pack(">QI", at, len(content[at : at + self._block])),
                            content[at : at + self._block],
                        )
                        for at in range(0, len(content), self._block)
                    ]
                mtime_ns = batch[index].mtime_ns
                if mtime_ns is not None:
                    when_s = _seconds(mtime_ns)
                    numbers.append(wire.send(Op.FSETSTAT, handle, struct.pack(">III", 8, when_s, when_s)))
                numbers.append(wire.send(Op.CLOSE, handle))
                written.append((index, numbers))
            whole: list[int] = []
            for index, numbers in written:
                answers = [wire.answer(number) for number in numbers]
                bad = next((answer for answer in answers if not answer.ok), None)
                if bad is not None:
                    fail(index, self._error(bad, op="upload", path=batch[index].path))
                else:
                    batch[index].on_bytes(batch[index].size_bytes)
                    whole.append(index)
        renamed: list[tuple[int, int]] = []
        for index in whole:
            job = batch[index]
            try:
                job.before_rename()
            except CutOff:
                raise
            except (TransportError, OSError) as exc:
                fail(index, exc)
                continue
            with translated("publish", job.path):
                self._clear(job)
                renamed.append((index, self._send_rename(job.temporary, job.path)))
        for index, number in renamed:
            job = batch[index]
            with translated("publish", job.path):
                answer = wire.answer(number)
            if answer.ok:
                results[index] = Published(job=job, dated=job.mtime_ns is not None)
            else:
                fail(index, self._error(answer, op="publish", path=job.path))
        done = [result for result in results if result is not None]
        for result in done:
            if result.error is not None:
                self._sweep(result.job)
        return done

    def _clear(self, job: PublishJob) -> None:
        """Delete the file that the new one replaces, on a server that cannot rename over it."""
        if _RENAME in self._wire.extensions:
            return
        standing = self.stat(job.path)
        if standing is not None and standing.kind is Kind.FILE:
            self.remove(job.path, Kind.FILE)

    def _sweep(self, job: PublishJob) -> None:
        """Take a failed file's temporary one away, if it was made at all."""
        with contextlib.suppress(Missing, Refused):
            self.remove(job.temporary, Kind.FILE)

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[Fetched]:
        """Download whole files, many small ones under way together."""
        batch: list[FetchJob] = []
        for job in jobs:
            if job.size_bytes is None or job.size_bytes > _SMALL_BYTES:
                yield from self._fetch_batch(batch)
                batch = []
                yield self._fetch_large(job)
                continue
            batch.append(job)
            if len(batch) == _BATCH:
                yield from self._fetch_batch(batch)
                batch = []
        yield from self._fetch_batch(batch)

    def _fetch_large(self, job: FetchJob) -> Fetched:
        try:
            with job.open_sink() as sink:
                count = self.read_into(job.path, sink, on_bytes=job.on_bytes)
                check_fetched(job, count)
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            return Fetched(job=job, error=exc)
        return Fetched(job=job, size_bytes=count)

    def _fetch_batch(self, batch: list[FetchJob]) -> Iterator[Fetched]:
        """Open all, then ask for each file's bytes and one more, so that a file that has grown shows."""
        wire = self._wire
        flags = struct.pack(">II", _READ, 0)
        with translated("download"):
            numbers = [wire.send(Op.OPEN, self._path(job.path), flags) for job in batch]
            readers: list[_Reader | Answer] = []
            for job, number in zip(batch, numbers, strict=True):
                answer = wire.answer(number)
                if answer.op == Op.HANDLE:
                    handle = pack_string(string(answer.body, 0)[0])
                    readers.append(_Reader(wire, handle, 0, self._block, expected=job.size_bytes))
                else:
                    readers.append(answer)
        for job, reader in zip(batch, readers, strict=True):
            if isinstance(reader, Answer):
                yield Fetched(job=job, error=self._why_not_opened(reader, op="download", path=job.path))
            else:
                yield self._fetch_small(job, reader)

    def _fetch_small(self, job: FetchJob, reader: "_Reader") -> Fetched:
        pieces: list[bytes | memoryview] = []
        with translated("download", job.path):
            data = reader.next()
            while not isinstance(data, Answer) and data:
                pieces.append(data)
                data = reader.next()
            reader.close()
        if isinstance(data, Answer):
            return Fetched(job=job, error=self._error(data, op="download", path=job.path))
        count = sum(map(len, pieces))
        try:
            with job.open_sink() as sink:
                for piece in pieces:
                    sink.write(piece)
                check_fetched(job, count)
        except CutOff:
            raise
        except (TransportError, OSError) as exc:
            return Fetched(job=job, error=exc)
        job.on_bytes(count)
        return Fetched(job=job, size_bytes=count)

    # --- changing names -------------------------------------------------------------------------------------------

    def _send_rename(self, source: RelPath, target: RelPath) -> int:
        if _RENAME in self._wire.extensions:
            name = pack_string(_RENAME.encode())
            return self._wire.send(Op.EXTENDED, name, self._path(source), self._path(target))
        return self._wire.send(Op.RENAME, self._path(source), self._path(target))

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`."""
        with translated("rename", source):
            answer = self._wire.answer(self._send_rename(source, target))
        if not answer.ok:
            raise self._error(answer, op="rename", path=source)

    def remove(self, path: RelPath, kind: Kind) -> None:
        """Delete one file, or one empty folder."""
        with translated("delete", path):
            answer = self._wire.ask(Op.RMDIR if kind is Kind.FOLDER else Op.REMOVE, self._path(path))
        if not answer.ok:
            raise self._error(answer, op="delete", path=path)

    def make_folder(self, path: RelPath) -> None:
        """Create one folder; one that is there already is no error."""
        with translated("make folder", path):
            answer = self._wire.ask(Op.MKDIR, self._path(path), struct.pack(">I", 0))
        if answer.ok:
            return
        # "Failure" is all that version 3 says of a name that is taken.
        there = self.stat(path)
        if there is None or there.kind is not Kind.FOLDER:
            raise self._error(answer, op="make folder", path=path)

    def set_mtime(self, path: RelPath, mtime_ns: int) -> bool:
        """Date a file, to the second."""
        when_s = _seconds(mtime_ns)
        with translated("date", path):
            answer = self._wire.ask(Op.SETSTAT, self._path(path), struct.pack(">III", 8, when_s, when_s))
        if not answer.ok:
            raise self._error(answer, op="date", path=path)
        return True

    def checksum(self, path: RelPath, algorithm: str) -> bytes | None:
        """Return the server's own hash of a file's content, or None where it offers none of that kind."""
        if algorithm not in self.capabilities.hashes:
            return None
        with translated("hash", path):
            answer = self._wire.ask(Op.EXTENDED, *self._hash_request(path, algorithm))
            if answer.op == Op.EXTENDED_REPLY:
                found, at = string(answer.body, 0)
                if found == b"check-file":  # some servers repeat the extension's name first
                    found, at = string(answer.body, at)
                return bytes(answer.body[at:])
        raise self._error(answer, op="hash", path=path)

    def _hash_request(self, path: RelPath, algorithm: str) -> tuple[bytes, ...]:
        """Return a request for the hash of a whole file. Source: draft-ietf-secsh-filexfer-extensions-00, section 3."""
        whole = struct.pack(">QQI", 0, 0, 0)
        return pack_string(b"check-file-name"), self._path(path), pack_string(algorithm.encode()), whole

    # --- failing and ending ---------------------------------------------------------------------------------------

    def _why_not_opened(self, answer: Answer, *, op: str, path: RelPath) -> TransportError:
        return self._error(answer, op=op, path=path)

    def _error(self, answer: Answer, *, op: str, path: RelPath) -> TransportError:
        """Return the error that an answer other than the wanted one stands for."""
        if answer.op != Op.STATUS:
            raise CutOff(
                f"{op} {path}: the server's answer does not fit the request", op=op, path=path, retryable=True
            )
        code, text = answer.status
        said = f"the server said {text or code!r}"
        match code:
            case Code.NO_SUCH_FILE:
                return Missing(
                    f"{op} {path}: there is no such path in the space", op=op, path=path, reply=text
                )
            case Code.NO_CONNECTION | Code.CONNECTION_LOST:
                return CutOff(f"{op} {path}: {said}", op=op, path=path, reply=text, retryable=True)
            case Code.PERMISSION_DENIED:
                return Refused(f"{op} {path}: not permitted ({said})", op=op, path=path, reply=text)
            case _:
                return Refused(f"{op} {path}: {said}", op=op, path=path, reply=text)

    def abort(self) -> None:
        """Break whatever is in flight; safe from another thread."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._ssh.close()

    def close(self) -> None:
        """End the connection."""
        self.abort()


class _Reader:
    """Reads one open file in order, many blocks under way."""

    def __init__(
        self, wire: Wire, handle: bytes, offset: int, block: int, *, expected: int | None = None
    ) -> None:
        self._wire = wire
        self._handle = handle
        self._at = offset
        self._block = block
        self._under_way: deque[tuple[int, int, int]] = deque()
        self._most = max(2, _WINDOW_BYTES // block)
        self._expected = expected
        self._window = 2
        if expected is not None:
            self._window = 0
            for start in range(0, expected + 1, block):
                self._ask(start, min(block, expected + 1 - start))

    def _ask(self, at: int, size: int) -> None:
        number = self._wire.send(Op.READ, self._handle, struct.pack(">QI", at, size))
        self._under_way.append((number, at, size))
        self._at = at + size

    def next(self) -> memoryview | Answer:
        """Return the next bytes, none at the end, or the answer that says why not."""
        while len(self._under_way) < self._window:
            self._ask(self._at, self._block)
        if not self._under_way:
            return memoryview(b"")
        number, at, size = self._under_way.popleft()
        answer = self._wire.answer(number)
        if answer.op == Op.DATA:
            (length,) = struct.unpack_from(">I", answer.body)
            data = answer.body[4 : 4 + length]
            if len(data) != length or not 0 < length <= size:
                raise Malformed
            if length == size:
                self._window = min(self._window * 2, self._most)
            elif at + length == self._expected:
                self._window = 0  # one byte more was asked for and did not come: the end
            else:
                # Fewer bytes than asked: the end, or a server that gives less at once. Ask again from where it stopped.
                self._drop()
                self._at = at + length
                self._block = max(length, _LEAST_BLOCK)
                self._window = 1
            return data
        if answer.op == Op.STATUS and answer.status[0] == Code.EOF:
            self._drop()
            self._window = 0
            return memoryview(b"")
        return answer

    def _drop(self) -> None:
        for number, _at, _size in self._under_way:
            self._wire.forget(number)
        self._under_way.clear()

    def close(self) -> None:
        """Close the file; nobody waits for the answer."""
        self._drop()
        self._wire.forget(self._wire.send(Op.CLOSE, self._handle))


def _add_names(entries: dict[str, Entry], body: memoryview, path: RelPath) -> None:
    (count,) = struct.unpack_from(">I", body)
    if not count:
        raise Malformed
    at = 4
    for _ in range(count):
        raw, at = string(body, at)
        _, at = string(body, at)
        found, at = attributes(body, at)
        if raw in (b".", b".."):
            continue
        name = check_name(raw.decode("utf-8", "surrogateescape"))
        if name in entries:
            raise UnsafePath(f"{name!r}: the server lists this name twice")
        if len(entries) >= _MAX_ENTRIES:
            raise CutOff(f"list {path}: the server's listing does not end", op="list", path=path)
        entries[name] = _entry(found)


def _entry(found: Attributes) -> Entry:
    kind = Kind.OTHER
    if found.mode is not None:
        if modes.S_ISDIR(found.mode):
            return FOLDER
        if modes.S_ISREG(found.mode):
            kind = Kind.FILE
    mtime_ns = found.mtime_s * NANOSECONDS if found.mtime_s is not None else None
    return Entry(kind, (found.size_bytes or 0) if kind is Kind.FILE else 0, mtime_ns)


def _seconds(mtime_ns: int) -> int:
    """Return a time as version 3 carries it: whole seconds, 32 bits without sign."""
    return max(0, min(mtime_ns // NANOSECONDS, 0xFFFFFFFF))


def _read_small(job: PublishJob) -> bytes:
    with job.open_source() as source:
        content = source.read(job.size_bytes + 1)
        while len(content) < job.size_bytes and (more := source.read(job.size_bytes + 1 - len(content))):
            content += more
    _check_count(job, len(content))
    return content


def _check_count(job: PublishJob, count: int) -> None:
    if count != job.size_bytes:
        raise Refused(
            f"upload {job.path}: it changed while it was read ({count} bytes instead of {job.size_bytes}); not published",
            op="upload",
            path=job.path,
            retryable=True,
        )
