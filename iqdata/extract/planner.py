"""Members → what the folder will hold: the two tools' rules for clashes, links and odd members, applied in order.

Pure. Keeps the tree that the tool would have made so far and decides each member against it; refuses what must not exist
in a space (links that lead out, devices) and says why. The writer carries out what is decided here and decides nothing.
"""

from collections.abc import Callable

from iqdata.errors import TooLarge
from iqdata.extract.mapping import (
    MAX_NAME_BYTES,
    NoPath,
    link_refusal,
    sevenzip_path,
    stream_name,
    tar_is_nameless_file,
    tar_path,
    text_of,
    too_long,
)
from iqdata.extract.members import Flaw, Member, Stored
from iqdata.extract.model import Limits, MemberKind, PlannedEntry, SkippedMember
from iqdata.paths import RelPath
from iqdata.rules import Tool

UMASK = 0o022
"""What the modelled server's account has."""

_FILE_MODE = 0o666 & ~UMASK
_FOLDER_MODE = 0o777 & ~UMASK
_FILE_MASK = 0o777 & ~UMASK
_KEEP_FOLDER = 0o700
_ODD_STARTS = (b"", b"/", b".")

_FILE, _FOLDER, _SYMLINK, _HARDLINK = (
    MemberKind.FILE,
    MemberKind.DIRECTORY,
    MemberKind.SYMLINK,
    MemberKind.HARDLINK,
)


Spare = Callable[[RelPath, MemberKind], str | None]
"""Says why a path must not be made, for folders in which some belong to somebody else; None lets it be made."""


def _spare_nothing(_path: RelPath, _kind: MemberKind) -> None:
    """Let every path be made."""


