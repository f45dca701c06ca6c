"""The body of scripts/make-golden: cases → input, the real tool's tree, and what is expected of us."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from iqdata.extract.model import Engine
from iqdata.rules import tool_for
from tests.conftest import ROOT
from tests.support.golden import FOLDER, check, load
from tests.support.golden_cases import DIFFERENCES, Case, cases
from tests.support.realtools import run_real, tree

PLANTED = {"7z/anti": {"gone": b"must stay"}}
"""Files that stand in the folder before extraction."""


def version_of(tool: str) -> str:
    out = subprocess.run(
        ["tar", "--version"] if tool == "tar" else ["7zz"], capture_output=True, text=True, check=True
    ).stdout
    return out.strip().splitlines()[0]


def make(case: Case, place: Path) -> None:
    archive = place / case.archive
    archive.parent.mkdir(parents=True)
    archive.write_bytes(case.data)
    tool = tool_for(case.archive)
    real: dict[str, tuple] = {}
    exit_code = None
    if tool is not None:
        folder = place / "real"
        exit_code = run_real(tool.value, archive, folder)
        real = tree(folder)
    target = FOLDER / case.kind / case.name
    target.mkdir(parents=True)
    (target / "input.bin").write_bytes(case.data)
    expected = {
        "archive": case.archive,
        "row": case.row,
        "tool": None if tool is None else tool.value,
        "exit": exit_code,
        "tree": {path: _plain(*facts) for path, facts in sorted(real.items())},
        "status": case.status,
        "difference": case.difference,
        "missing": list(case.missing),
        "preview": case.preview,
    }
    (target / "expected.json").write_text(
        json.dumps(expected, indent=1, ensure_ascii=True) + "\n", encoding="ascii"
    )


def _plain(
    kind: str, mode: int | None, mtime: int | None, content: bytes | str | None, names: int | None
) -> dict[str, object]:
    facts: dict[str, object] = {"kind": kind}
    if mode is not None:
        facts["mode"] = f"{mode:04o}"
    if kind == "symlink":
        facts["target"] = content
    if kind == "file":
        assert isinstance(content, bytes)
        facts["mtime_ns"] = mtime
        facts["names"] = names
        if len(content) <= 400:
            facts["content"] = content.decode("latin-1")
        else:
            import hashlib

            facts["sha256"], facts["size"] = hashlib.sha256(content).hexdigest(), len(content)
    if kind == "directory":
        facts["mtime_ns"] = mtime
    return facts


def main() -> int:
    wanted = sys.argv[1:]
    if not wanted:
        shutil.rmtree(FOLDER, ignore_errors=True)
    made = 0
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        for case in cases():
            if wanted and f"{case.kind}/{case.name}" not in wanted:
                continue
            shutil.rmtree(FOLDER / case.kind / case.name, ignore_errors=True)
            assert case.difference is None or case.difference in DIFFERENCES, case.difference
            make(case, Path(temporary, case.kind, case.name))
            made += 1
    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        for golden in load():
            if wanted and golden.name not in wanted:
                continue
            problems = check(golden, Path(temporary, golden.name), engine=Engine.AUTO)
            if problems:
                bad += 1
                sys.stdout.write("\n    ".join([golden.name, *problems]) + "\n")
    versions = {tool: version_of(tool) for tool in ("tar", "7z")}
    (FOLDER / "versions.json").write_text(json.dumps(versions, indent=1) + "\n", encoding="ascii")
    sys.stdout.write(f"{made} cases in {FOLDER.relative_to(ROOT)}, {bad} of them disagree with the engine\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
