"""A model folder → the archive that is uploaded: what goes in, what is wrong with it, and then the file.

Published name, place, prefix and default excludes; the same input gives the same bytes. Refuses to write while there is
an error: it is said before the upload, not after.

Source: published SDK, `pack_models.py`, commit 7177702.
"""

import dataclasses
import gzip
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from iqeval.errors import PackError
from iqeval.findings import Finding, Level, code_findings, entry_findings, error, warning
from iqeval.outputs import OUTPUTS

DEFAULT_NAME = "upload.tar.gz"
DEFAULT_EXCLUDES = ("run_script.py", DEFAULT_NAME, "__pycache__")
IGNORE_FILE = ".iqignore"

_LARGE = 50 << 20
_DATA_ENDS = (
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".parquet",
    ".npy",
    ".npz",
    ".txt",
    ".vec",
    ".zip",
    ".gz",
    ".7z",
    ".xz",
    ".tar",
    ".hdf5",
    ".h5",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How to pack.

    Attributes:
        name: the archive's file name, `.tar.gz` is added where it lacks; None is the published one.
        excludes: base names that are left out, at any depth.
        patterns: regular expressions; a base name that one of them matches as a whole is left out.
        most_bytes: the largest single file that may be in it.
        space: the work root for looking up data paths; None is the folder that holds the model.
    """

    name: str | None = None
    excludes: tuple[str, ...] = DEFAULT_EXCLUDES
    patterns: tuple[str, ...] = ()
    most_bytes: int = 2 << 30
    space: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file, or empty folder, of the archive: its name there and where it comes from."""

    name: str
    source: Path
    size_bytes: int
    is_folder: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackPlan:
    """What will be written where, and what was found on the way."""

    folder: Path
    target: Path
    members: tuple[Member, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended first."""
        return tuple(finding for finding in self.findings if finding.level is Level.ERROR)

    @property
    def total_bytes(self) -> int:
        """The size of all members."""
        return sum(member.size_bytes for member in self.members)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The archive that was written."""

    path: Path
    size_bytes: int
    sha256: str


def plan_pack(folder: Path, settings: Packing) -> PackPlan:
    """Return what packing a folder would do.

    Raises:
        PackError: a name with a folder in it, or a pattern that is no regular expression.
    """
    folder = Path(os.path.normpath(folder.absolute()))
    target = folder / archive_name(settings.name)
    if not folder.is_dir():
        return PackPlan(
            folder=folder, target=target, members=(), findings=(error(".", f"{folder}: no such folder"),)
        )
    findings: list[Finding] = []
    members = tuple(sorted(_members(folder, settings, target.name, findings), key=lambda member: member.name))
    findings += entry_findings(folder)
    findings += _name_clashes(folder, members)
    findings += _content_findings(folder, members, settings)
    code = [member.source for member in members if member.name.endswith(".py")]
    inside = [path for path in code if folder in path.parents]
    findings += code_findings(folder, inside, space=settings.space or _space_of(folder))
    return PackPlan(folder=folder, target=target, members=members, findings=tuple(findings))


def archive_name(name: str | None) -> str:
    """Return the archive's file name.

    Raises:
        PackError: it has a folder in it: the archive's place is the model folder.
    """
    if not name:
        return DEFAULT_NAME
    if "/" in name or "\\" in name:
        raise PackError(f"{name!r}: the archive's place is the model folder; give a file name")
    return name if name.endswith(".tar.gz") else f"{name}.tar.gz"


def _space_of(folder: Path) -> Path | None:
    for place in (folder, folder.parent):
        if any((place / area).is_dir() for area in ("train_data", "group_data")):
            return place
    return None


def _members(folder: Path, settings: Packing, target: str, findings: list[Finding]) -> Iterator[Member]:
    keep = _Filter(folder, settings, target)
    prefix = folder.name
    seen: set[str] = set()

    def walk(place: Path, inner: str) -> Iterator[Member]:
        real = os.path.realpath(place)
        if real in seen:
            findings.append(error(inner, "a link that leads back to a folder it lies in"))
            return
        seen.add(real)
        kept = [
            entry for entry in sorted(place.iterdir()) if keep(entry, f"{inner}/{entry.name}".lstrip("/"))
        ]
        if not kept and inner:
            yield Member(name=f"{prefix}/{inner}", source=place, size_bytes=0, is_folder=True)
        for entry in kept:
            name = f"{inner}/{entry.name}".lstrip("/")
            if entry.is_symlink() and not _stays(entry, folder):
                findings.append(error(name, f"a link that leaves the folder (to {entry.readlink()})"))
            elif entry.is_dir():
                yield from walk(entry, name)
            elif entry.is_file():
                yield Member(name=f"{prefix}/{name}", source=entry, size_bytes=entry.stat().st_size)
            else:
                what = "a link to nothing" if entry.is_symlink() else "neither a file nor a folder"
                findings.append(error(name, what))
        seen.discard(real)

    return walk(folder, "")


def _stays(link: Path, folder: Path) -> bool:
    real, top = Path(os.path.realpath(link)), Path(os.path.realpath(folder))
    return top in real.parents or real == top


class _Filter:
    """Tells which names are packed."""

    def __init__(self, folder: Path, settings: Packing, target: str) -> None:
        self._excludes = {*settings.excludes, target}
        self._patterns = []
        for pattern in settings.patterns:
            try:
                self._patterns.append(re.compile(pattern))
            except re.error as exc:
                raise PackError(f"-p {pattern!r}: no regular expression: {exc}") from exc
        self._ignored = None
        path = folder / IGNORE_FILE
        if path.is_file():
            import pathspec

            self._ignored = pathspec.GitIgnoreSpec.from_lines(path.read_text("utf-8").splitlines())

    def __call__(self, path: Path, name: str) -> bool:
        if path.name in self._excludes or any(pattern.fullmatch(path.name) for pattern in self._patterns):
            return False
        if self._ignored is None:
            return True
        return not self._ignored.match_file(f"{name}/" if path.is_dir() else name)


def _name_clashes(folder: Path, members: tuple[Member, ...]) -> Iterator[Finding]:
    by_folded: dict[str, str] = {}
    for member in members:
        inner = member.name.partition("/")[2]
        other = by_folded.setdefault(inner.casefold(), inner)
        if other != inner:
            yield error(
                inner, f"differs from {other} only in capitals: one would replace the other on some systems"
            )


def _content_findings(folder: Path, members: tuple[Member, ...], settings: Packing) -> Iterator[Finding]:
    told: set[str] = set()
    for member in members:
        inner = member.name.partition("/")[2]
        top = inner.partition("/")[0]
        for part, why in (
            (".git", "version control is packed along; exclude it with -e .git"),
            ("node_modules", "packages are packed along; exclude them"),
        ):
            if part in inner.split("/")[:-1] and part not in told:
                told.add(part)
                yield warning(part, why)
        if inner.endswith("pyvenv.cfg"):
            yield warning(
                inner.rpartition("/")[0] or ".", "a virtual environment is packed along; exclude it with -e"
            )
        if inner in OUTPUTS:
            yield warning(inner, "the result of a run is packed along; exclude it with -e")
        if top in ("train_data", "group_data") and top not in told:
            told.add(top)
            yield warning(
                top, "data are packed along; upload them to the space instead, and exclude the folder with -e"
            )
        if member.size_bytes > settings.most_bytes:
            yield error(inner, f"{member.size_bytes:,} bytes; a single file may have {settings.most_bytes:,}")
        elif member.size_bytes > _LARGE and inner.lower().endswith(_DATA_ENDS):
            yield warning(inner, f"{member.size_bytes >> 20} MB of data; they belong in train_data")


def pack(plan: PackPlan) -> Packed:
    """Write the archive: sorted, without times and owners, so that the same folder gives the same bytes.

    Raises:
        PackError: the plan has errors, or a file cannot be read.
    """
    if plan.errors:
        raise PackError(f"{plan.folder}: {len(plan.errors)} errors; nothing was packed")
    temporary = plan.target.with_name(f".{plan.target.name}.{os.getpid()}")
    try:
        with (
            temporary.open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for member in plan.members:
                _add(tar, member)
        digest = hashlib.sha256()
        with temporary.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        temporary.replace(plan.target)
    except OSError as exc:
        raise PackError(f"{exc.filename or plan.target}: cannot be packed: {exc.strerror or exc}") from exc
    finally:
        temporary.unlink(missing_ok=True)
    return Packed(path=plan.target, size_bytes=plan.target.stat().st_size, sha256=digest.hexdigest())


def _add(tar: tarfile.TarFile, member: Member) -> None:
    info = tarfile.TarInfo(member.name)
    if member.is_folder:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
        return
    with member.source.open("rb") as stream:
        status = os.fstat(stream.fileno())
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
        tar.addfile(info, stream)
