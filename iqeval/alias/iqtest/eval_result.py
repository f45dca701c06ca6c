"""`eval_result.run_analysis(...)`: scores the output.answer.json of a server-mode run.

What it needs is imported when it is called: models import this module too, where there is nothing to score.
"""

__all__ = ["run_analysis"]


def run_analysis(data_root: str, work_root: str, answer_root: str) -> tuple[str | None, bool | None]:
    """Write result.json into the work root; returns (None, True), or (what went wrong, None)."""
    import sys
    from pathlib import Path

    from iqeval.errors import IqEvalError
    from iqeval.outputs import RESULT
    from iqeval.rescore import score
    from iqeval.script import context

    here = context()
    try:
        record = score(Path(data_root) / "config.json", work=Path(work_root), answers=Path(answer_root))
    except IqEvalError as exc:
        here.exit_codes.append(exc.exit_code)
        sys.stdout.write(f"Fail:output to {Path(work_root) / RESULT}\n")
        return str(exc), None
    here.exit_codes.append(record.exit_code)
    sys.stdout.write(f"Succ:output to {Path(work_root) / RESULT}\n")
    return None, True
