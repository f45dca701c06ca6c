"""Why a data path means nothing that is there: near names, the other area, archives that were not extracted.

Only true things are said. Refuses to walk without end, and to extract: archives are listed at most, within bounds.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_TRAIN, _GROUP = "train_data", "group_data"
_MOST_ENTRIES = 10_000
_MOST_MEMBERS = 10_000
_ARCHIVE_ENDS = (".7z", ".zip", ".gz", ".xz", ".gz2")
_STATES = {
    "running": "its extraction is still running",
    "damaged": "its extraction found it damaged",
    "encrypted": "it is encrypted",
    "no-rule": "no extraction rule applies to its name",
    "too-large": "its extraction went over a limit",
    "unsafe": "its extraction refused unsafe members",
    "unsupported": "its extraction is not supported here",
}


def hints(root: Path, area: str, inner: str) -> list[str]:
    """Return what is true about a missing path, the most helpful first."""
    import difflib

    folder = root / area
    if not folder.is_dir():
        return [f"there is no folder {area} in {root}"]
    parts = inner.split("/")
    nearest, depth = folder, 0
    for part in parts[:-1]:
        if not (nearest / part).is_dir():
            break
        nearest, depth = nearest / part, depth + 1
    wanted = parts[depth]
    names = _names(nearest)
    found: list[str] = []
    found += _archive_hints(root, area, inner, nearest, names)
    alike = [name for name in names if name != wanted and _folded(name) == _folded(wanted)]
    if alike:
        found.append(f"there is {_quoted(alike)} (capitals, or another form of the same letters)")
    else:
        close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.7)
        if close:
            found.append(f"did you mean {_quoted(close)}?")
    other = _GROUP if area == _TRAIN else _TRAIN
    if os.path.lexists(root / other / inner):
        found.append(f"there is {other}/{inner}")
    if not found and (elsewhere := _elsewhere(root, parts[-1])):
        found.append(f"there is {_quoted(elsewhere)}")
    where = nearest.relative_to(root).as_posix()
    if depth < len(parts) - 1:
        found.append(f"the nearest folder that exists is {where}")
    if not found:
        found.append(
            f"{where} holds {_quoted(names[:5])}{' and more' if len(names) > 5 else ''}"
            if names
            else f"{where} is empty"
        )
    return found


def _names(folder: Path) -> list[str]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_ENTRIES:
                    break
                found.append(entry.name)
    except OSError:
        return []
    return sorted(found)


def _folded(name: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", name).casefold()


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(repr(name) for name in names)


def _elsewhere(root: Path, name: str) -> list[str]:
    """Return where else the same base name is, after looking at so many entries and no more."""
    found: list[str] = []
    seen = 0
    for area in (_TRAIN, _GROUP):
        for where, folders, files in os.walk(root / area):
            seen += len(folders) + len(files)
            if name in files or name in folders:
                found.append(Path(where, name).relative_to(root).as_posix())
            if seen > _MOST_ENTRIES or len(found) >= 3:
                return found
    return found


# --- archives -----------------------------------------------------------------------------------------------------


def _archive_hints(root: Path, area: str, inner: str, nearest: Path, names: list[str]) -> list[str]:
    wanted = f"{area}/{inner}"
    known = _known(root)
    for archive, record in known.items():
        paths = record.get("paths")
        if isinstance(paths, list) and wanted in paths:
            return [
                f"{archive} had left it there ({record.get('finished_at')}); it is gone since: extract {archive} again"
            ]
    hints = []
    for path in _archives(root / area, nearest, names):
        shown = path.relative_to(root).as_posix()
        record = known.get(shown, {})
        member = _member(path, path.parent.relative_to(root).as_posix(), wanted)
        if member is False:
            continue
        state = _state(record)
        if member:
            hints.append(f"{shown} holds it, {state}")
        elif (
            _stem(path.name) == inner.rpartition("/")[2]
            or inner.startswith(f"{_stem(shown.partition('/')[2])}/")
            or path.parent == nearest
        ):
            produced = record.get("paths")
            left = f"; it left {_quoted(produced[:3])}" if isinstance(produced, list) and produced else ""
            hints.append(f"{shown} is there, {state}{left}")
        if len(hints) >= 2:
            break
    return hints


def _state(record: dict[str, object]) -> str:
    status = record.get("status")
    if status is None:
        return "but not extracted"
    if status == "ok":
        return "and it was extracted, without this path"
    error = record.get("error")
    return f"but not extracted: {_STATES.get(str(status), str(status))}" + (f" ({error})" if error else "")


def _archives(area: Path, nearest: Path, names: list[str]) -> Iterator[Path]:
    """Yield archives in the nearest existing folder and in those above it."""
    for name in names:
        if _is_archive(name) and (nearest / name).is_file():
            yield nearest / name
    folder = nearest
    while folder != area:
        folder = folder.parent
        for name in _names(folder):
            if _is_archive(name) and (folder / name).is_file():
                yield folder / name


def _is_archive(name: str) -> bool:
    return ".tar" in name or name.endswith(_ARCHIVE_ENDS)


def _stem(name: str) -> str:
    before, dot, _ = name.partition(".tar")
    return before if dot else name.rpartition(".")[0]


def _member(path: Path, folder: str, wanted: str) -> bool | None:
    """Tell whether an archive holds what would come out as `wanted`; None where that cannot be told cheaply."""
    import tarfile
    import zipfile

    if not wanted.startswith(f"{folder}/"):
        return False
    inner = wanted[len(folder) + 1 :]
    try:
        if zipfile.is_zipfile(path) and ".tar" not in path.name:
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist()[:_MOST_MEMBERS]]
        elif ".tar" in path.name and path.stat().st_size <= 64 << 20:
            names = []
            with tarfile.open(path) as tar:
                for number, info in enumerate(tar):
                    if number >= _MOST_MEMBERS:
                        return None
                    names.append(info.name)
        else:
            return None
    except (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError):
        return None
    plain = {"/".join(part for part in name.split("/") if part not in ("", ".")) for name in names}
    return inner in plain or any(name.startswith(f"{inner}/") for name in plain)


def _known(root: Path) -> dict[str, dict[str, object]]:
    given = os.environ.get("IQEVAL_EXTRACTIONS")
    if given is not None:
        import json

        try:
            with Path(given).open(encoding="utf-8") as stream:
                found = json.load(stream)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
    try:
        from iqeval.extractions import known_extractions
    except ImportError:  # a copy of this file alone, beside a model
        return {}
    return known_extractions(root)
