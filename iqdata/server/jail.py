"""The files of one home, reached so that no link, old, uploaded or raced, leads out of it.

Every access starts at a descriptor of the home and is resolved by the kernel (`openat2`), or component by component
with `O_NOFOLLOW` where the kernel cannot. Links are followed for reading, inside the home only, as in a chroot; never
for writing. Refuses to know who asks: `permissions` does.
"""

import contextlib
import ctypes
import errno
import functools
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from iqdata.paths import RelPath

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE_IN_ROOT = 0x10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ANCHOR = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def _openat2(anchor: int, path: str, flags: int, resolve: int) -> int:
    how = _OpenHow(flags, 0, resolve)
    while True:
        found: int = _libc.syscall(_OPENAT2, anchor, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return found
        code = ctypes.get_errno()
        # EAGAIN: a rename elsewhere raced with the resolution of "..", which the kernel then cannot vouch for.
        if code not in (errno.EINTR, errno.EAGAIN):
            raise OSError(code, os.strerror(code), path)


@functools.cache
def _has_openat2() -> bool:
    try:
        os.close(_openat2(-100, ".", _ANCHOR, 0))
    except OSError:
        return False
    return True


Identity = tuple[int, int]
"""Device and inode: which file it is, whatever stands under its name by now."""


def identity_of(status: os.stat_result) -> Identity:
    """Return which file was looked at."""
    return status.st_dev, status.st_ino


class StoredFile(io.FileIO):
    """A file of the jail, open under its virtual path; `write` takes all it is given or raises.

    Attributes:
        identity: which file it is.
        written_bytes: how much was written into it, also by a `write` that failed on the way.
        lost_its_name: whether a session took its last name away while another still writes into it.
        last: how it was when it was closed.
    """

    def __init__(self, descriptor: int, mode: str, path: RelPath) -> None:
        super().__init__(descriptor, mode)
        self.path = path
        self.name = path
        self.identity = identity_of(os.fstat(descriptor))
        self.written_bytes = 0
        self.lost_its_name = False
        self.last: os.stat_result | None = None

    def write(self, data: object, /) -> int:
        """Write all of `data`: a full disk may take only a part and say so with the next call."""
        view = memoryview(data)  # type: ignore[arg-type]  # any buffer, as io.FileIO takes
        total = len(view)
        done = 0
        while done < total:
            count = super().write(view[done:]) or 0
            done += count
            self.written_bytes += count
        return total

    def close(self) -> None:
        """Close it, once, and note how it was."""
        if not self.closed:
            self.last = os.fstat(self.fileno())
        super().close()


class Jail:
    """One home, held by a descriptor."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._anchor = os.open(home, _ANCHOR | os.O_NOFOLLOW)

    def close(self) -> None:
        """Let go of the home; using the jail afterwards is an error."""
        if self._anchor >= 0:
            os.close(self._anchor)
            self._anchor = -1

    def _open(self, path: RelPath, flags: int, *, follow: bool) -> int:
        flags |= os.O_CLOEXEC
        if not path:
            # A fresh descriptor: the anchor itself is O_PATH and cannot be read.
            return os.open(".", flags, dir_fd=self._anchor)
        if _has_openat2():
            links = _RESOLVE_IN_ROOT if follow else _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS
            return _openat2(self._anchor, path, flags, links | _RESOLVE_NO_MAGICLINKS)
        *folders, name = path.split("/")
        here = self._anchor
        try:
            for folder in folders:
                below = os.open(folder, _ANCHOR | os.O_NOFOLLOW, dir_fd=here)
                if here != self._anchor:
                    os.close(here)
                here = below
            return os.open(name, flags | os.O_NOFOLLOW, dir_fd=here)
        finally:
            if here != self._anchor:
                os.close(here)

    @contextlib.contextmanager
    def parent(self, path: RelPath) -> Iterator[tuple[int, str]]:
        """Yield a descriptor of the folder that `path` lies in, and its base name; no link is followed."""
        if not path:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder, _, name = path.rpartition("/")
        if not folder:
            yield self._anchor, name
            return
        descriptor = self._open(RelPath(folder), _ANCHOR, follow=False)
        try:
            yield descriptor, name
        finally:
            os.close(descriptor)

    def open_folder(self, path: RelPath) -> int:
        """Return a descriptor of a folder, for listing; the caller closes it."""
        return self._open(path, _FOLDER, follow=True)

    def open_folder_strictly(self, path: RelPath) -> int:
        """Return a descriptor of a folder that is reached without any link; the caller closes it."""
        return self._open(path, _FOLDER | os.O_NOFOLLOW, follow=False)

    def stat(self, path: RelPath, *, follow: bool = True) -> os.stat_result:
        """Return what stands at `path`; a link's own entry with `follow=False`."""
        if not follow and path:
            with self.parent(path) as (folder, name):
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        descriptor = self._open(path, os.O_PATH, follow=True)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def open_read(self, path: RelPath) -> StoredFile:
        """Open a regular file for reading."""
        # O_NONBLOCK: opening a FIFO must not wait for its other end.
        descriptor = self._open(path, os.O_RDONLY | os.O_NONBLOCK, follow=True)
        return StoredFile(_regular(descriptor), "rb", path)

    def open_new(self, path: RelPath) -> StoredFile:
        """Create `path` as a new file; one that was there is unlinked first.

        Never written in place: an extraction or a download that still reads the old content keeps reading exactly
        that, and a hard link to the old file does not change.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.parent(path) as (folder, name):
            for _ in range(8):
                try:
                    return StoredFile(os.open(name, flags, 0o666, dir_fd=folder), "wb", path)
                except FileExistsError:
                    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path) from None
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def open_unique(self, folder: RelPath, prefix: str, token: str) -> StoredFile:
        """Create a file under a name that nobody has; never replaces one."""
        path = folder.joined(f"{prefix}{token}")
        with self.parent(path) as (descriptor, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return StoredFile(os.open(name, flags, 0o666, dir_fd=descriptor), "wb", path)

    def open_existing(self, path: RelPath, *, append: bool) -> StoredFile:
        """Open a regular file to go on writing: at its end, or where the caller seeks to.

        `append` makes the file when it is missing. A file with other hard links is refused: they would change too.
        """
        flags = (
            os.O_WRONLY
            | os.O_NOFOLLOW
            | os.O_NONBLOCK
            | os.O_CLOEXEC
            | (os.O_APPEND | os.O_CREAT if append else 0)
        )
        with self.parent(path) as (folder, name):
            descriptor = _regular(os.open(name, flags, 0o666, dir_fd=folder))
        if os.fstat(descriptor).st_nlink > 1:
            os.close(descriptor)
            raise OSError(errno.EMLINK, "The file has other hard links; upload it whole instead", path)
        return StoredFile(descriptor, "ab" if append else "wb", path)

    def make_folder(self, path: RelPath) -> None:
        """Make one folder."""
        with self.parent(path) as (folder, name):
            os.mkdir(name, dir_fd=folder)

    def remove_folder(self, path: RelPath) -> None:
        """Remove an empty folder."""
        with self.parent(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def remove_file(self, path: RelPath, *, only: Identity | None = None) -> os.stat_result | None:
        """Remove a file or a link and return what it was, None when it stays.

        Args:
            path: which one.
            only: leave alone what is another file than this by now.
        """
        with self.parent(path) as (folder, name):
            seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if only is not None and identity_of(seen) != only:
                return None
            os.unlink(name, dir_fd=folder)
            return seen

    def rename(self, source: RelPath, target: RelPath) -> None:
        """Give `source` the name `target`, replacing a file there."""
        with self.parent(source) as (from_folder, from_name), self.parent(target) as (to_folder, to_name):
            os.rename(from_name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)

    def set_mtime(self, path: RelPath, mtime_ns: int) -> None:
        """Date a file or folder; a link is not followed."""
        with self.parent(path) as (folder, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=folder, follow_symlinks=False)

    def set_mode(self, path: RelPath, mode: int) -> None:
        """Set permission bits of a file or folder; no special bits, and the owner never locks the space out."""
        found = self._open(path, os.O_RDONLY | os.O_NONBLOCK, follow=False)
        try:
            folder = stat.S_ISDIR(os.fstat(found).st_mode)
            os.fchmod(found, (mode & 0o777) | (0o700 if folder else 0o600))
        finally:
            os.close(found)


def _regular(descriptor: int) -> int:
    """Return `descriptor` if it is open on a regular file, set to block; otherwise close it and raise."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, os.strerror(code))
