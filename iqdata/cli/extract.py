"""`iqdata extract`: the server's extraction rules, applied here."""

import dataclasses
import datetime
import time
from pathlib import Path

import click

from iqdata.cli import render, sizes
from iqdata.cli.archives import Archive, archives_of, decoding_options, limits_of, local_entry
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.preview import bar
from iqdata.cli.render_archives import preview_lines
from iqdata.errors import ConfigError
from iqdata.extract.engine import extract, inspect, sweep
from iqdata.extract.mapping import shown
from iqdata.extract.model import ArchiveStatus, Engine, EntryOutcome, ExtractionResult, Limits
from iqdata.manifest import STATE_FOLDER, ExtractionRecord, ProducedPath, record, writable
from iqdata.paths import RelPath
from iqdata.preview import is_good, preview

_SWEEP_AFTER_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What the flags say about one extraction."""

    engine: Engine
    limits: Limits
    overwrite: bool
    show_all: bool


@click.command()
@click.argument("paths", metavar="FILE…|DIR", nargs=-1, required=True)
@click.option("--into", metavar="DIR", help="Extract there instead of beside the archive.")
@click.option("--dry-run", is_flag=True, help="Show what would be done.")
@click.option("--all", "show_all", is_flag=True, help="Show every path, however many there are.")
@click.option(
    "--overwrite/--no-overwrite",
    default=True,
    help="Replace files that are there (default, as the space does).",
)
@decoding_options
@everywhere
def extract_command(
    options: Everywhere,
    paths: tuple[str, ...],
    *,
    into: str | None,
    dry_run: bool,
    show_all: bool,
    overwrite: bool,
    engine: str,
    max_bytes: str | None,
    max_ratio: int | None,
) -> int:
    """Extract archives here as the server would; never more than one layer, never deleting.

    Exit code 1 when a member was damaged, refused or encrypted.
    """
    archives = archives_of(paths, current=options.workspace)
    how = _How(
        engine=Engine(engine), limits=limits_of(max_bytes, max_ratio), overwrite=overwrite, show_all=show_all
    )
    target = None if into is None else options.workspace / into
    if target is not None and not dry_run:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(f"--into {into}: {exc.strerror}") from exc
    worst = 0
    for archive in archives:
        if dry_run:
            worst = max(worst, _dry(archive, target, options, how))
        else:
            worst = max(worst, _one(archive, target, options, how))
    if not archives and not options.json_lines:
        render.say("No archive there: no rule applies to any file's name.")
    return worst


def _dry(archive: Archive, target: Path | None, options: Everywhere, how: _How) -> int:
    with bar(archive.path, f"reading {archive.path.name}", options) as on_bytes:
        plan = inspect(archive.path, engine=how.engine, limits=how.limits, on_bytes=on_bytes)
    base = archive.base if target is None else target
    shown = archive.shown if target is None else archive.path.name
    one = preview(shown, plan, look_up=lambda path: local_entry(base, path))
    if options.json_lines:
        render.emit(one.as_json())
    else:
        for line in preview_lines(one, show_all=how.show_all):
            render.say(line)
    return 0 if is_good(plan) else 1


def _one(archive: Archive, target: Path | None, options: Everywhere, how: _How) -> int:
    folder = target or archive.path.parent
    stage_in = _stage_folder(archive.workspace, folder)
    for place in {folder, stage_in or folder}:
        sweep(place, older_than_s=_SWEEP_AFTER_S, now=time.time())
    before = archive.path.stat() if archive.path.exists() else None
    with bar(archive.path, f"extracting {archive.path.name}", options) as on_bytes:
        result = extract(
            archive.path,
            target,
            overwrite=how.overwrite,
            limits=how.limits,
            engine=how.engine,
            on_bytes=on_bytes,
            stage_in=stage_in,
        )
    if archive.workspace is not None and result.tool is not None and before is not None:
        _remember(
            archive, archive.workspace, folder, result, size_bytes=before.st_size, mtime_ns=before.st_mtime_ns
        )
    if options.json_lines:
        render.emit(_as_json(archive, folder, result))
    else:
        _say(archive, folder, result, options)
    return 0 if result.status in (ArchiveStatus.OK, ArchiveStatus.NO_RULE) else 1


def _stage_folder(workspace: Path | None, folder: Path) -> Path | None:
    """Return the workspace's private folder for staging, where files can be renamed from there into `folder`."""
    if workspace is None or not folder.is_relative_to(workspace):
        return None
    private = workspace / STATE_FOLDER
    private.mkdir(exist_ok=True)
    return private if private.stat().st_dev == folder.stat().st_dev else None


