"""A process that extracts one archive after the other, apart from the server: `python -m iqdata.server.worker`.

Jobs come as JSON lines on standard input, answers leave on standard output; the process dies with whoever started it,
so that after a crash nobody extracts behind the journal's back. Refuses to leave the home of its job: it works inside
the archive's own folder, which it enters without following a link.
"""

import codecs
import contextlib
import ctypes
import dataclasses
import hashlib
import importlib
import os
import pkgutil
import pwd
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from iqdata import extract as extract_package
from iqdata.errors import IqDataError, TooLarge
from iqdata.extract import engine
from iqdata.extract.model import (
    ArchiveStatus,
    EntryOutcome,
    ExtractedEntry,
    ExtractionResult,
    MemberKind,
)
from iqdata.paths import AREAS, RelPath
from iqdata.rules import tool_for
from iqdata.server.jail import Jail
from iqdata.server.jobs import (
    SUPERSEDED,
    AfterExtraction,
    Done,
    Identity,
    Job,
    LogLine,
    Need,
    Placed,
    from_json,
    to_json,
)
from iqdata.server.permissions import LOG_FOLDER

Ask = Callable[[int], bool]

_WHOLE_PRINT_BYTES = 64 * 1024**2
_SAMPLES = 64
_SAMPLE_BYTES = 64 * 1024
_ASK_STEP_BYTES = 4 * 1024**2
_MOST_WARNINGS = 20
_PR_SET_PDEATHSIG = 1
_MOST_READS = 3
_DECODERS = (
    "bz2",
    "lzma",
    "zlib",
    "isal.igzip_lib",
    "isal.isal_zlib",
    "backports.zstd",
    "inflate64",
    "pyppmd",
    "py7zr",
    "tempfile",
    "subprocess",
)
_STRICT_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def utc(now_ns: int) -> str:
    """Return a time as the log writes it: UTC with milliseconds."""
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"


def fingerprint(descriptor: int, size_bytes: int) -> str:
    """Return a hash that differs when the content does: of all of a file up to 64 MiB, of 64 samples of a larger one."""
    digest = hashlib.blake2b(str(size_bytes).encode(), digest_size=16)
    if size_bytes <= _WHOLE_PRINT_BYTES:
        offset = 0
        while block := os.pread(descriptor, 1024 * 1024, offset):
            digest.update(block)
            offset += len(block)
    else:
        step = (size_bytes - _SAMPLE_BYTES) // (_SAMPLES - 1)
        for index in range(_SAMPLES):
            digest.update(os.pread(descriptor, _SAMPLE_BYTES, index * step))
    return digest.hexdigest()


