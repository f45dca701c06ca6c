"""The only place that creates files from an archive: into a staging folder first, then renamed to where they belong.

In the staging folder a whole tree grows that nobody else sees; what is complete and checked is then moved: folders that
are new by one rename, the rest member by member. Every step down is one `openat` with O_NOFOLLOW: no path is ever handed
to the kernel as a string of several parts, and nothing is written through a link, whoever planted it.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from iqdata.errors import ArchiveError, IqDataError
from iqdata.extract.members import Piece
from iqdata.extract.model import PlannedEntry
from iqdata.paths import RelPath
from iqdata.rules import is_temporary, temporary_name

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STAGE_MODE = 0o700
_OPEN_FOLDERS = 64
_PURPOSE = "stage"


class Stage:
    """A staging folder and the tree in it; a lock on it lasts as long as its process, so that `sweep` can tell."""

    def __init__(self, parent: Path, *, quota: Callable[[int], None] | None = None) -> None:
        name = temporary_name(os.urandom(12).hex(), purpose=_PURPOSE)
        self.path = parent / name
        self._quota = quota
        self._parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.mkdir(name, _STAGE_MODE, dir_fd=self._parent_fd)
            self._fd = os.open(name, _FOLDER_FLAGS, dir_fd=self._parent_fd)
        except BaseException:
            os.close(self._parent_fd)
            raise
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.mkdir("tree", _STAGE_MODE, dir_fd=self._fd)
        self._root = os.open("tree", _FOLDER_FLAGS, dir_fd=self._fd)
        self._folders: dict[str, int] = {"": self._root}
        self._umask_safe = _umask_is_022()

    # --- growing the tree ----------------------------------------------------------------------------------------

    def _folder(self, path: str) -> int:
        """Return a descriptor of a folder in the tree, made with its parents where missing."""
        known = self._folders.get(path)
        if known is not None:
            return known
        parent, _, name = path.rpartition("/")
        above = self._folder(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=above)
        fd = os.open(name, _FOLDER_FLAGS, dir_fd=above)
        if len(self._folders) >= _OPEN_FOLDERS:
            self._forget_folders(keep=path)
        self._folders[path] = fd
        return fd

    def _forget_folders(self, *, keep: str) -> None:
        ancestors = {keep[:at] for at, char in enumerate(keep) if char == "/"}
        for path in [known for known in self._folders if known and known not in ancestors]:
            os.close(self._folders.pop(path))

    def _make_room(self, above: int, path: str, name: str) -> None:
        """Remove what a later member replaces: a file, a link or an empty folder. The planner has said that it may."""
        try:
            os.unlink(name, dir_fd=above)
        except (IsADirectoryError, PermissionError):
            fd = self._folders.pop(path, None)
            if fd is not None:
                os.close(fd)
            os.rmdir(name, dir_fd=above)

    def write(
        self,
        entry: PlannedEntry,
        pieces: Iterable[Piece],
        *,
        segments: tuple[tuple[int, int], ...] | None = None,
    ) -> int:
        """Make a file and return its size; on any error nothing stays of it.

        Args:
            entry: says path, mode and time.
            pieces: the content; of a sparse file only its data.
            segments: where the data of a sparse file belongs, as (offset, length).
        """
        path = entry.path
        parent, _, name = path.rpartition("/")
        above = self._folders.get(parent)
        if above is None:
            above = self._folder(parent)
        mode = 0o644 if entry.mode is None else entry.mode
        try:
            fd = os.open(name, _FILE_FLAGS, mode, dir_fd=above)
        except FileExistsError:
            self._make_room(above, path, name)
            fd = os.open(name, _FILE_FLAGS, mode, dir_fd=above)
        try:
            try:
                size = (
                    self._fill(fd, pieces)
                    if segments is None
                    else self._fill_sparse(fd, pieces, segments, entry)
                )
                if not self._umask_safe:
                    os.fchmod(fd, mode)
                if entry.mtime_ns is not None:
                    _set_time(fd, entry.mtime_ns)
            finally:
                os.close(fd)
        except BaseException:
            os.unlink(name, dir_fd=above)
            raise
        return size

    def write_whole(self, entry: PlannedEntry, data: bytes) -> None:
        """Make a small file from its whole content; on any error nothing stays of it."""
        path = entry.path
        parent, _, name = path.rpartition("/")
        above = self._folders.get(parent)
        if above is None:
            above = self._folder(parent)
        if self._quota is not None:
            self._quota(len(data))
        mode = 0o644 if entry.mode is None else entry.mode
        try:
            fd = os.open(name, _FILE_FLAGS, mode, dir_fd=above)
        except FileExistsError:
            self._make_room(above, path, name)
            fd = os.open(name, _FILE_FLAGS, mode, dir_fd=above)
        try:
            try:
                if data and os.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, "No space left on device")
                if not self._umask_safe:
                    os.fchmod(fd, mode)
                mtime_ns = entry.mtime_ns
                if mtime_ns is not None:
                    _set_time(fd, mtime_ns)
            finally:
                os.close(fd)
        except BaseException:
            os.unlink(name, dir_fd=above)
            raise

    def _fill(self, fd: int, pieces: Iterable[Piece]) -> int:
        size = 0
        quota = self._quota
        for piece in pieces:
            length = len(piece)
            if quota is not None:
                quota(length)
            written = os.write(fd, piece)
            while written < length:
                written += os.write(fd, memoryview(piece)[written:])
            size += length
        return size

    def _fill_sparse(
        self, fd: int, pieces: Iterable[Piece], segments: tuple[tuple[int, int], ...], entry: PlannedEntry
    ) -> int:
        rest = iter(segments)
        offset = left = 0
        for piece in pieces:
            view = memoryview(piece)
            if self._quota is not None:
                self._quota(len(view))
            while view:
                while not left:
                    offset, left = next(rest)
                count = os.pwrite(fd, view[:left], offset)
                view, offset, left = view[count:], offset + count, left - count
        size = entry.size_bytes or 0
        os.ftruncate(fd, size)
        return size

    def make_folder(self, path: RelPath) -> None:
        """Make a folder (or find it there); a file or link of its name goes first."""
        try:
            self._folder(path)
        except (NotADirectoryError, OSError) as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            parent, _, name = path.rpartition("/")
            os.unlink(name, dir_fd=self._folder(parent))
            self._folder(path)

    def make_symlink(self, path: RelPath, target: str, mtime_ns: int | None) -> None:
        """Make a symbolic link; call when all files are written, so that none can be written through it."""
        parent, _, name = path.rpartition("/")
        above = self._folder(parent)
        try:
            os.symlink(target, name, dir_fd=above)
        except FileExistsError:
            self._make_room(above, path, name)
            os.symlink(target, name, dir_fd=above)
        if mtime_ns is not None:
            with contextlib.suppress(OSError, OverflowError):
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=above, follow_symlinks=False)

    def make_hardlink(self, path: RelPath, target: RelPath) -> None:
        """Make one more name for a file of the tree."""
        target_parent, _, target_name = target.rpartition("/")
        parent, _, name = path.rpartition("/")
        above = self._folder(parent)
        source = self._folder(target_parent)
        if path == target:
            return
        try:
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)
        except FileExistsError:
            self._make_room(above, path, name)
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)

    def adopt(self, path: RelPath, source_fd: int, source_name: str) -> None:
        """Move a file that a real tool made in a folder of its own into the tree."""
        parent, _, name = path.rpartition("/")
        above = self._folder(parent)
        try:
            os.rename(source_name, name, src_dir_fd=source_fd, dst_dir_fd=above)
        except IsADirectoryError:
            self._make_room(above, path, name)
            os.rename(source_name, name, src_dir_fd=source_fd, dst_dir_fd=above)

    def drop(self, path: RelPath) -> None:
        """Take a file or link out of the tree again: it turned out wrong."""
        parent, _, name = path.rpartition("/")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder(parent))

    def drop_folder(self, path: RelPath) -> None:
        """Take an empty folder out of the tree again; one with content stays."""
        parent, _, name = path.rpartition("/")
        fd = self._folders.pop(path, None)
        if fd is not None:
            os.close(fd)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=self._folder(parent))

    def dress_folders(self, folders: Iterable[PlannedEntry]) -> None:
        """Give folders their modes and times, deepest first: making something in one changes its time."""
        for entry in sorted(folders, key=lambda entry: entry.path.count("/"), reverse=True):
            _dress(self._folder(entry.path), entry)

    @property
    def fd(self) -> int:
        """The staging folder itself, for a real tool's own folder in it."""
        return self._fd

    # --- moving it into place ------------------------------------------------------------------------------------

    def place(
        self,
        into: Path,
        *,
        overwrite: bool,
        folders: dict[RelPath, PlannedEntry],
        protected: tuple[int, int] | None,
    ) -> "Placed":
        """Move the tree into `into`.

        Args:
            into: an existing folder.
            overwrite: whether files there are replaced.
            folders: planned folders that have a mode or time of their own.
            protected: (device, inode) of the archive, which nothing replaces.
        """
        for path, fd in list(self._folders.items()):
            if path:
                os.close(fd)
        self._folders = {"": self._root}
        placed = Placed()
        there = os.open(into, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _Placing(placed, overwrite=overwrite, folders=folders, protected=protected).merge(
                self._root, there, ""
            )
        finally:
            os.close(there)
        return placed

    def close(self) -> None:
        """Remove the staging folder with all that is left in it."""
        for fd in self._folders.values():
            os.close(fd)
        self._folders = {}
        with contextlib.suppress(OSError):
            _remove_tree(self.path.name, self._parent_fd)
        os.close(self._fd)
        os.close(self._parent_fd)


class Placed:
    """What came of moving a tree into place.

    Attributes:
        failures: what could not be moved, by path; everything below such a path was not moved either.
        kept: files that stand there and were not to be replaced.
        replaced_bytes: of files that are gone for good because others took their names.
    """

    def __init__(self) -> None:
        self.failures: dict[RelPath, str] = {}
        self.kept: set[RelPath] = set()
        self.replaced_bytes = 0

    def failure_of(self, path: RelPath) -> str | None:
        """Return why `path` was not placed, or None when it was."""
        if not self.failures:
            return None
        direct = self.failures.get(path)
        if direct is not None:
            return direct
        for folder in path.ancestors():
            if folder in self.failures:
                return self.failures[folder]
        return None


class _Placing:
    """One merge of a staged tree into a folder, with its settings."""

    def __init__(
        self,
        placed: Placed,
        *,
        overwrite: bool,
        folders: dict[RelPath, PlannedEntry],
        protected: tuple[int, int] | None,
    ) -> None:
        self._placed = placed
        self._overwrite = overwrite
        self._folders = folders
        self._protected = protected

    def merge(self, source: int, there: int, prefix: str) -> None:
        """Move the content of one staged folder into an existing one."""
        with os.scandir(source) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_folder in found:
            path = RelPath(prefix + name)
            try:
                self._move(source, there, name, path, is_folder=is_folder)
            except OSError as exc:
                self._placed.failures[path] = f"it could not be moved into place: {exc.strerror}"

    def _move(self, source: int, there: int, name: str, path: RelPath, *, is_folder: bool) -> None:
        try:
            facts = os.stat(name, dir_fd=there, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=there)
            return
        if (facts.st_dev, facts.st_ino) == self._protected:
            self._placed.failures[path] = (
                "it has the name of the archive itself, which is never replaced while it is read"
            )
        elif is_folder:
            self._move_folder(source, there, name, path, facts)
        elif stat.S_ISDIR(facts.st_mode):
            self._replace_folder(source, there, name, path)
        elif not self._overwrite:
            self._placed.kept.add(path)
        else:
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=there)
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
                self._placed.replaced_bytes += facts.st_size

    def _move_folder(self, source: int, there: int, name: str, path: RelPath, facts: os.stat_result) -> None:
        if stat.S_ISLNK(facts.st_mode):
            self._placed.failures[path] = (
                "a link of this name stands there, and nothing is written through one"
            )
            return
        if not stat.S_ISDIR(facts.st_mode):
            self._placed.failures[path] = "a file of this name stands there, where a folder is needed"
            return
        inner_source = os.open(name, _FOLDER_FLAGS, dir_fd=source)
        try:
            inner_there = os.open(name, _FOLDER_FLAGS, dir_fd=there)
            try:
                self.merge(inner_source, inner_there, f"{path}/")
                entry = self._folders.get(path)
                if entry is not None:
                    _dress(inner_there, entry)
            finally:
                os.close(inner_there)
        finally:
            os.close(inner_source)

    def _replace_folder(self, source: int, there: int, name: str, path: RelPath) -> None:
        try:
            os.rmdir(name, dir_fd=there)
        except OSError:
            self._placed.failures[path] = "a folder with content has this name"
            return
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=there)


