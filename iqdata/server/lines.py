"""A file of JSON lines that grows, is turned over when it is large, and never loses its latest lines to a reader.

Refuses to hold anything back: a line is in the file when `append` returns. Refuses to write into a folder that is a
link or somebody else's: the home around it may belong to a user who wants a privileged process to write elsewhere.
"""

import contextlib
import errno
import os
import threading
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class LineFile:
    """Appends lines; turns over by putting a new file with the last lines in the place of the full one.

    A reader that knows an offset sees the file become shorter and starts again at 0; the `carry` latest lines are
    there then, so that whoever waits for a line still finds it.
    """

    def __init__(
        self, path: Path, *, limit_bytes: int = 8 * 1024**2, keep: int = 3, carry: int = 0, hold: bool = False
    ) -> None:
        """Say where and how.

        Args:
            path: the file; its folder is made when only that is missing.
            limit_bytes: how long it may become.
            keep: how many full ones stay beside it.
            carry: how many latest lines a new one begins with.
            hold: keep the file open between lines: faster, and right only where nobody else can reach the folder.
        """
        self.path = path
        self._hold = hold
        self._held = -1
        self._size = 0
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._carry = carry
        self._lock = threading.Lock()

    def _open_folder(self) -> int:
        try:
            folder = os.open(self.path.parent, _FOLDER)
        except FileNotFoundError:
            self.path.parent.mkdir(
                mode=0o755
            )  # one level only: where the home has gone, there is nobody to read
            folder = os.open(self.path.parent, _FOLDER)
        if os.fstat(folder).st_uid != os.geteuid():
            os.close(folder)
            raise PermissionError(
                errno.EPERM, "the folder of the log belongs to somebody else", str(self.path.parent)
            )
        return folder

    def append(self, line: bytes) -> None:
        """Write one line (without its end) in one piece."""
        with self._lock:
            if self._held >= 0 and self._size < self._limit_bytes:
                self._size += os.write(self._held, line + b"\n")
                return
            self.close()
            folder = self._open_folder()
            try:
                file = os.open(self.path.name, _FILE, 0o644, dir_fd=folder)
                try:
                    size = _append(file, line)
                    if self._hold and size <= self._limit_bytes:
                        self._held, self._size = os.dup(file), size
                finally:
                    os.close(file)
                if size > self._limit_bytes:
                    self._turn_over(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Let go of a held file; the next line opens it again."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def tail(self, lines: int) -> list[bytes]:
        """Return the last lines of the file, oldest first."""
        try:
            folder = self._open_folder()
        except OSError:
            return []
        try:
            return self._tail(folder, lines)
        finally:
            os.close(folder)

    def _tail(self, folder: int, lines: int) -> list[bytes]:
        try:
            file = os.open(self.path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return []
        with os.fdopen(file, "rb") as text:
            return text.read().splitlines()[-lines:]

    def _turn_over(self, folder: int) -> None:
        carried = self._tail(folder, self._carry) if self._carry else []
        stem, suffix = self.path.stem, self.path.suffix
        older = [f"{stem}.{age}{suffix}" for age in range(1, self._keep + 1)]
        for young, old in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.rename(young, old, src_dir_fd=folder, dst_dir_fd=folder)
        fresh = f"{self.path.name}-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        file = os.open(fresh, _FILE | os.O_EXCL, 0o644, dir_fd=folder)
        with os.fdopen(file, "wb") as text:
            text.write(b"".join(line + b"\n" for line in carried))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(older[0], dir_fd=folder)
        # A second name first: at no moment is the log missing.
        os.link(self.path.name, older[0], src_dir_fd=folder, dst_dir_fd=folder)
        os.rename(fresh, self.path.name, src_dir_fd=folder, dst_dir_fd=folder)


def _append(file: int, line: bytes) -> int:
    """Write a line at the end of an open file and return how long it is now."""
    size = os.fstat(file).st_size
    # A process killed inside a write may have left half a line: it must not swallow this one.
    broken = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    data = memoryview((b"\n" if broken else b"") + line + b"\n")
    while data:
        data = data[os.write(file, data) :]
    return os.fstat(file).st_size