def identify(folder: int, name: str, *, prints: bool = True) -> Identity | None:
    """Return the identity of the regular file `name` in an open folder, None when there is none."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            return None
        return Identity(
            inode=seen.st_ino,
            parent_inode=os.fstat(folder).st_ino,
            size_bytes=seen.st_size,
            mtime_ns=seen.st_mtime_ns,
            ctime_ns=seen.st_ctime_ns,
            print=fingerprint(descriptor, seen.st_size) if prints else "",
        )
    finally:
        os.close(descriptor)


def archive_at(home: Path, path: str) -> Identity | None:
    """Return what stands at one path, None where that is no regular file."""
    file = home / path
    try:
        seen, parent = file.lstat(), file.parent.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return Identity(
        inode=seen.st_ino,
        parent_inode=parent.st_ino,
        size_bytes=seen.st_size,
        mtime_ns=seen.st_mtime_ns,
        ctime_ns=seen.st_ctime_ns,
    )


@dataclasses.dataclass(slots=True)
class _Run:
    """What is known of a job so far."""

    status: str = SUPERSEDED
    error: str | None = "it was replaced, deleted or renamed before its turn"
    identity: Identity | None = None
    result: ExtractionResult | None = None
    placed: tuple[Placed, ...] = ()
    grown_bytes: int = 0


def run_job(job: Job, *, ask: Ask | None = None) -> Done:
    """Extract one archive and return its line for the log; a bad archive is a status, not an exception.

    Args:
        job: what to extract; its home must be reachable under the same path here.
        ask: whether so many bytes more may be written; None when there is no quota.
    """
    started_ns = time.time_ns()
    run = _Run()
    with contextlib.suppress(OSError):  # the home or the folder has gone
        jail = Jail(Path(job.home))
        try:
            folder = jail.open_folder_strictly(RelPath(job.folder))
            try:
                _run_in(job, folder, run, ask=ask)
            finally:
                os.close(folder)
        finally:
            jail.close()
    ended_ns = time.time_ns()
    tool, result, identity = tool_for(job.archive), run.result, run.identity
    line = LogLine(
        time=utc(ended_ns),
        archive=job.archive,
        tool=tool.value if tool else None,
        status=run.status,
        files=result.files if result else 0,
        bytes=result.size_bytes if result else 0,
        error=run.error,
        id=job.id,
        trigger=job.trigger.value,
        from_=job.source,
        archive_bytes=identity.size_bytes if identity else 0,
        archive_mtime_ns=identity.mtime_ns if identity else 0,
        elapsed_s=round((ended_ns - started_ns) / 1e9, 4),
        warnings=result.warnings[:_MOST_WARNINGS] if result else (),
    )
    return Done(
        line=line,
        identity=identity,
        placed=run.placed,
        grown_bytes=run.grown_bytes,
        delay_s=max(0.0, (started_ns - job.queued_ns) / 1e9),
    )


def _run_in(job: Job, folder: int, run: _Run, *, ask: Ask | None) -> None:
    """Extract the archive of a job that lies in the open `folder`, and fill in what came out."""
    name = job.archive.rpartition("/")[2]
    before = identify(folder, name, prints=False)
    if before is None:
        return
    entries: tuple[ExtractedEntry, ...] = ()
    for _ in range(_MOST_READS):
        run.identity = before
        run.result = _extract(job, folder, name, ask=ask)
        run.status, run.error, entries = run.result.status.value, run.result.error, run.result.entries
        run.grown_bytes += run.result.size_bytes - run.result.replaced_bytes
        after = identify(folder, name, prints=False)
        changed = after is None or _state(after) != _state(before)
        # A date that is set while the archive is read looks like a write to it: read once more, in peace.
        if (
            not changed
            or after is None
            or after.inode != before.inode
            or run.status != ArchiveStatus.DAMAGED.value
        ):
            break
        before = after
    if job.as_owner:
        adopt(entries, folder)
    run.placed = tuple(_archives_among(entries, job.folder, folder))
    # The print is taken last: extraction must start at once.
    after = identify(folder, name)
    unchanged = after is not None and _state(after) == _state(before)
    if after is not None and (after.inode, after.size_bytes) == (before.inode, before.size_bytes):
        # The state that was extracted is the one before: a change since then belongs to whatever comes next.
        run.identity = msgspec.structs.replace(before, print=after.print)
    elif run.status == ArchiveStatus.DAMAGED.value or (after is not None and after.inode == before.inode):
        # What was placed may mix both; the next upload has a job of its own, which mends it.
        run.status, run.error = SUPERSEDED, "it was replaced, deleted or written to while it was read"
    if unchanged and run.status == ArchiveStatus.OK.value and job.after is AfterExtraction.REMOVE:
        with contextlib.suppress(OSError):
            names = os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink
            os.unlink(name, dir_fd=folder)
            run.grown_bytes -= before.size_bytes if names == 1 else 0
            run.identity = None  # nothing stands there that could be known


def _state(identity: Identity) -> tuple[int, int, int]:
    return identity.inode, identity.size_bytes, identity.mtime_ns


def _archives_among(entries: tuple[ExtractedEntry, ...], prefix: str, folder: int) -> Iterator[Placed]:
    for entry in entries:
        if (
            entry.outcome is EntryOutcome.WRITTEN
            and entry.kind is not MemberKind.DIRECTORY
            and tool_for(entry.path)
        ):
            above, _, name = entry.path.rpartition("/")
            with contextlib.suppress(OSError):
                inside = os.open(above or ".", _STRICT_FOLDER, dir_fd=folder)
                try:
                    identity = identify(inside, name)
                finally:
                    os.close(inside)
                if identity is not None:
                    path = f"{prefix}/{entry.path}" if prefix else str(entry.path)
                    yield Placed(path=path, identity=identity)


def _extract(job: Job, folder: int, name: str, *, ask: Ask | None) -> ExtractionResult:
    """Extract in the open `folder`, which becomes the working folder as it is for the real tools."""
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(folder)
    try:
        archive = Path(name)
        stage = Path(job.stage) if job.stage and _same_device(folder, job.stage) else None
        return engine.extract(
            archive,
            Path(),
            limits=job.limits,
            stage_in=stage,
            quota=_asker(ask) if ask else None,
            # In the home itself stand the log and the areas; elsewhere nothing is special.
            spare=None if job.folder else _spare_the_space,
        )
    except (IqDataError, OSError, MemoryError) as exc:
        text = f"{exc.strerror}" if isinstance(exc, OSError) else str(exc) or type(exc).__name__
        status = ArchiveStatus.TOO_LARGE if isinstance(exc, TooLarge) else ArchiveStatus.DAMAGED
        return ExtractionResult(tool=tool_for(name), status=status, error=text)
    finally:
        os.fchdir(before)
        os.close(before)


def _spare_the_space(path: RelPath, kind: MemberKind) -> str | None:
    """Refuse members that would write the log folder, or put something else where an area is."""
    if path.area == LOG_FOLDER or (path in AREAS and kind is not MemberKind.DIRECTORY):
        return f"/{path} belongs to the space"
    return None


def _asker(ask: Ask) -> Callable[[int], None]:
    """Return a function that counts what is about to be written and asks in steps of some MiB."""
    granted = 0

    def take(size_bytes: int) -> None:
        nonlocal granted
        if size_bytes > granted:
            step = max(size_bytes - granted, _ASK_STEP_BYTES)
            # Near the end of a quota a whole step may be too much while the bytes themselves still fit.
            if not ask(step) and not ask(step := size_bytes - granted):
                raise TooLarge("the team's quota is reached; delete something or ask the organizer for more")
            granted += step
        granted -= size_bytes

    return take


def _same_device(folder: int, stage: str) -> bool:
    try:
        return os.fstat(folder).st_dev == Path(stage).stat().st_dev
    except OSError:
        return False


def adopt(entries: tuple[ExtractedEntry, ...], folder: int) -> None:
    """Give what was written the permissions that the archive's folder grants, so that its users can work with it."""
    grants = os.fstat(folder).st_mode
    for entry in entries:
        if entry.outcome is not EntryOutcome.WRITTEN or entry.kind is MemberKind.SYMLINK:
            continue
        with contextlib.suppress(OSError):
            mode = os.stat(entry.path, dir_fd=folder, follow_symlinks=False).st_mode
            wanted = (
                (grants & 0o7777)
                if stat.S_ISDIR(mode)
                else (mode & 0o700) | (grants & 0o066) | (mode & grants & 0o011)
            )
            os.chmod(entry.path, wanted | 0o600, dir_fd=folder)


