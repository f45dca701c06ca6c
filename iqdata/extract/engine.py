"""Archive → plan (`inspect`) or files (`extract`): one walk over the members, with or without writing.

Both ask the same reader and the same planner in the same order, so what is previewed is what is written. Nothing is
raised for a bad archive: its status says what is wrong. Refuses to guess the tool: the name alone decides it.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from iqdata.errors import ArchiveError, Encrypted, EngineMissing, IqDataError, TooLarge
from iqdata.extract.glance import glance
from iqdata.extract.model import (
    ArchiveStatus,
    Engine,
    EntryOutcome,
    ExtractedEntry,
    ExtractionPlan,
    ExtractionResult,
    Limits,
    PlannedEntry,
)
from iqdata.extract.opening import Unreadable
from iqdata.extract.planner import Spare
from iqdata.extract.source import RawFile
from iqdata.extract.walk import Walk
from iqdata.extract.warnings import advice_when_ordinary, advice_without_rule
from iqdata.extract.writer import Placed, Stage, reason_of, sweep
from iqdata.rules import Tool, rule_for, tool_for

__all__ = ["extract", "inspect", "sweep"]

ASSUMED = {Tool.TAR: "GNU tar 1.34", Tool.SEVENZIP: "7-Zip 26.02"}


def _planned(walk: Walk) -> tuple[PlannedEntry, ...]:
    entries = walk.planner.entries.values()
    if not walk.failed and not walk.sizes:
        return tuple(entries)
    return tuple(
        PlannedEntry(
            path=entry.path,
            kind=entry.kind,
            size_bytes=walk.sizes.get(entry.path, entry.size_bytes),
            mode=entry.mode,
            mtime_ns=entry.mtime_ns,
            target=entry.target,
            refused=entry.refused or walk.failed.get(entry.path),
        )
        for entry in entries
    )


def inspect(
    archive: Path,
    *,
    name: str | None = None,
    limits: Limits | None = None,
    engine: Engine = Engine.AUTO,
    on_bytes: Callable[[int], None] | None = None,
) -> ExtractionPlan:
    """Return what the server's tool does with this file; never raises for a bad archive, the status says it.

    Args:
        archive: the file to read.
        name: its base name in the space, where that is another.
        limits: what it may cost.
        engine: who decodes.
        on_bytes: hears of archive bytes as they are read, for progress.
    """
    name = name if name is not None else archive.name
    tool = tool_for(name)
    if tool is None:
        return ExtractionPlan(
            tool=None, rule=None, status=ArchiveStatus.NO_RULE, warnings=advice_without_rule(name)
        )
    limits = limits or Limits()
    try:
        with RawFile(archive, on_bytes) as source:
            return plan_at_a_glance(source, tool, name=name, limits=limits) or plan_by_walk(
                source, tool, name=name, limits=limits, engine=engine
            )
    except (IqDataError, OSError) as exc:
        return _no_plan(exc, tool, name, content=None)


def plan_at_a_glance(source: RawFile, tool: Tool, *, name: str, limits: Limits) -> ExtractionPlan | None:
    """Return the plan of an archive in which all is ordinary, None where only the walk can tell."""
    seen = glance(source, tool, name=name, limits=limits)
    if seen is None:
        return None
    entries = seen.entries
    return ExtractionPlan(
        tool=tool,
        rule=rule_for(name),
        status=ArchiveStatus.OK,
        entries=entries,
        total_bytes=sum(entries.sizes),
        warnings=advice_when_ordinary(
            entries.paths, tool, name, content=seen.content, reader_warnings=seen.warnings
        ),
        assumed=ASSUMED[tool],
        content=seen.content,
    )


def plan_by_walk(
    source: RawFile, tool: Tool, *, name: str, limits: Limits, engine: Engine = Engine.AUTO
) -> ExtractionPlan:
    """Return the plan of any archive, member by member."""
    walk = Walk(source, tool, name=name, in_place=True, limits=limits, engine=engine, stage=None)
    try:
        walk.run()
    except (IqDataError, Unreadable, OSError) as exc:
        return _no_plan(exc, tool, name, content=walk.content)
    entries = _planned(walk)
    return ExtractionPlan(
        tool=tool,
        rule=rule_for(name),
        status=walk.status(),
        entries=entries,
        total_bytes=sum(entry.size_bytes or 0 for entry in entries if entry.refused is None),
        warnings=walk.warnings(),
        error=walk.error(),
        assumed=ASSUMED[tool],
        skipped=tuple(walk.planner.skipped),
        content=walk.content,
    )


def _no_plan(exc: Exception, tool: Tool, name: str, *, content: str | None) -> ExtractionPlan:
    return ExtractionPlan(
        tool=tool,
        rule=rule_for(name),
        status=_status_of(exc),
        error=reason_of(exc),
        assumed=ASSUMED[tool],
        content=content,
    )


def extract(
    archive: Path,
    into: Path | None = None,
    *,
    plan: ExtractionPlan | None = None,
    overwrite: bool = True,
    name: str | None = None,
    limits: Limits | None = None,
    engine: Engine = Engine.AUTO,
    on_bytes: Callable[[int], None] | None = None,
    stage_in: Path | None = None,
    quota: Callable[[int], None] | None = None,
    spare: Spare | None = None,
) -> ExtractionResult:
    """Extract a file as the server's tool would; good members are placed, bad ones are reported.

    Args:
        archive: the file to read; it is never changed.
        into: where the members go; default: the archive's own folder.
        plan: an earlier `inspect` of the same file; one that already refuses everything saves the reading.
        overwrite: whether files that stand there are replaced, as the tools do.
        name: the archive's base name in the space, where that is another.
        limits: what it may cost, counted while decoding; over one, nothing is placed.
        engine: who decodes.
        on_bytes: hears of archive bytes as they are read, for progress.
        stage_in: folder for staging, on the same file system as `into`; default: `into` itself.
        quota: called with every number of bytes about to be written; raises TooLarge to stop.
        spare: says of a path and kind why it must not be made here; what it refuses is reported as unsafe.
    """
    name = name if name is not None else archive.name
    tool = tool_for(name)
    if tool is None:
        return ExtractionResult(tool=None, status=ArchiveStatus.NO_RULE, warnings=advice_without_rule(name))
    if plan is not None and plan.status in (ArchiveStatus.TOO_LARGE, ArchiveStatus.NO_RULE):
        return ExtractionResult(tool=tool, status=plan.status, error=plan.error, warnings=plan.warnings)
    folder = into if into is not None else archive.parent
    try:
        with RawFile(archive, on_bytes) as source:
            in_place = _same_folder(folder, archive.parent)
            with contextlib.closing(Stage(_stage_parent(stage_in, folder), quota=quota)) as stage:
                walk = Walk(
                    source,
                    tool,
                    name=name,
                    in_place=in_place,
                    limits=limits or Limits(),
                    engine=engine,
                    stage=stage,
                    spare=spare,
                )
                walk.run()
                placed = stage.place(
                    folder, overwrite=overwrite, folders=walk.folders(), protected=source.identity
                )
    except (IqDataError, Unreadable, OSError) as exc:
        return ExtractionResult(tool=tool, status=_status_of(exc), error=reason_of(exc))
    entries = _extracted(walk, placed)
    status, error = walk.status(), walk.error()
    if placed.failures and status is ArchiveStatus.OK:
        path, reason = next(iter(placed.failures.items()))
        status, error = ArchiveStatus.UNSAFE, f"{path}: {reason}"
    return ExtractionResult(
        tool=tool,
        status=status,
        entries=entries,
        warnings=walk.warnings(),
        error=error,
        engine=walk.engine_used,
        skipped=tuple(walk.planner.skipped),
        replaced_bytes=placed.replaced_bytes,
    )


def _extracted(walk: Walk, placed: Placed) -> tuple[ExtractedEntry, ...]:
    if not (walk.failed or walk.sizes or placed.failures or placed.kept or walk.planner.has_refused):
        return tuple(
            [
                ExtractedEntry(
                    path=path,
                    kind=entry.kind,
                    outcome=EntryOutcome.WRITTEN,
                    size_bytes=entry.size_bytes or 0,
                    mtime_ns=entry.mtime_ns,
                )
                for path, entry in walk.planner.entries.items()
            ]
        )
    found = []
    for path, entry in walk.planner.entries.items():
        error = entry.refused
        outcome = EntryOutcome.WRITTEN
        if error is not None:
            outcome = EntryOutcome.REFUSED
        elif (error := walk.failed.get(path) or placed.failure_of(path)) is not None:
            outcome = EntryOutcome.FAILED
        elif path in placed.kept:
            outcome = EntryOutcome.UNCHANGED
        size = walk.sizes.get(path, entry.size_bytes) if outcome is EntryOutcome.WRITTEN else 0
        found.append(
            ExtractedEntry(
                path=path,
                kind=entry.kind,
                outcome=outcome,
                size_bytes=size or 0,
                mtime_ns=entry.mtime_ns,
                error=error,
            )
        )
    return tuple(found)


def _stage_parent(stage_in: Path | None, folder: Path) -> Path:
    """Return where to stage: where it was asked for, unless that is another file system, from which nothing is renamed."""
    if stage_in is None or stage_in.stat().st_dev != folder.stat().st_dev:
        return folder
    return stage_in


def _same_folder(left: Path, right: Path) -> bool:
    try:
        return left.samefile(right)
    except OSError:
        return False


def _status_of(exc: Exception) -> ArchiveStatus:
    match exc:
        case Unreadable():
            return exc.status
        case TooLarge():
            return ArchiveStatus.TOO_LARGE
        case Encrypted():
            return ArchiveStatus.ENCRYPTED
        case EngineMissing():
            return ArchiveStatus.UNSUPPORTED
        case ArchiveError() | OSError():
            return ArchiveStatus.DAMAGED
        case _:
            raise exc
