"""`pack_models.pack_models(...)`: checks a model folder and writes the archive to upload.

What it needs is imported when it is called: models import this module too, where there is nothing to pack.
"""

from collections.abc import Sequence

__all__ = ["pack_models"]


def pack_models(
    model_root: str,
    tar_file: str | None = None,
    dry: bool = False,  # noqa: FBT001, FBT002  # the published signature
    excludes: Sequence[str] = ("run_script.py", "upload.tar.gz", "__pycache__"),
    exclude_pattern: Sequence[str] = (),
) -> None:
    """Write `upload.tar.gz` (or `tar_file`) into the model folder, or with `dry` list what would be in it.

    Raises:
        PackError: the folder must not be uploaded as it is; all reasons are listed.
    """
    import sys
    from pathlib import Path

    from iqeval.errors import PackError
    from iqeval.pack import Packing, pack, plan_pack

    settings = Packing(name=tar_file, excludes=tuple(excludes), patterns=tuple(exclude_pattern))
    plan = plan_pack(Path(model_root), settings)
    for finding in plan.findings:
        sys.stdout.write(f"{finding.text_line}\n")
    if plan.errors:
        raise PackError(f"{model_root}: {len(plan.errors)} errors; nothing was packed")
    if dry:
        sys.stdout.write("".join(f"{member.name}\n" for member in plan.members))
        return
    sys.stdout.write(f"gz file: {pack(plan).path}\n")
