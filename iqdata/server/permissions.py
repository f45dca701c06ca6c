"""Who may do what in a space, decided from values alone.

Refuses to look at the disk: a path is judged by its text, and `jail` makes sure that the text means what it says.
"""

import dataclasses
import enum

from iqdata.paths import AREAS, RelPath

LOG_FOLDER = ".iqdata"
"""The folder of a home that holds the extraction log; its team reads it, the space alone writes it."""


class Act(enum.Enum):
    """What a command is about to do with a path."""

    LOOK = "look at"  # list, stat, enter, hash
    READ = "read"
    WRITE = "write"  # upload, append, date
    MAKE = "make a folder at"
    DELETE = "delete"
    MOVE_FROM = "rename"
    MOVE_TO = "rename to"


_CHANGES = frozenset({Act.WRITE, Act.MAKE, Act.DELETE, Act.MOVE_FROM, Act.MOVE_TO})
_REMOVES = frozenset({Act.DELETE, Act.MOVE_FROM, Act.MOVE_TO})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an account is in the space.

    Attributes:
        team: the account's name.
        group: the group it is in, if any.
        owner: the team whose `group_data` that group shares; the account itself when it owns it or has no group.
    """

    team: str
    group: str | None = None
    owner: str | None = None

    @property
    def is_member(self) -> bool:
        """Whether `/group_data` belongs to another team."""
        return self.owner is not None and self.owner != self.team


def refusal(standing: Standing, act: Act, path: RelPath) -> str | None:
    """Return why the account may not do this, in a sentence for its user, or None when it may.

    Args:
        standing: who asks.
        act: what for.
        path: relative to the account's home, without links.
    """
    top = path.area
    if standing.is_member and top == "group_data":
        return (
            f"/group_data of group {standing.group} belongs to {standing.owner}: other members may not list, upload, "
            "rename or delete there; their models read it all the same"
        )
    if act not in _CHANGES:
        return None
    if not path:
        return "The root of the space stays as it is"
    if top == LOG_FOLDER:
        return f"/{LOG_FOLDER} is written by the space alone"
    if path in AREAS and act in _REMOVES:
        return f"/{path} is one of the two areas and stays where it is"
    return None
