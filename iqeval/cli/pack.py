"""`iqeval pack`: check a model folder and write its archive."""

from pathlib import Path

import click

from iqeval.cli import render
from iqeval.findings import Finding, Level
from iqeval.pack import DEFAULT_EXCLUDES, Packing, pack, plan_pack


@click.command("pack")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.option(
    "-e",
    "--exclude",
    "excludes",
    multiple=True,
    metavar="NAME",
    help="Leave out this base name, at any depth (repeatable; adds to run_script.py, upload.tar.gz, __pycache__).",
)
@click.option(
    "-p",
    "--exclude-pattern",
    "patterns",
    multiple=True,
    metavar="REGEX",
    help="Leave out base names that this matches as a whole (repeatable).",
)
@click.option(
    "-w",
    "--work-root",
    "space",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where train_data and group_data are, for looking up data paths.",
)
@click.option("-n", "--dry-run", is_flag=True, help="List what would be packed; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def pack_command(
    model: Path,
    name: str | None,
    excludes: tuple[str, ...],
    patterns: tuple[str, ...],
    space: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write upload.tar.gz (or NAME) into MODEL. A .iqignore file in it leaves out more, by gitignore's rules."""
    plan = plan_pack(
        model, Packing(name=name, excludes=(*DEFAULT_EXCLUDES, *excludes), patterns=patterns, space=space)
    )
    packed = None if dry_run or plan.errors else pack(plan)
    if as_json:
        render.show_json(
            {
                "archive": str(plan.target) if packed else None,
                "size_bytes": packed.size_bytes if packed else None,
                "sha256": packed.sha256 if packed else None,
                "members": [
                    {"name": member.name, "size_bytes": member.size_bytes} for member in plan.members
                ],
                "findings": [finding_to_json(finding) for finding in plan.findings],
            }
        )
        return 1 if plan.errors else 0
    show_findings(plan.findings)
    if dry_run:
        for member in plan.members:
            click.echo(f"{member.size_bytes:>12,}  {member.name}{'/' if member.is_folder else ''}")
        click.echo(f"{plan.total_bytes:>12,}  in {len(plan.members)} files; nothing was written")
    elif packed is None:
        click.echo(f"iqeval: {len(plan.errors)} errors; nothing was packed", err=True)
    else:
        click.echo(
            f"{packed.path}: {len(plan.members)} files, {packed.size_bytes:,} bytes, sha256 {packed.sha256}"
        )
    return 1 if plan.errors else 0


def show_findings(findings: tuple[Finding, ...]) -> None:
    """Print findings to standard error, errors in red."""
    for finding in findings:
        colour = "red" if finding.level is Level.ERROR else "yellow"
        click.echo(click.style(render.visible(finding.text_line), fg=colour), err=True)


def finding_to_json(finding: Finding) -> dict[str, object]:
    """Return a finding as JSON."""
    return {"level": finding.level.value, "path": finding.path, "line": finding.line, "text": finding.text}
