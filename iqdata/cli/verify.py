"""`verify`: content against content."""

import collections

import click
import msgspec

from iqdata.cli.connection import connector_of, settings_of
from iqdata.cli.mirror import workspace_path
from iqdata.cli.options import Everywhere, everywhere
from iqdata.cli.render import emit, plural, printable, say, tell
from iqdata.paths import AREAS
from iqdata.verify import Verdict, verify

_WORDS = {
    Verdict.DIFFERENT: "DIFFERENT",
    Verdict.ONLY_HERE: "only here",
    Verdict.ONLY_THERE: "only there",
    Verdict.FAILED: "FAILED",
    Verdict.SAME: "same",
}


@click.command("verify")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--area", "areas", multiple=True, type=click.Choice(AREAS), help="Only this area; again for both."
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out what matches (gitignore rules).")
@click.option("--jobs", type=click.IntRange(1, 64), help="Connections at once [8].")
@everywhere
def verify_command(
    options: Everywhere,
    /,
    *,
    paths: tuple[str, ...],
    areas: tuple[str, ...],
    exclude: tuple[str, ...],
    jobs: int | None,
) -> int:
    """Compare the content of every file with the space's: by its hashes where it offers them, else by reading."""
    settings = settings_of(options)
    settings = msgspec.structs.replace(
        settings, named_areas=areas, exclude=(*settings.exclude, *exclude), jobs=jobs or settings.jobs
    )
    only = tuple(workspace_path(text, options.workspace) for text in paths)
    counts: collections.Counter[Verdict] = collections.Counter()
    ways: collections.Counter[str] = collections.Counter()
    for found in verify(settings, connector_of(settings), only=only):
        counts[found.verdict] += 1
        if found.verdict is Verdict.SAME:
            ways[found.how or ""] += 1
        if options.json_lines:
            emit(
                {
                    "event": "file",
                    "path": str(found.path),
                    "status": found.verdict.value,
                    "how": found.how,
                    "error": found.error,
                }
            )
        elif found.verdict is not Verdict.SAME:
            tell(
                f"  {_WORDS[found.verdict]:<12} {printable(found.path)}"
                + (f"  ({found.error})" if found.error else "")
            )
        elif options.verbose:
            say(f"  {_WORDS[found.verdict]:<12} {printable(found.path)}  ({found.how})")
    clean = sum(counts.values()) == counts[Verdict.SAME]
    if options.json_lines:
        emit(
            {
                "event": "summary",
                "status": "ok" if clean else "partial",
                **{item.value: counts[item] for item in Verdict},
            }
        )
    elif not options.quiet:
        by = ", ".join(
            f"{number:,} by {'reading' if way == 'read' else way}" for way, number in ways.most_common()
        )
        rest = ", ".join(
            f"{counts[item]:,} {item.value}" for item in Verdict if item is not Verdict.SAME and counts[item]
        )
        say(
            f"{plural(counts[Verdict.SAME], 'file')} the same"
            + (f" ({by})" if by else "")
            + (f"; {rest}" if rest else "")
            + "."
        )
    return 0 if clean else 1
