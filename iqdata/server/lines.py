"""A file of JSON lines that grows, is turned over when it is large, and never loses its latest lines to a reader.

Refuses to hold anything back: a line is in the file when `append` returns.
"""

import contextlib
import os
import threading
from pathlib import Path


class LineFile:
    """Appends lines; turns over by putting a new file with the last lines in the place of the full one.

    A reader that knows an offset sees the file become shorter and starts again at 0; the `carry` latest lines are
    there then, so that whoever waits for a line still finds it.
    """

    def __init__(self, path: Path, *, limit_bytes: int = 8 * 1024**2, keep: int = 3, carry: int = 0) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._carry = carry
        self._lock = threading.Lock()
        self._mode = 0o644

    def append(self, line: bytes) -> None:
        """Write one line (without its end) in one piece."""
        with self._lock:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, self._mode)
            try:
                size = os.fstat(descriptor).st_size
                # A process killed inside a write may have left half a line: it must not swallow this one.
                broken = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                data = memoryview((b"\n" if broken else b"") + line + b"\n")
                while data:
                    data = data[os.write(descriptor, data) :]
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if size > self._limit_bytes:
                self._turn_over()

    def tail(self, lines: int) -> list[bytes]:
        """Return the last lines of the file, oldest first."""
        try:
            return self.path.read_bytes().splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def _turn_over(self) -> None:
        carried = self.tail(self._carry) if self._carry else []
        older = [
            self.path.with_name(f"{self.path.stem}.{age}{self.path.suffix}")
            for age in range(1, self._keep + 1)
        ]
        for young, old in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
            with contextlib.suppress(FileNotFoundError):
                young.replace(old)
        fresh = self.path.with_name(f"{self.path.name}-{os.getpid()}")
        fresh.write_bytes(b"".join(line + b"\n" for line in carried))
        with contextlib.suppress(FileNotFoundError):
            older[0].unlink()
        # A second name first: at no moment is the log missing.
        os.link(self.path, older[0])
        fresh.replace(self.path)