def _prefix(archive: Archive, folder: Path) -> str:
    below = (
        folder.relative_to(archive.base).as_posix()
        if folder.is_relative_to(archive.base)
        else folder.as_posix()
    )
    return "" if below == "." else f"{below}/"


def _remember(
    archive: Archive,
    workspace: Path,
    folder: Path,
    result: ExtractionResult,
    *,
    size_bytes: int,
    mtime_ns: int,
) -> None:
    """Keep in the workspace which paths came from the archive, for `iqeval` and for the next sync."""
    inside = folder.is_relative_to(workspace)
    prefix = _prefix(archive, folder)
    produced = [
        ProducedPath(
            path=RelPath(prefix + entry.path),
            kind=entry.kind.value,
            size_bytes=entry.size_bytes,
            mtime_ns=entry.mtime_ns,
        )
        for entry in result.entries
        if inside and entry.outcome is EntryOutcome.WRITTEN
    ]
    extraction = ExtractionRecord(
        archive=RelPath(archive.shown),
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        tool=result.tool.value if result.tool else None,
        status=result.status.value,
        error=result.error,
        finished_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    with writable(workspace) as database:
        record(database, extraction, produced)


def _as_json(archive: Archive, folder: Path, result: ExtractionResult) -> dict[str, object]:
    prefix = _prefix(archive, folder)
    return {
        "archive": archive.shown,
        "tool": result.tool.value if result.tool else None,
        "status": result.status.value,
        "files": result.files,
        "total_bytes": result.size_bytes,
        "engine": result.engine,
        "entries": [
            {
                "path": prefix + entry.path,
                "type": entry.kind.value,
                "size_bytes": entry.size_bytes,
                "outcome": entry.outcome.value,
                "error": entry.error,
            }
            for entry in result.entries
        ]
        + [
            {
                "path": prefix + skipped.name,
                "type": "file",
                "size_bytes": 0,
                "outcome": "refused",
                "error": skipped.reason,
            }
            for skipped in result.skipped
        ],
        "warnings": list(result.warnings),
        "error": result.error,
    }


def _say(archive: Archive, folder: Path, result: ExtractionResult, options: Everywhere) -> None:
    name = shown(archive.shown)
    if result.tool is None:
        render.say(f"{name}: no rule applies, stays as it is")
    elif result.status is ArchiveStatus.OK:
        if not options.quiet:
            render.say(
                f"{name}: {render.plural(result.files, 'file')}, {sizes.text_of(result.size_bytes)} extracted"
            )
    else:
        render.say(
            f"{name}: {result.status.value}: {shown(result.error or '')};"
            f" {render.plural(result.files, 'file')} extracted"
        )
    prefix = _prefix(archive, folder)
    if options.verbose:
        render.say(f"  by the {result.engine} engine")
    for entry in result.entries:
        bad = entry.outcome in (EntryOutcome.REFUSED, EntryOutcome.FAILED)
        if bad or options.verbose:
            error = f": {shown(entry.error)}" if entry.error else ""
            render.say(f"  {entry.outcome.value} {shown(prefix + entry.path)}{error}")
    for skipped in result.skipped:
        render.say(f"  refused {shown(skipped.name)}: {shown(skipped.reason)}")
    if not options.quiet:
        for warning in result.warnings:
            render.say(f"  * {shown(warning)}")
