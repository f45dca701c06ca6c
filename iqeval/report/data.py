"""A record → the JSON of `report.json` and of `--json`, with a schema version."""

import dataclasses
from collections.abc import Mapping

from iqeval.outcome import Problem
from iqeval.record import REPORT_SCHEMA, CategoryResult, RunRecord, SuiteResult
from iqeval.score import Count


def count_to_json(count: Count) -> dict[str, object]:
    """Return a score with its interval and near misses."""
    interval = count.interval
    return {
        "score": count.score,
        "correct": count.correct,
        "total": count.total,
        "answered": count.answered,
        "wilson_low": interval.low,
        "wilson_high": interval.high,
        "near_misses": count.near,
        "lenient_score": count.lenient,
        "open_total": count.open_total,
        "open_correct": count.open_correct,
        "open_near_misses": count.open_near,
    }


def problem_to_json(problem: Problem | None) -> dict[str, object] | None:
    """Return a problem, field by field."""
    if problem is None:
        return None
    fields = {field.name: getattr(problem, field.name) for field in dataclasses.fields(problem)}
    return fields | {"outcome": problem.outcome.value}


def suite_to_json(suite: SuiteResult) -> dict[str, object]:
    """Return one suite."""
    return {
        "suite": suite.name,
        "sha256": suite.digest,
        "answers_sha256": suite.answers_digest,
        "questions": suite.questions,
        "answered": suite.answered,
        "errors": suite.errors,
        "result": None if suite.count is None else count_to_json(suite.count),
        "kinds": {kind: count_to_json(count) for kind, count in suite.kinds.items()},
    }


def category_to_json(result: CategoryResult) -> dict[str, object]:
    """Return one category."""
    return {
        "category": result.category,
        "outcome": result.outcome.value,
        "fault": result.fault.value,
        "model": result.model,
        "problem": problem_to_json(result.problem),
        "result": count_to_json(result.count) if result.scored else None,
        "suites": [suite_to_json(suite) for suite in result.suites],
    }


def record_to_json(record: RunRecord) -> dict[str, object]:
    """Return the whole record, without the questions."""
    return {
        "schema": REPORT_SCHEMA,
        "mode": record.mode.value,
        "exit_code": record.exit_code,
        "started_at": record.started_at,
        "elapsed_s": round(record.elapsed_s, 3),
        "model": record.model,
        "model_sha256": record.model_digest,
        "form": record.form,
        "config": record.config,
        "config_version": record.config_version,
        "work": record.work,
        "out": record.out,
        "sandbox": None
        if record.sandbox is None
        else _without(dataclasses.asdict(record.sandbox), "sentence"),
        "limits": dict(record.limits),
        "on_error": record.on_error,
        "seed": record.seed,
        "jobs": record.jobs,
        "child_starts": record.starts,
        "resumed_answers": record.resumed,
        "memory_bytes": record.memory_bytes,
        "versions": dict(record.versions),
        "host": dict(record.host),
        "warnings": list(record.warnings),
        "categories": [category_to_json(result) for result in record.categories],
    }


def _without(found: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in found.items() if key != name}
