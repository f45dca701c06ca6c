"""The real tar and 7zz as the server runs them, and trees as values that can be compared."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

from tests.conftest import need_program

NOBODY = 65534


def commands(tool: str, name: str) -> list[str]:
    """The command line of a server that protects itself from odd archive names; results are the plain one's."""
    if tool == "tar":
        return [need_program("tar"), "--force-local", "--no-same-owner", "--no-same-permissions", "-xf", name]
    return [need_program("7zz"), "x", "-y", "-spd", "-pX", "-o.", "--", name]


def run_real(tool: str, archive: Path, folder: Path) -> int:
    """Extract a copy of `archive` in `folder` as an unprivileged user would; the copy is gone when it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / archive.name
    shutil.copy2(archive, copy)
    identity = {}
    if os.geteuid() == 0:
        for parent in [*folder.parents]:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        os.chown(folder, NOBODY, NOBODY)
        os.chown(copy, NOBODY, NOBODY)
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    done = subprocess.run(
        commands(tool, archive.name),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        umask=0o022,
        timeout=600,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        **identity,
    )
    if os.path.lexists(copy):
        copy.unlink()
    return done.returncode


def tree(folder: Path, *, times: bool = True) -> dict[str, tuple]:
    """Every path below `folder` → (kind, mode, time in ns, content or target, number of names)."""
    found: dict[str, tuple] = {}
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(where, name)
            facts = path.lstat()
            mtime = facts.st_mtime_ns if times else None
            key = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(facts.st_mode):
                found[key] = ("symlink", None, None, os.readlink(path), 1)  # noqa: PTH115  # Path would tidy the target up
            elif stat.S_ISDIR(facts.st_mode):
                found[key] = ("directory", stat.S_IMODE(facts.st_mode), mtime, None, None)
            elif stat.S_ISREG(facts.st_mode):
                path.chmod(stat.S_IMODE(facts.st_mode) | 0o400)
                found[key] = ("file", stat.S_IMODE(facts.st_mode), mtime, path.read_bytes(), facts.st_nlink)
            else:
                found[key] = ("other", None, None, None, None)
    return found
