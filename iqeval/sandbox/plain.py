"""No sandbox: a child of its own with limits, and everything else open. Refuses to pretend otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from iqeval.sandbox.base import Kind, Launch, Limits, View, resource_limits


class Plain:
    """The child as any program of this user."""

    kind = Kind.NONE

    def launch(self, view: View, limits: Limits, *, scratch: Path, env: Mapping[str, str]) -> Launch:
        """Return how to start the child; see `Sandbox`."""
        return Launch(
            argv=(),
            env=env,
            confine={"limits": resource_limits(limits, processes=None)},
            work=str(view.work),
            cwd=str(view.work),
        )

    def missing(self, refused: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
        """Nothing is promised, so nothing can be missing."""
        return ()
