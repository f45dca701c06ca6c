"""Questions, suites and answers as types. Refuses to read files: `suites` does."""

import dataclasses
from collections.abc import Mapping

Json = object
"""A JSON value: None, bool, int, float, str, list or dict."""

Question = dict[str, Json]
"""A question as stored: `stem`, `options`, `category`, `id`, and whatever else its author put there."""


def id_key(question_id: Json) -> str:
    """Return the key under which a question's id is an answer's key. Source: the published SDK compares `str(id)`."""
    return str(question_id)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a run asks: categories in order, each with its suites in order, none twice."""

    categories: Mapping[str, tuple[str, ...]]
    version: str | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """The categories that have suites."""
        return tuple(name for name, suites in self.categories.items() if suites)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFacts:
    """What one pass over a question file tells.

    Attributes:
        digest: SHA-256 of the file's bytes.
        images: paths that stems and options show, relative to the data root.
        duplicate_groups: how many groups of questions share stem and options; None where the suite is too large to tell.
        duplicate_questions: how many questions are in such groups.
        same: ids that share stem and options, a tuple a group; for comparing their answers.
        repeated_ids: how many questions have an id that came before.
        stems: id → stem; empty where the suite is too large to keep them.
        contents: a number for each different stem with options; empty where the suite is too large to tell.
    """

    name: str
    count: int
    digest: str
    images: tuple[str, ...] = ()
    duplicate_groups: int | None = 0
    duplicate_questions: int = 0
    same: tuple[tuple[str, ...], ...] = ()
    repeated_ids: int = 0
    contents: frozenset[int] = frozenset()
    stems: Mapping[str, str] = dataclasses.field(default_factory=dict)
