"""`iqdata preview`: what server-side extraction will do, without extracting."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from iqdata.cli import render
from iqdata.cli.archives import Archive, archives_of, local_entry
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render_archives import legend, preview_lines
from iqdata.errors import ConfigError
from iqdata.extract.engine import inspect
from iqdata.extract.model import Engine
from iqdata.preview import ArchivePreview, clashes, is_good, preview, union
from iqdata.tree import Entry

_PROGRESS_FROM_BYTES = 8 * 1024 * 1024


@click.command()
@click.argument("paths", metavar="FILE…|DIR", nargs=-1, required=True)
@click.option("--all", "show_all", is_flag=True, help="Show every path, however many there are.")
@click.option("--remote", is_flag=True, help="Compare with the space instead of the local folder.")
@click.option(
    "--engine", type=click.Choice([engine.value for engine in Engine]), default="auto", help="Who decodes."
)
@everywhere
def preview_command(
    options: Everywhere, paths: tuple[str, ...], *, show_all: bool, remote: bool, engine: str
) -> int:
    """Show what the server will extract from archives, without extracting.

    Of a folder, every archive in it. Nothing is written anywhere.
    """
    archives = archives_of(paths, current=options.workspace)
    look_up = _remote_look_up(options) if remote else None
    previews: list[ArchivePreview] = []
    for archive in archives:
        with bar(archive.path, f"reading {archive.path.name}", options) as on_bytes:
            plan = inspect(archive.path, engine=Engine(engine), on_bytes=on_bytes)
        one = preview(archive.shown, plan, look_up=look_up or _local_look_up(archive))
        previews.append(one)
        if options.json_lines:
            render.emit(one.as_json())
        elif not options.quiet or not is_good(plan):
            for line in preview_lines(one, show_all=show_all):
                render.say(line)
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
        render.say(f"  * {render.printable(sentence)}")
    if options.quiet:
        return
    if len(previews) > 1:
        together = union(previews)
        total = sum(entry.size_bytes or 0 for entry in together.values())
        render.say(f"Together: {render.plural(len(together), 'path')}, {render.size(total)}")
    if any(one.entries for one in previews):
        render.say(legend())


def _local_look_up(archive: Archive) -> Callable[[str], Entry | None]:
    return lambda path: local_entry(archive.base, path)


def _remote_look_up(options: Everywhere) -> Callable[[str], Entry | None]:
    raise ConfigError("--remote needs a space; none is configured")


@contextmanager
def bar(path: Path, label: str, options: Everywhere) -> Iterator[Callable[[int], None] | None]:
    """Show progress through an archive that takes a moment to read."""
    size = path.stat().st_size if path.is_file() else 0
    if not options.progress or size < _PROGRESS_FROM_BYTES:
        yield None
        return
    from tqdm import tqdm

    with tqdm(
        total=size, desc=render.printable(label), unit="B", unit_scale=True, unit_divisor=1024, leave=False
    ) as shown:

        def advance(count: int) -> None:
            shown.update(count)

        yield advance
