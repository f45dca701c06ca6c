"""`iqdata preview`: what server-side extraction will do, without extracting."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from iqdata.cli import render, sizes
from iqdata.cli.archives import Archive, archives_of, decoding_options, limits_of, local_entry
from iqdata.cli.connection import connector_of, settings_of
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render_archives import legend, preview_lines
from iqdata.config import find_workspace
from iqdata.errors import Missing
from iqdata.extract.engine import inspect
from iqdata.extract.mapping import shown
from iqdata.extract.model import Engine, MemberKind
from iqdata.manifest import produced_by, read_only
from iqdata.paths import RelPath, comparison_key
from iqdata.preview import ArchivePreview, clashes, is_good, preview, union
from iqdata.tree import Entry

_PROGRESS_FROM_BYTES = 8 * 1024 * 1024

_LISTED_FROM = 100
"""Asked for so many names, a folder is listed: one call instead of one for each."""


@click.command()
@click.argument("paths", metavar="FILE…|DIR", nargs=-1, required=True)
@click.option("--all", "show_all", is_flag=True, help="Show every path, however many there are.")
@click.option("--remote", is_flag=True, help="Compare with the space instead of the local folder.")
@decoding_options
@everywhere
def preview_command(
    options: Everywhere,
    paths: tuple[str, ...],
    *,
    show_all: bool,
    remote: bool,
    engine: str,
    max_bytes: str | None,
    max_ratio: int | None,
) -> int:
    """Show what the server will extract from archives, without extracting.

    Of a folder, every archive in it. Nothing is written anywhere.
    """
    archives = archives_of(paths, current=options.workspace)
    limits = limits_of(max_bytes, max_ratio)
    space = _Space(options) if remote else None
    previews: list[ArchivePreview] = []
    for archive in archives:
        with bar(archive.path, f"reading {archive.path.name}", options) as on_bytes:
            plan = inspect(archive.path, engine=Engine(engine), limits=limits, on_bytes=on_bytes)
        look_up = space.look_up if space is not None else _local_look_up(archive)
        one = preview(archive.shown, plan, look_up=look_up, older=_older_members(archive))
        previews.append(one)
        if options.json_lines:
            render.emit(one.as_json())
        elif not options.quiet or not is_good(plan):
            for line in preview_lines(one, show_all=show_all):
                render.say(line)
    if space is not None:
        space.close()
    if not options.json_lines:
        _say_the_rest(previews, options)
    return 0 if all(is_good(one.plan) for one in previews) else 1


def _say_the_rest(previews: list[ArchivePreview], options: Everywhere) -> None:
    if not previews:
        render.say("No archive there: no rule applies to any file's name.")
        return
    found = clashes(previews)
    if found:
        render.say("Between archives:")
    for sentence in found:
        render.say(f"  * {shown(sentence)}")
    if options.quiet:
        return
    if len(previews) > 1:
        together = union(previews)
        total = sum(entry.size_bytes or 0 for entry in together.values())
        render.say(f"Together: {render.plural(len(together), 'path')}, {sizes.text_of(total)}")
    if any(one.entries for one in previews):
        render.say(legend())


def _local_look_up(archive: Archive) -> Callable[[str], Entry | None]:
    """Say what stands where, asking the folder once for all names where many are asked for."""
    asked: Counter[str] = Counter()
    listed: dict[str, frozenset[str]] = {}

    def look_up(path: str) -> Entry | None:
        folder, _, name = path.rpartition("/")
        names = listed.get(folder)
        if names is None:
            asked[folder] += 1
            if asked[folder] == _LISTED_FROM:
                with contextlib.suppress(OSError):
                    listed[folder] = frozenset(
                        _alike(there.name) for there in (archive.base / folder).iterdir()
                    )
        elif _alike(name) not in names:
            return None
        return local_entry(archive.base, path)

    return look_up


def _alike(name: str) -> str:
    """Return the form in which names are the same that some file system takes for the same."""
    return comparison_key(name).casefold()


class _Space:
    """What stands in the space, listed folder by folder as it is asked for."""

    def __init__(self, options: Everywhere) -> None:
        workspace = find_workspace(options.workspace) or options.workspace
        settings = settings_of(dataclasses.replace(options, workspace=workspace))
        self._transport = connector_of(settings)()
        self._listed: dict[RelPath, Mapping[str, Entry]] = {}

    def look_up(self, path: str) -> Entry | None:
        """Return what stands at a path of the space."""
        wanted = RelPath(path)
        folder = wanted.parent
        if folder not in self._listed:
            if folder and self.look_up(folder) is None:
                self._listed[folder] = {}
            else:
                try:
                    self._listed[folder] = self._transport.list_folder(folder)
                except Missing:
                    self._listed[folder] = {}
        return self._listed[folder].get(wanted.name)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()


def _older_members(archive: Archive) -> list[str]:
    """Return what the archive's last extraction here left, by the workspace's manifest."""
    if archive.workspace is None:
        return []
    with read_only(archive.workspace) as database:
        if database is None:
            return []
        produced = produced_by(database, RelPath(archive.shown))
        return [item.path for item in produced if item.kind != MemberKind.DIRECTORY.value]


@contextmanager
def bar(path: Path, label: str, options: Everywhere) -> Iterator[Callable[[int], None] | None]:
    """Show progress through an archive that takes a moment to read."""
    size = path.stat().st_size if path.is_file() else 0
    if not options.progress or size < _PROGRESS_FROM_BYTES:
        yield None
        return
    from tqdm import tqdm

    with tqdm(
        total=size, desc=shown(label), unit="B", unit_scale=True, unit_divisor=1024, leave=False
    ) as drawn:

        def advance(count: int) -> None:
            drawn.update(count)

        yield advance
