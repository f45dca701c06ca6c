"""From settings to jobs: what a child gets to see and may use. Refuses to start one."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from iqeval import journal as journals
from iqeval.entry import Entry
from iqeval.outputs import OUTPUTS
from iqeval.questions import Config
from iqeval.sandbox.base import PACKAGE, View
from iqeval.settings import Places, Settings
from iqeval.suites import answer_path
from iqeval.tasks import Job


def job_for(
    entry: Entry,
    config: Config,
    places: Places,
    settings: Settings,
    *,
    extractions: Path,
    env: Mapping[str, str],
) -> Job:
    """Return a job without tasks, whose child sees no images yet.

    Args:
        entry: the model.
        config: its categories, of which the model is asked for an object for each.
        places: where everything lies.
        settings: how to run.
        extractions: a file for the child with what is known of archives, as it does not see `.iqdata`.
        env: the environment of which a child gets the harmless part.
    """
    extra_env = {"IQEVAL_EXTRACTIONS": str(extractions)}
    if settings.seed is not None:
        extra_env["PYTHONHASHSEED"] = str(settings.seed % 4294967296)
    view = View(
        work=places.work,
        model=entry.folder,
        read=tuple(map(_absolute, (*settings.readable, extractions))),
        hidden=_hidden(config, places),
        network=settings.network,
    )
    return Job(
        entry=entry.module,
        categories=tuple(config.categories),
        tasks=(),
        data_root=places.data_root,
        view=view,
        limits=settings.limits,
        sandbox=settings.sandbox_wanted,
        on_error=settings.on_error,
        seed=settings.seed,
        env=dict(env),
        extra_env=extra_env,
    )


def with_images(job: Job, images: Sequence[str]) -> Job:
    """Return a job whose child also sees the questions' images; the same one where there are none."""
    shown = _image_paths(job.data_root, images)
    if not shown:
        return job
    return dataclasses.replace(
        job,
        view=dataclasses.replace(job.view, read=(*job.view.read, *map(_absolute, shown))),
        extra_env={**job.extra_env, "IQEVAL_DATA_ROOT": str(job.data_root)},
    )


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _image_paths(data_root: Path, images: Sequence[str]) -> list[Path]:
    """Return the images' folders, or the files alone where other things lie beside them."""
    paths = [data_root / image for image in images]
    mixed = {
        folder: folder == data_root
        or any(path.is_dir() or path.suffix == ".json" for path in folder.iterdir())
        for folder in {path.parent for path in paths}
    }
    return sorted({path if mixed[path.parent] else path.parent for path in paths})


def _hidden(config: Config, places: Places) -> tuple[Path, ...]:
    """Return what must stay invisible even where it lies in a folder that the model may read."""
    suites = {suite for names in config.categories.values() for suite in names}
    roots = {places.data_root, places.answer_root}
    found = [answer_path(root, suite) for root in roots for suite in suites]
    for root in roots:
        found += root.glob("*.answer.json")
    found += [places.out / name for name in (*OUTPUTS, journals.FOLDER)]
    found += [PACKAGE / "suite", places.work / ".iqdata"]
    return tuple(dict.fromkeys(found))
