"""The archive's own bytes: read in order or at an offset, counted for progress.

Refuses to know any format.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from iqdata.errors import Damaged

CHUNK_BYTES = 256 * 1024


class RawFile:
    """One archive, opened for reading. `on_bytes` hears of every byte read for the first time (roughly)."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None] | None = None) -> None:
        # Without O_NONBLOCK, opening a named pipe that has an archive's name would wait for ever.
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
        self._on_bytes = on_bytes
        self._reported = 0
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode):
            self.close()
            raise Damaged(f"{path.name} is no regular file")
        self.size_bytes = facts.st_size
        self.mtime_ns = facts.st_mtime_ns
        self.identity = (facts.st_dev, facts.st_ino)
        self.position = 0

    @property
    def fd(self) -> int:
        """The descriptor, for the kernel to copy from."""
        return self._fd

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes, b"" at the end."""
        data = os.pread(self._fd, size, self.position)
        self.position += len(data)
        self.report(self.position)
        return data

    def at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file."""
        if offset < 0 or offset >= self.size_bytes or size <= 0:
            return b""
        data = os.pread(self._fd, size, offset)
        if len(data) < size and offset + len(data) < self.size_bytes:
            pieces = [data]
            have = len(data)
            while have < size and (more := os.pread(self._fd, size - have, offset + have)):
                pieces.append(more)
                have += len(more)
            data = b"".join(pieces)
        return data

    def report(self, position: int) -> None:
        """Tell the progress listener how far reading has come."""
        if self._on_bytes is not None and position > self._reported:
            self._on_bytes(position - self._reported)
            self._reported = position

    def has_changed(self) -> bool:
        """Tell whether somebody wrote to the file since it was opened."""
        facts = os.fstat(self._fd)
        return (facts.st_size, facts.st_mtime_ns) != (self.size_bytes, self.mtime_ns)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
