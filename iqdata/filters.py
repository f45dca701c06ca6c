"""`--include`, `--exclude` and `.iqdataignore` → a predicate over paths, with git's own rules.

Refuses to read files: the lines come in as arguments.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from iqdata.errors import ConfigError
from iqdata.paths import RelPath

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

Predicate = Callable[[RelPath, bool], bool]
"""Takes a path and whether it is a folder; says whether the run may touch it."""

IGNORE_FILE = ".iqdataignore"


def everything(_path: RelPath, _is_folder: bool, /) -> bool:  # noqa: FBT001  # the Predicate's shape, called positionally in the scan's inner loop
    """The predicate that lets every path through."""
    return True


def build_filter(
    *, exclude: Iterable[str] = (), include: Iterable[str] = (), only: Iterable[RelPath] = ()
) -> Predicate:
    """Return a predicate from patterns.

    Args:
        exclude: gitignore lines; a later line wins over an earlier one, `!` lets a path in again.
        include: gitignore lines; where there are any, only files that match one are touched.
        only: paths given on the command line: they and what lies below them; none means all.

    Raises:
        ConfigError: a pattern that git would not take either.
    """
    excluded = _spec(exclude)
    included = _spec(include)
    limits = frozenset(only)
    if excluded is None and included is None and not limits:
        return everything
    above = frozenset(folder for limit in limits for folder in limit.ancestors())
    whole = RelPath("") in limits

    def allowed(path: RelPath, is_folder: bool, /) -> bool:  # noqa: FBT001  # see `everything`
        # Looked up and not compared one by one: an archive may put 100,000 members on the list.
        named = not limits or whole or path in limits or (is_folder and path in above)
        if not named and limits.isdisjoint(path.ancestors()):
            return False
        # A pattern with a trailing slash matches folders only; pathspec sees that by the slash in the path.
        shown = f"{path}/" if is_folder else str(path)
        if excluded is not None and excluded.match_file(shown):
            return False
        return included is None or is_folder or included.match_file(shown)

    return allowed


def _spec(lines: Iterable[str]) -> "GitIgnoreSpec | None":
    """Compile gitignore lines, or return None where none of them says anything."""
    kept = [line for line in lines if line.strip() and not line.startswith("#")]
    if not kept:
        return None
    from pathspec import GitIgnoreSpec  # a fifth of what a run without patterns would load

    try:
        return GitIgnoreSpec.from_lines(kept)
    except ValueError as exc:
        raise ConfigError(f"pattern {exc}: not one that .gitignore would take") from exc
