"""How to run, and where everything lies: what the caller said, as values. Refuses to read any of it."""

import dataclasses
import os
from pathlib import Path
from typing import Self

from iqeval.sandbox.base import Limits, Wanted
from iqeval.tasks import OnError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run.

    Attributes:
        answers: the folder with the answer files; None is the config's own.
        out: where results go; None is the work root.
        server: no answers anywhere near; a sandbox is required; nothing is scored.
        jobs: how many children side by side.
        split: whether a suite may be cut into parts (for models that are asked question by question).
        readable: folders that the model may read besides its own and the areas.
    """

    work: Path | None = None
    answers: Path | None = None
    out: Path | None = None
    server: bool = False
    limits: Limits = dataclasses.field(default_factory=Limits)
    sandbox: Wanted | None = None
    network: bool = False
    jobs: int = 1
    split: bool = False
    on_error: OnError = OnError.FAIL
    resume: bool = False
    seed: int | None = None
    readable: tuple[Path, ...] = ()

    @property
    def sandbox_wanted(self) -> Wanted:
        """Which sandboxes may be used: those asked for, or all, or in server mode the real ones."""
        return self.sandbox or (Wanted.REQUIRE if self.server else Wanted.AUTO)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a run finds and leaves things; absolute, so that all paths mean what they mean to the caller."""

    model: Path
    config: Path
    data_root: Path
    answer_root: Path
    work: Path
    out: Path

    @classmethod
    def of(cls, model: Path, config: Path, settings: Settings) -> Self:
        """Return the places of a run, before any folder is changed."""
        data_root = config.absolute().parent
        work = Path(os.path.normpath((settings.work or Path()).absolute()))
        return cls(
            model=Path(os.path.normpath(model.absolute())),
            config=config.absolute(),
            data_root=data_root,
            answer_root=(settings.answers or data_root).absolute(),
            work=work,
            out=(settings.out or work).absolute(),
        )