class Planner:
    """Decides member after member.

    Attributes:
        entries: what the folder will hold, by path, in the order of making.
        skipped: members without a path.
        renamed: members that land under another name than their own (7z).
        replaced: paths that a later member takes from an earlier one.
        flaws: the kinds of flaws met.
        refusals: how many members are not made for safety's sake or because the tool cannot.
        has_refused: whether any entry is refused, for whatever reason.
    """

    def __init__(
        self, tool: Tool, *, archive_name: str, in_place: bool, limits: Limits, spare: Spare = _spare_nothing
    ) -> None:
        self.entries: dict[RelPath, PlannedEntry] = {}
        self.skipped: list[SkippedMember] = []
        self.renamed: list[tuple[str, RelPath]] = []
        self.replaced: list[RelPath] = []
        self.flaws: set[Flaw] = set()
        self.refusals = 0
        self.has_refused = False
        self.members = 0
        self.declared_bytes = 0
        self._tool = tool
        self._is_tar = tool is Tool.TAR
        self._archive = RelPath(archive_name)
        self._in_place = in_place
        self._limits = limits
        self._spare = spare
        self._last_parent: str | None = None  # known to stand and to be filled
        self._filled: set[str] = set()  # folders with something in them
        self._ready: set[str] = {""}  # folders that stand

    def place(self, member: Member) -> PlannedEntry | None:
        """Decide where `member` lands; None when it leaves nothing (skipped, or the folder itself).

        The entry is in `entries` when it returns.

        Raises:
            TooLarge: too many members, too deep, too much in total.
        """
        self.members += 1
        if self.members > self._limits.max_members:
            raise TooLarge(f"it holds more than {self._limits.max_members} members")
        kind = member.kind
        if kind is Stored.FILE and member.flaw is None:
            ordinary = self._ordinary(member)
            if ordinary is not None:
                return ordinary
        if self._tool is Tool.TAR:
            try:
                path = tar_path(member.name)
            except NoPath as exc:
                self._skip(member, str(exc))
                return None
            if kind is not Stored.DIRECTORY and tar_is_nameless_file(member.name):
                self._skip(member, "its name is that of a folder")
                return None
            if not path:
                return None  # the folder itself: its mode and time stay as they are
            if kind is Stored.HARDLINK and self._is_link_to_itself(member, path):
                return None
        else:
            path = sevenzip_path(member.name, folder=kind is Stored.DIRECTORY)
            if not path:
                return None
            if not member.name:
                path = RelPath(stream_name(self._archive))  # a member without a name gets the archive's
            if len(path) != len(member.name) and (name := text_of(member.name).removesuffix("/")) != path:
                self.renamed.append((name, path))
        if path.count("/") >= self._limits.max_depth:
            raise TooLarge(f"it nests folders more than {self._limits.max_depth} deep")
        return self._decide(member, kind, path)

    def _ordinary(self, member: Member) -> PlannedEntry | None:
        """Place the commonest member at once: a file with a plain new name in a folder that stands; None for any other."""
        raw = member.name
        if raw[:2] == b"./" and self._is_tar:
            raw = raw[2:]
        if (
            b"/." in raw
            or b"//" in raw
            or raw[:1] in _ODD_STARTS
            or raw[-1:] == b"/"
            or len(raw) > MAX_NAME_BYTES
        ):
            return None
        path = RelPath(raw.decode("utf-8", "surrogateescape"))
        parent = path.rpartition("/")[0]
        if path in self.entries or path == self._archive:
            return None
        if parent != self._last_parent:
            if parent not in self._ready:
                return None
            self._filled.add(parent)
            self._last_parent = parent
        if self._spare is not _spare_nothing and self._spare(path, _FILE) is not None:
            return None
        size, mode = member.size_bytes, member.mode
        entry = PlannedEntry(
            path=path,
            kind=_FILE,
            size_bytes=size,
            mode=_FILE_MODE if mode is None else mode & _FILE_MASK,
            mtime_ns=member.mtime_ns,
        )
        self.entries[path] = entry
        if size:
            self._declare(size)
        return entry

    def _declare(self, size: int) -> None:
        self.declared_bytes += size
        if self.declared_bytes > self._limits.max_bytes:
            raise TooLarge(f"it claims more than the {self._limits.max_bytes} bytes allowed here")

    def _decide(self, member: Member, kind: Stored, path: RelPath) -> PlannedEntry:
        made, target = _made(kind), None
        refusal = too_long(path) or _forbidden(kind) or self._spare(path, made)
        if (
            refusal is None
            and self._in_place
            and (path == self._archive or path.startswith(self._archive + "/"))
        ):
            refusal = "it has the name of the archive itself, which is never replaced while it is read"
        if refusal is None and member.flaw is not None:
            self.flaws.add(member.flaw)
            refusal = member.why
        elif refusal is None:
            refusal = self._clash(path, made)
            if refusal is None and made in (_SYMLINK, _HARDLINK):
                made, target, refusal = self._link(member, path, made)
            if refusal is not None:
                self.refusals += 1
        else:
            self.refusals += 1
        size = member.size_bytes if made is _FILE else 0
        entry = PlannedEntry(
            path=path,
            kind=made,
            size_bytes=size,
            mode=None if made is _SYMLINK else planned_mode(made, member.mode),
            mtime_ns=member.mtime_ns,
            target=target,
            refused=refusal,
        )
        if refusal is not None:
            self.has_refused = True
            # What stands there already is kept in the plan; the refused one is told beside it.
            if path in self.entries:
                self.skipped.append(SkippedMember(name=path, reason=refusal))
            else:
                self.entries[path] = entry
            return entry
        self._take(path, entry)
        if size:
            self._declare(size)
        return entry

    def _take(self, path: RelPath, entry: PlannedEntry) -> None:
        self._last_parent = None  # this may replace that folder
        parent = path.rpartition("/")[0]
        if parent not in self._ready:
            self._make_parents(path)
        self._filled.add(parent)
        before = self.entries.get(path)
        if before is not None:
            if before.kind is _FOLDER and entry.kind is _FOLDER:
                self.entries[path] = entry
                return
            if before.refused is None and before.kind is not _FOLDER:
                self.replaced.append(path)
                if before.kind is _SYMLINK and self._tool is Tool.SEVENZIP:
                    self.refusals += 1
                    self.skipped.append(
                        SkippedMember(name=path, reason="it is a link, and a later member has its name")
                    )
            del self.entries[path]
            self._ready.discard(path)
        self.entries[path] = entry
        if entry.kind is _FOLDER:
            self._ready.add(path)

    def _make_parents(self, path: RelPath) -> None:
        for folder in path.ancestors():
            if folder in self._ready:
                continue
            self._ready.add(folder)
            self._filled.add(folder.rpartition("/")[0])
            self.entries.pop(folder, None)  # only a refused one can stand there
            self.entries[folder] = PlannedEntry(path=folder, kind=_FOLDER, mode=_FOLDER_MODE)

    def _standing(self, path: str) -> PlannedEntry | None:
        entry = self.entries.get(RelPath(path))
        return entry if entry is not None and entry.refused is None else None

    def _clash(self, path: RelPath, made: MemberKind) -> str | None:
        """Say why the tree made so far leaves no room for `made` at `path`."""
        parent = path.rpartition("/")[0]
        if parent not in self._ready:
            for folder in path.ancestors():
                standing = self.entries.get(folder)
                if standing is not None and standing.refused is not None:
                    if standing.kind is _SYMLINK:
                        return f"{folder} is a link, which is not made"
                elif standing is not None and standing.kind is not _FOLDER:
                    what = (
                        "a link, and nothing is written through one"
                        if standing.kind is _SYMLINK
                        else "a file"
                    )
                    return f"{folder} is {what}"
        standing = self._standing(path)
        if standing is None:
            return None
        if standing.kind is _FOLDER:
            if made is not _FOLDER and path in self._filled:
                return "a folder with content has this name"
            return None
        if self._tool is Tool.TAR:
            return None
        # 7-Zip makes links last: what came meanwhile stays, and so does the first of two links.
        if made is _FOLDER:
            return f"a {'link' if standing.kind is _SYMLINK else 'file'} has this name"
        if made is _SYMLINK and standing.kind is _SYMLINK:
            return "an earlier link has this name"
        return None

    def _link(self, member: Member, path: RelPath, made: MemberKind) -> tuple[MemberKind, str, str | None]:
        target = text_of(member.link or b"")
        if made is _SYMLINK:
            refusal = link_refusal(path, target)
            if refusal is None and self._tool is Tool.SEVENZIP:
                refusal = _sevenzip_refusal(target) or self._through_link(path, target)
            return made, target, refusal
        try:
            wanted = tar_path(member.link or b"")
        except NoPath:
            return made, target, f"it is a hard link out of the folder ({target})"
        standing = self._standing(wanted)
        if standing is None or not wanted:
            return made, target, f"it is a hard link to {target or 'nothing'}, which is no member before it"
        if standing.kind is _FOLDER:
            return made, target, f"it is a hard link to the folder {wanted}"
        if standing.kind is _SYMLINK:
            return _SYMLINK, standing.target or "", link_refusal(path, standing.target or "")
        return made, wanted, None

    def _is_link_to_itself(self, member: Member, path: RelPath) -> bool:
        try:
            return tar_path(member.link or b"") == path and self._standing(path) is not None
        except NoPath:
            return False

    def _through_link(self, path: RelPath, target: str) -> str | None:
        """Say whether a target leads through a link made before; 7-Zip takes that for an attack."""
        at = path.rpartition("/")[0]
        for part in [part for part in target.split("/") if part not in ("", ".")][:-1]:
            at = f"{at}/{part}" if at else part
            standing = self._standing(at)
            if standing is not None and standing.kind is _SYMLINK:
                return f"7z makes no links through other links ({target})"
        return None

    def _skip(self, member: Member, reason: str) -> None:
        self.refusals += 1
        self.skipped.append(SkippedMember(name=text_of(member.name), reason=reason))


def _made(kind: Stored) -> MemberKind:
    match kind:
        case Stored.DIRECTORY:
            return _FOLDER
        case Stored.SYMLINK:
            return _SYMLINK
        case Stored.HARDLINK:
            return _HARDLINK
        case _:
            return _FILE


def _forbidden(kind: Stored) -> str | None:
    if kind is Stored.DEVICE:
        return "it is a device, which is never made"
    if kind is Stored.FIFO:
        return "it is a named pipe, which is never made"
    if kind is Stored.ANTI:
        return "it is an order to delete (anti item), which is never followed"
    return None


def _sevenzip_refusal(target: str) -> str | None:
    parts = target.split("/")
    if ".." in parts:
        return f"7z makes no links that climb ({target})"
    if not [part for part in parts if part not in ("", ".")]:
        return f"7z makes no link to its own folder ({target})"
    return None


def planned_mode(made: MemberKind, stored: int | None) -> int:
    """Return the permission bits that the tool leaves, from those that the archive stores."""
    if made is _FOLDER:
        return _FOLDER_MODE if stored is None else stored & 0o777 & ~UMASK | _KEEP_FOLDER
    return _FILE_MODE if stored is None else stored & 0o777 & ~UMASK
