"""The only writer in a workspace: temporary file → look again → old version to the trash → rename.

Refuses to write through a link and to replace or delete what is not what the plan expected.
"""

import base64
import datetime
import errno
import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from iqdata.compare import same_local
from iqdata.errors import WorldMoved
from iqdata.manifest import STATE_FOLDER
from iqdata.paths import RelPath
from iqdata.rules import is_temporary, temporary_name
from iqdata.scan import local_entry
from iqdata.tree import Entry, Kind


def random_token() -> str:
    """Return 24 random letters and digits for `rules.temporary_name`: enough that two clients never meet."""
    # One request to the system, not one for each letter.
    return base64.b32encode(os.urandom(15)).decode("ascii").lower()


class LocalFolder:
    """Changes to one workspace in one run."""

    def __init__(self, workspace: Path, *, now: Callable[[], datetime.datetime]) -> None:
        self.workspace = workspace
        self._root = os.fspath(workspace)
        self._state = workspace / STATE_FOLDER
        self._temporary = self._state / "tmp"
        self._trash = self._state / "trash"
        self._run_trash = self._trash / f"{now():%Y%m%dT%H%M%SZ}-{random_token()[:6]}"
        self._real_folders: set[RelPath] = set()
        self._has_stage = False
        self._lock = threading.Lock()

    def current(self, path: RelPath) -> Entry | None:
        """Return what stands at a path now, without following links, or None."""
        try:
            return local_entry(os.lstat(f"{self._root}/{path}"))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def expect(self, path: RelPath, expected: Entry | None) -> None:
        """Check that a path still is as the plan saw it.

        Raises:
            WorldMoved: it is not.
        """
        now = self.current(path)
        if not same_local(now, expected):
            raise _moved(path, "vanished" if now is None else "appeared" if expected is None else "changed")

    def new_temporary(self) -> Path:
        """Return a path for a new temporary file, on the workspace's file system and outside the areas."""
        return self._stage() / temporary_name(random_token())

    def resumable_temporary(self, token: str) -> Path:
        """Return the temporary path that belongs to `token`, the same in every run: what is there can be gone on with."""
        return self._stage() / temporary_name(token)

    def _stage(self) -> Path:
        """Return the folder of temporary files, made once."""
        if not self._has_stage:
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._has_stage = True
        return self._temporary

    def place(self, temporary: Path, path: RelPath, *, expected: Entry | None) -> Entry:
        """Give a complete, dated temporary file its real name, and return it as it stands.

        Raises:
            WorldMoved: the path is not as expected; the temporary file is left for the caller.
            OSError: the file system refused.
        """
        self._check_parents(path)
        if expected is not None:
            self.expect(path, expected)
        try:
            self._put(temporary, path, expected)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            # The area lies on another file system: copy next to the target under an inert name, then rename.
            beside = (self.workspace / path).parent / temporary_name(random_token())
            try:
                shutil.copy2(temporary, beside)
                _sync(beside)
                self._put(beside, path, expected)
            finally:
                beside.unlink(missing_ok=True)
            temporary.unlink()
        standing = self.current(path)
        if standing is None:
            raise WorldMoved(f"{path} vanished here right after it was written")
        return standing

    def _put(self, complete: Path, path: RelPath, expected: Entry | None) -> None:
        """Give a file on the target's file system its name. What it replaces is kept, whatever that is by then.

        The kernel checks and acts in one step, so a file that somebody saves in this very moment is not lost.
        """
        target = self.workspace / path
        if expected is None:
            try:
                if not _rename(complete, target, _NOREPLACE):
                    self.expect(path, None)
                    complete.replace(target)
            except FileExistsError:
                raise _moved(path, "appeared") from None
            return
        # In the trash before it is replaced: a process that dies in between leaves it in both places, never in none.
        self._to_trash(path, keep_in_place=True)
        if not _rename(complete, target, _EXCHANGE):
            complete.replace(target)
            return
        replaced = local_entry(os.lstat(complete))
        if same_local(replaced, expected):
            complete.unlink()
            return
        # Somebody was faster: their version goes back, unless it has been replaced again meanwhile; then both are kept.
        _rename(complete, target, _EXCHANGE)
        if not same_local(self.current(path), replaced):
            _move(complete, self.trash_path(path))
        raise _moved(path, "changed")

    def make_folder(self, path: RelPath) -> None:
        """Create a folder and those above it; one that is there is no error."""
        self._check_parents(path)
        (self.workspace / path).mkdir(parents=True, exist_ok=True)

    def delete(self, path: RelPath, *, expected: Entry) -> None:
        """Move a file to the trash, or remove an empty folder.

        Raises:
            WorldMoved: it is not what was expected, or the folder is not empty.
        """
        self._check_parents(path)
        self.expect(path, expected)
        if expected.kind is Kind.FOLDER:
            try:
                (self.workspace / path).rmdir()
            except OSError as exc:
                raise WorldMoved(f"{path} is not empty here ({exc.strerror}); left alone") from exc
            return
        self._to_trash(path, keep_in_place=False)

    def rename_aside(self, path: RelPath, copy: RelPath, *, expected: Entry) -> Entry:
        """Give the loser of a conflict its conflict name, and return it as it stands.

        Raises:
            WorldMoved: it is not what was expected, or the conflict name is taken.
        """
        self._check_parents(path)
        self.expect(path, expected)
        self.expect(copy, None)
        source, target = self.workspace / path, self.workspace / copy
        if not _rename(source, target, _NOREPLACE):
            source.rename(target)
        standing = self.current(copy)
        if standing is None:
            raise WorldMoved(f"{copy} vanished here right after it was renamed")
        return standing

    def trash_path(self, path: RelPath) -> Path:
        """Return where this run keeps a replaced or deleted version of `path`; its folder exists."""
        kept = self._run_trash / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(kept):
            # A version of this path is kept already: one run may replace a file twice.
            kept = kept.parent / f"{kept.name}-{random_token()}"
        return kept

    def flush(self) -> None:
        """Bring what was written so far to the disk: one call for many files, before they get their real names."""
        if self._temporary.is_dir():
            _sync_file_system(self._temporary)

    def sweep(self, *, older_than_s: float, now_s: float, trash_days: int) -> None:
        """Remove temporary files that a killed run left, and trash past its age."""
        for item in _children(self._temporary):
            if is_temporary(item.name) and now_s - item.lstat().st_mtime > older_than_s:
                _remove(item)
        for item in _children(self._trash):
            if now_s - item.lstat().st_mtime > trash_days * 86400:
                _remove(item)

    def _check_parents(self, path: RelPath) -> None:
        """Check that no folder above `path` is a link (the area itself may be one).

        Raises:
            WorldMoved: one is.
        """
        if path.parent in self._real_folders:
            return
        for folder in path.ancestors()[1:]:
            if folder in self._real_folders:
                continue
            entry = self.current(folder)
            if entry is not None and entry.kind is not Kind.FOLDER:
                raise WorldMoved(f"{folder} is a link or a file here, so {path} is not written below it")
            if entry is not None:
                with self._lock:
                    self._real_folders.add(folder)

    def _to_trash(self, path: RelPath, *, keep_in_place: bool) -> None:
        """Keep the present version: as a second name for the same file, or by moving it."""
        source, kept = self.workspace / path, self.trash_path(path)
        try:
            if keep_in_place:
                # A hard link costs nothing, and the path never stands empty: the rename that follows replaces it.
                os.link(source, kept, follow_symlinks=False)
            else:
                source.replace(kept)
        except OSError as exc:
            if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            shutil.copy2(source, kept, follow_symlinks=False)
            _sync(kept)
            if not keep_in_place:
                source.unlink()