def _run_as_owner(job: Job) -> Done:
    """Run a job in a child that has the user, groups and nothing else of whoever owns the archive's folder.

    An agent beside a server with many users is root; what an archive holds must never be written with that power.
    """
    jail = Jail(Path(job.home))
    try:
        folder = jail.open_folder_strictly(RelPath(job.folder))
        owner = os.fstat(folder)
        os.close(folder)
    except OSError:
        return run_job(job)  # says that there is nothing to extract, and writes nothing
    finally:
        jail.close()
    if job.stage:
        stage = Path(job.stage) / str(owner.st_uid)
        stage.mkdir(exist_ok=True, mode=0o700)
        os.chown(stage, owner.st_uid, owner.st_gid)
        job = msgspec.structs.replace(job, stage=str(stage))
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(hear)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            groups = _groups_of(owner.st_uid, owner.st_gid)
            os.setgroups(groups)
            os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
            os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
            # A change of user clears the wish to die with the parent.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.umask(0o022)
            with os.fdopen(tell, "wb") as pipe:
                pipe.write(to_json(run_job(job)))
            code = 0
        except BaseException:  # noqa: BLE001  the child ends here; what it was goes where the worker's own errors go
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(hear, "rb") as pipe:
        answer = pipe.read()
    _pid, status = os.waitpid(child, 0)
    if status or not answer:
        # As when the worker itself dies: the job is tried again, then given up with a line that says so.
        sys.exit(f"the extraction as user {owner.st_uid} ended with status {status}")
    return from_json(answer, Done)


def _load_all() -> None:
    """Load whatever extraction may need while this process may still read it.

    As the owner of some folder it may not reach the files of an installation that only root can enter.
    """
    modules = [f"iqdata.extract.{module.name}" for module in pkgutil.iter_modules(extract_package.__path__)]
    for name in (*modules, *_DECODERS):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for encoding in ("ascii", "latin-1", "cp437", "utf-8", "utf-16-le", "utf-16", "gbk", "shift_jis", "idna"):
        codecs.lookup(encoding)
    engine.inspect(Path(os.devnull), name="nothing.7z")


def _groups_of(user: int, group: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:  # a virtual user of the server: it has a number only
        return [group]


def _die_with_parent() -> None:
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above took effect
        sys.exit(0)


def main() -> None:
    """Serve jobs until standard input ends."""
    _die_with_parent()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in a terminal reaches the whole group; the server decides
    with contextlib.suppress(OSError):
        os.nice(5)
    if os.geteuid() == 0:
        _load_all()
    # The answers keep a descriptor of their own: a library that prints must not break the protocol.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def ask(size_bytes: int) -> bool:
        answers.write(to_json(Need(size_bytes=size_bytes)) + b"\n")
        return sys.stdin.buffer.readline().strip() == b"true"

    answers.write(b"ready\n")
    for text in sys.stdin.buffer:
        job = from_json(text, Job)
        if job.as_owner and os.geteuid() == 0:
            done = _run_as_owner(job)
        else:
            done = run_job(job, ask=ask if job.asks else None)
        answers.write(to_json(done) + b"\n")


if __name__ == "__main__":
    main()