def _dress(fd: int, entry: PlannedEntry) -> None:
    with contextlib.suppress(PermissionError):
        if entry.mode is not None:
            os.fchmod(fd, entry.mode)
        if entry.mtime_ns is not None:
            _set_time(fd, entry.mtime_ns)


def _set_time(fd: int, mtime_ns: int) -> None:
    try:  # noqa: SIM105  # called for every file, and suppress() takes longer than the system call
        os.utime(fd, ns=(mtime_ns, mtime_ns))
    except (OverflowError, OSError):
        pass  # a time that the file system cannot hold is left out, as the tools leave it


def _umask_is_022() -> bool:
    """Tell whether the process has the modelled umask, without changing it: another thread may be making files."""
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        return False
    return b"\nUmask:\t0022\n" in status


def sweep(folder: Path, *, older_than_s: float, now: float) -> int:
    """Remove staging folders in `folder` whose process is gone, and return how many there were.

    Args:
        folder: where archives were extracted into, or the folder given for staging.
        older_than_s: younger ones stay, whoever made them.
        now: seconds since 1970.
    """
    removed = 0
    try:
        parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        with os.scandir(parent) as entries:
            names = [
                entry.name
                for entry in entries
                if is_temporary(entry.name) and entry.name.split("-")[1] == _PURPOSE
            ]
        for name in names:
            with contextlib.suppress(OSError):
                fd = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
                try:
                    if now - os.fstat(fd).st_mtime < older_than_s:
                        continue
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove_tree(name, parent)
                    removed += 1
                finally:
                    os.close(fd)
    finally:
        os.close(parent)
    return removed


def _remove_tree(name: str, parent: int) -> None:
    """Remove a folder of ours with all in it, never following a link. `shutil` does the same and imports every codec."""
    fd = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    try:
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for inner, is_folder in found:
            if is_folder:
                _remove_tree(inner, fd)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)


def reason_of(exc: Exception) -> str:
    """Return an error of writing in words."""
    if isinstance(exc, IqDataError | ArchiveError):
        return str(exc)
    return str(getattr(exc, "strerror", None) or exc)
