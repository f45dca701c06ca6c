"""`ls`, `tree`, `get`, `put`, `mv`, `rm`, `mkdir`: the space by hand; what triggers an extraction is said."""

import contextlib
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from iqdata import browse
from iqdata.cli.connection import connector_of, settings_of
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, plural, printable, say
from iqdata.cli.sizes import text_of as size
from iqdata.errors import ConfigError, UnsafePath
from iqdata.paths import ROOT, RelPath
from iqdata.rules import rule_for, tool_for
from iqdata.transports.base import Transport
from iqdata.tree import Kind

_FORCE = click.option("--force", is_flag=True, help="Replace what is there.")


@contextlib.contextmanager
def _space(options: Everywhere) -> Iterator[Transport]:
    """Connect for the length of one command; what may pass is tried again."""
    from iqdata.transports.retry import retrying

    settings = settings_of(options)
    transport = retrying(connector_of(settings), retries=settings.retries)()
    try:
        yield transport
    finally:
        transport.close()


@contextlib.contextmanager
def _bar(options: Everywhere, name: str) -> Iterator[Callable[[int], None]]:
    """Draw how many bytes have travelled, on a terminal."""
    if not options.progress:
        yield lambda _size: None
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, desc=name, leave=False) as bar:

        def advance(size_bytes: int) -> None:
            bar.update(size_bytes)

        yield advance


def remote_path(text: str) -> RelPath:
    """Return a path of the space as a user writes it: with or without a leading or trailing slash.

    Raises:
        ConfigError: it leaves the space.
    """
    try:
        return RelPath.parse(text.strip("/").removeprefix("./")) if text.strip("/") not in ("", ".") else ROOT
    except UnsafePath as exc:
        raise ConfigError(f"{text}: not a path of the space ({exc})") from exc


def _time(mtime_ns: int | None) -> str:
    if mtime_ns is None:
        return ""
    return f"{datetime.datetime.fromtimestamp(mtime_ns / 1e9, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _entry_json(found: browse.Found) -> dict[str, object]:
    return {
        "path": str(found.path),
        "type": found.entry.kind.value,
        "size_bytes": found.entry.size_bytes,
        "mtime": _time(found.entry.mtime_ns) or None,
    }


@click.command("ls")
@click.argument("path", default="/")
@everywhere
def ls_command(options: Everywhere, /, *, path: str) -> int:
    """List a folder of the space: size, time (UTC), name."""
    with _space(options) as space:
        for found in browse.listing(space, remote_path(path)):
            if options.json_lines:
                emit(_entry_json(found))
                continue
            is_folder = found.entry.kind is Kind.FOLDER
            amount = "" if is_folder else size(found.entry.size_bytes)
            say(
                f"{amount:>10}  {_time(found.entry.mtime_ns):<20}  {printable(found.path.name)}{'/' if is_folder else ''}"
            )
    return 0


@click.command("tree")
@click.argument("path", default="/")
@everywhere
def tree_command(options: Everywhere, /, *, path: str) -> int:
    """Show the space, or one folder of it, as a tree."""
    start = remote_path(path)
    files = folders = total = 0
    with _space(options) as space:
        if not options.json_lines:
            say(f"{start}/" if start else "/")
        open_branches: list[bool] = []
        for found in browse.walk(space, start):
            if options.json_lines:
                emit(_entry_json(found))
                continue
            del open_branches[found.depth - 1 :]
            indent = "".join("│   " if is_open else "    " for is_open in open_branches)
            open_branches.append(not found.last)
            is_folder = found.entry.kind is Kind.FOLDER
            tail = "/" if is_folder else f"  {size(found.entry.size_bytes)}"
            say(f"{indent}{'└── ' if found.last else '├── '}{printable(found.path.name)}{tail}")
            files, folders = files + (not is_folder), folders + is_folder
            total += found.entry.size_bytes
    if not options.json_lines and not options.quiet:
        say(f"{plural(files, 'file')} in {plural(folders, 'folder')}, {size(total)}")
    return 0


@click.command("get")
@click.argument("path")
@click.argument("target", default=".", type=click.Path(path_type=Path))
@_FORCE
@everywhere
def get_command(options: Everywhere, /, *, path: str, target: Path, force: bool) -> int:
    """Download one file or folder."""
    source = remote_path(path)
    with _space(options) as space, _bar(options, source.name or "/") as on_bytes:
        if browse.entry_at(space, source).kind is Kind.FOLDER and source and target.is_dir():
            target = target / source.name
        got = browse.fetch(space, source, target, force=force, on_bytes=on_bytes)
    for where, file, size_bytes in got:
        if options.json_lines:
            emit({"event": "get", "path": str(where), "file": str(file), "size_bytes": size_bytes})
        elif not options.quiet:
            say(f"{printable(where)} → {file}  {size(size_bytes)}")
    return 0


def _trigger(path: RelPath) -> str:
    """Say which rule a new name triggers, in words."""
    tool = tool_for(path.name)
    return f"; {rule_for(path.name)}, so the space runs {tool.value} on it" if tool else ""


@click.command("put")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("path", default="train_data")
@_FORCE
@everywhere
def put_command(options: Everywhere, /, *, file: Path, path: str, force: bool) -> int:
    """Upload one FILE to PATH in the space (default: into train_data), and say which rule it triggers."""
    with _space(options) as space, _bar(options, file.name) as on_bytes:
        where, size_bytes = browse.put(space, file, remote_path(path), force=force, on_bytes=on_bytes)
    _tell(options, "put", where, f"{file} → {printable(where)}  {size(size_bytes)}", size_bytes=size_bytes)
    return 0


@click.command("mv")
@click.argument("source")
@click.argument("target")
@_FORCE
@everywhere
def mv_command(options: Everywhere, /, *, source: str, target: str, force: bool) -> int:
    """Rename in the space, and say which rule the new name triggers."""
    origin = remote_path(source)
    with _space(options) as space:
        where = browse.rename(space, origin, remote_path(target), force=force)
    _tell(options, "mv", where, f"{printable(origin)} → {printable(where)}", source=str(origin))
    return 0


@click.command("rm")
@click.argument("paths", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Folders with all that they hold.")
@everywhere
def rm_command(options: Everywhere, /, *, paths: tuple[str, ...], recursive: bool) -> int:
    """Delete files or empty folders in the space."""
    with _space(options) as space:
        for text in paths:
            path = remote_path(text)
            if path == ROOT:
                raise ConfigError("the root of the space is not deleted; name what is in it")
            for gone in browse.remove(space, path, recursive=recursive):
                if options.json_lines:
                    emit({"event": "rm", "path": str(gone)})
                elif not options.quiet:
                    say(f"deleted {printable(gone)}")
    return 0


@click.command("mkdir")
@click.argument("paths", nargs=-1, required=True)
@everywhere
def mkdir_command(options: Everywhere, /, *, paths: tuple[str, ...]) -> int:
    """Create folders in the space, with those above them."""
    with _space(options) as space:
        for text in paths:
            path = remote_path(text)
            browse.make_folders(space, path)
            if options.json_lines:
                emit({"event": "mkdir", "path": str(path)})
            elif not options.quiet:
                say(f"made {printable(path)}/")
    return 0


def _tell(options: Everywhere, event: str, path: RelPath, text: str, **more: object) -> None:
    """Report one change, with the rule that the path triggers."""
    tool = tool_for(path.name)
    if options.json_lines:
        emit(
            {
                "event": event,
                "path": str(path),
                **more,
                "tool": tool.value if tool else None,
                "rule": rule_for(path.name),
            }
        )
    elif not options.quiet:
        say(text + _trigger(path))
