"""A folder as bytes on a data connection: MLSD, LIST and NLST lines made while they are sent.

Refuses to hold a whole listing in memory, and leaves nothing out.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator

from iqdata.paths import RelPath
from iqdata.server.permissions import Act, Standing, refusal

_BLOCK_BYTES = 48 * 1024
FACTS = ("type", "size", "modify", "perm", "unique")
_SIX_MONTHS_S = 182 * 86400
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

LineOf = Callable[[str, os.stat_result], str]


class Lines:
    """What the library sends piece by piece; closes the folder when it is done or dropped."""

    def __init__(self, folder: int, line_of: LineOf) -> None:
        self._blocks = _blocks(folder, line_of)

    def more(self) -> bytes:
        """Return the next piece, b"" at the end."""
        return next(self._blocks, b"")


def _blocks(folder: int, line_of: LineOf) -> Iterator[bytes]:
    try:
        gathered: list[bytes] = []
        size = 0
        for name in os.listdir(folder):
            try:
                # Links show what they lead to, as in any FTP server; one that leads nowhere shows itself.
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:  # it has gone since
                continue
            line = line_of(name, found).encode("utf-8", "surrogateescape")
            gathered.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                yield b"".join(gathered)
                gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)
    finally:
        os.close(folder)


def utc_stamp(seconds: float) -> str:
    """Return a time as MLSD and MDTM write it."""
    moment = time.gmtime(seconds)
    return (
        f"{moment.tm_year:04d}{moment.tm_mon:02d}{moment.tm_mday:02d}"
        f"{moment.tm_hour:02d}{moment.tm_min:02d}{moment.tm_sec:02d}"
    )


def facts_of(found: os.stat_result, perms: str, wanted: tuple[str, ...]) -> str:
    """Return the facts of one entry as RFC 3659 writes them."""
    mode = found.st_mode
    kind = (
        "dir"
        if stat.S_ISDIR(mode)
        else "file"
        if stat.S_ISREG(mode)
        else "OS.unix=slink"
        if stat.S_ISLNK(mode)
        else "OS.unix=other"
    )
    values = {
        "type": kind,
        "size": str(found.st_size),
        "modify": utc_stamp(found.st_mtime),
        "perm": perms,
        "unique": f"{found.st_dev:x}g{found.st_ino:x}",
    }
    return "".join(f"{name}={values[name]};" for name in wanted)


def perms_of(standing: Standing, path: RelPath, mode: int) -> str:
    """Return the `perm` fact: what the account may do with an entry."""
    if refusal(standing, Act.LOOK, path):
        return ""
    if stat.S_ISDIR(mode):
        perms = "el"
        if refusal(standing, Act.WRITE, path.joined("x")) is None:
            perms += "cmp"
    else:
        perms = "r"
        if refusal(standing, Act.WRITE, path) is None:
            perms += "aw"
    if refusal(standing, Act.DELETE, path) is None:
        perms += "df"
    return perms


def mlsd_line(standing: Standing, folder: RelPath, facts: tuple[str, ...]) -> LineOf:
    """Return a function that makes the MLSD line of an entry of `folder`."""
    if folder and facts == FACTS:
        # Below the top level the permissions depend on the kind of an entry alone: they are worked out once.
        inside = folder.joined("x")
        of_folder, of_file = (perms_of(standing, inside, mode) for mode in (stat.S_IFDIR, stat.S_IFREG))

        def quick(name: str, found: os.stat_result) -> str:
            return (
                f"{facts_of(found, of_folder if stat.S_ISDIR(found.st_mode) else of_file, facts)} {name}\r\n"
            )

        return quick

    def line(name: str, found: os.stat_result) -> str:
        return f"{facts_of(found, perms_of(standing, folder.joined(name), found.st_mode), facts)} {name}\r\n"

    return line


def list_line(now: float) -> LineOf:
    """Return a function that makes a line as `ls -l` does, which is what clients without MLSD read."""

    def line(name: str, found: os.stat_result) -> str:
        moment = time.gmtime(found.st_mtime)
        recent = 0 <= now - found.st_mtime < _SIX_MONTHS_S
        when = f"{moment.tm_hour:02d}:{moment.tm_min:02d}" if recent else f" {moment.tm_year}"
        return (
            f"{stat.filemode(found.st_mode)} {found.st_nlink:3d} space    space    {found.st_size:8d} "
            f"{_MONTHS[moment.tm_mon - 1]} {moment.tm_mday:02d} {when} {name}\r\n"
        )

    return line


def name_line(name: str, _found: os.stat_result) -> str:
    """Return the line of NLST."""
    return f"{name}\r\n"
