"""Is this plan plausible, or an accident? Stops a run that would empty a side; the message names what overrides.

Refuses to change the plan: it passes whole or not at all.
"""

from iqdata.actions import Delete, Plan, Side, Situation
from iqdata.errors import ConfigError, PlanRefused
from iqdata.tree import Kind

LEAST_FILES = 10
"""Deletions up to this number are never stopped by a percentage: a small workspace is edited, not emptied."""


def parse_max_delete(text: str, *, known_files: int) -> int:
    """Return how many files may be deleted, from `--max-delete N|N%`; a percentage counts of `known_files`, at least 10 files.

    Raises:
        ConfigError: neither a number nor a percentage.
    """
    number = text.strip().removesuffix("%")
    if not number.isdecimal():
        raise ConfigError(f"--max-delete: {text!r} is neither a number of files nor a percentage such as 25%")
    if not text.strip().endswith("%"):
        return int(number)
    share = int(number)
    if share >= 100:
        return max(known_files, LEAST_FILES)
    return max(known_files * share // 100, LEAST_FILES)


def check_plan(plan: Plan, situation: Situation, *, max_delete: str) -> None:
    """Let a plausible plan pass.

    Raises:
        PlanRefused: more deletions on a side than allowed, or a side that held files and is now empty altogether.
    """
    sides = (
        (Side.REMOTE, "the space", "this workspace", situation.remote, situation.local),
        (Side.LOCAL, "this workspace", "the space", situation.local, situation.remote),
    )
    for side, where, elsewhere, mine, other in sides:
        deletes = [
            action
            for action in plan.of(Delete)
            if isinstance(action, Delete) and action.side is side and action.expect.kind is Kind.FILE
        ]
        if not deletes:
            continue
        files = sum(1 for entry in mine.values() if entry.kind is Kind.FILE)
        emptied = not any(entry.kind is Kind.FILE for entry in other.values())
        allowed = parse_max_delete(max_delete, known_files=files)
        all_allowed = max_delete.strip() in ("100%",) or (
            not max_delete.strip().endswith("%") and allowed >= len(deletes)
        )
        if emptied and len(deletes) > 1 and not all_allowed:
            raise PlanRefused(
                f"{elsewhere} looks emptied (no file at all), so {len(deletes)} files would be deleted in {where};"
                " nothing was changed. If that is meant: --max-delete 100%"
            )
        if len(deletes) > allowed:
            raise PlanRefused(
                f"{len(deletes)} of {files} files would be deleted in {where}, more than --max-delete {max_delete} allows ({allowed});"
                f" nothing was changed. If that is meant: --max-delete {len(deletes)}"
            )