_NOREPLACE, _EXCHANGE = 1, 2


@functools.cache
def _system_call(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None where it has none of that name."""
    import ctypes

    found: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    return found


def _rename(source: Path, target: Path, flags: int) -> bool:
    """Rename without replacing, or exchange two names, in one step; False where the system or file system cannot.

    Source: renameat2(2), which Python does not wrap.

    Raises:
        OSError: it can, and refused.
    """
    renameat2 = _system_call("renameat2")
    if renameat2 is None:
        return False
    here = -100  # AT_FDCWD: the paths are absolute, or count from the working folder
    if renameat2(here, os.fsencode(source), here, os.fsencode(target), flags) == 0:
        return True
    import ctypes  # loaded with the function

    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(target))


def _move(source: Path, target: Path) -> None:
    """Rename, or copy where the target lies on another file system."""
    try:
        source.replace(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target, follow_symlinks=False)
        _sync(target)
        source.unlink()


def _moved(path: RelPath, what: str) -> WorldMoved:
    return WorldMoved(f"{path} {what} here while the run was under way; left alone, the next run looks again")


def _children(folder: Path) -> Iterator[Path]:
    """Yield what a folder holds, nothing where there is none."""
    if folder.is_dir():
        yield from folder.iterdir()


def _remove(item: Path) -> None:
    if item.is_dir() and not item.is_symlink():
        shutil.rmtree(item, ignore_errors=True)
    else:
        item.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Bring one file to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(folder: Path) -> None:
    """Bring everything written on a folder's file system to the disk. Source: syncfs(2), which Python does not wrap."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syncfs = _system_call("syncfs")
        if syncfs is None or syncfs(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)
