"""Where a member lands, per tool: the archive's name for it → a path below the folder, or the reason why there is none.

Pure. Source of every rule: observed results of GNU tar 1.34 and 7-Zip 26.02 on Debian.
"""

import posixpath

from iqdata.paths import RelPath

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4095
"""Linux' NAME_MAX, and PATH_MAX without its NUL."""


class NoPath(Exception):
    """The tool skips a member of this name; the message says why."""


def text_of(raw: bytes) -> str:
    """Return a raw name as `os.fsdecode` would under UTF-8: whatever the bytes, the way back is exact."""
    return raw.decode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """Return a name for people: bytes that are no UTF-8 and control characters as escapes, everything else as it is."""
    if name.isprintable():
        return name
    visible = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in visible)


def tar_path(raw: bytes) -> RelPath:
    """Return where GNU tar puts a member called `raw`; the folder itself is the empty path.

    Leading slashes go; a `..` anywhere means that the member is skipped; empty and `.` parts collapse as the kernel
    collapses them.

    Raises:
        NoPath: the member is skipped.
    """
    if raw.startswith(b"/"):
        raw = raw.lstrip(b"/")
    name = text_of(raw)
    if "//" not in name and "." not in name and not name.endswith("/"):
        return RelPath(name)
    parts = name.split("/")
    if ".." in parts:
        raise NoPath("its name contains '..'")
    return RelPath("/".join([part for part in parts if part and part != "."]))


def tar_is_nameless_file(raw: bytes) -> bool:
    """Tell whether a non-directory of this name cannot be made, because it names a folder (`.`, `a/.`, nothing)."""
    last = raw.rstrip(b"/").rpartition(b"/")[2]
    return last in (b"", b".")


def sevenzip_path(raw: bytes, *, folder: bool) -> RelPath:
    """Return where 7-Zip puts a member called `raw`; the folder itself is the empty path (folders only).

    Every empty, `.` and `..` part is dropped wherever it stands; parents are not popped. Where that takes a file's last
    part, it is called `_`. A backslash and a colon are ordinary characters.
    """
    name = text_of(raw)
    if "/" not in name and name not in ("", ".", ".."):
        return RelPath(name)
    parts = name.split("/")
    kept = [part for part in parts if part not in ("", ".", "..")]
    if not folder and parts[-1] in ("", ".", ".."):
        kept.append("_")
    return RelPath("/".join(kept))


def stream_name(archive_name: str) -> str:
    """Return what 7-Zip calls the content of a single compressed stream that stores no name of its own.

    The last extension goes, then trailing spaces; `.`, `..` and nothing become `_`; with nothing before the dot the
    whole name stays and gets a `~`.
    """
    stem, dot, _ = archive_name.rpartition(".")
    if not dot:
        return f"{archive_name}~"
    if not stem:
        return f"{archive_name}~"
    stem = stem.rstrip(" ")
    return "_" if stem in ("", ".", "..") else stem


def too_long(path: RelPath) -> str | None:
    """Say why Linux cannot store this path, or None when it can."""
    if len(path) <= MAX_NAME_BYTES // 4:
        return None
    raw = path.encode("utf-8", "surrogateescape")
    if len(raw) > MAX_PATH_BYTES:
        return f"its path has {len(raw)} bytes, Linux allows {MAX_PATH_BYTES}"
    longest = max(len(part) for part in raw.split(b"/"))
    return (
        f"a name in it has {longest} bytes, Linux allows {MAX_NAME_BYTES}"
        if longest > MAX_NAME_BYTES
        else None
    )


def link_refusal(path: RelPath, target: str) -> str | None:
    """Say why a symbolic link at `path` is not made, or None when it stays inside the folder.

    `..` may only lead the target: then it climbs real folders (nothing is ever written through a link), and whatever
    links it meets on the way down are inside ones too. So every link made is inside, by induction.
    """
    if not target:
        return "it points to nothing"
    if target.startswith("/"):
        return f"it points to the absolute path {target}"
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    if climbs > path.count("/"):
        return f"it points out of the folder ({target})"
    if ".." in parts[climbs:]:
        return f"its target climbs through another path ({target})"
    return None


def base_name(path: str) -> str:
    """Return the last part of a path with `/`."""
    return posixpath.basename(path)
