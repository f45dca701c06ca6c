"""What every test needs to know: where programs and sample data are, and that a skip in CI is a failure."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The published questions, where they are at hand; tests that need them are not collected elsewhere.
QUESTIONS = Path(os.environ.get("IQTEST_DATA", ROOT.parent / "shared" / "iqtest-data"))

# A busy machine is slow, not wrong: no example is judged by how long it or its making took.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def need_program(name: str) -> str:
    """Return the path of a program, or skip the test that asked for it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed; scripts/setup --tests installs it")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI a skipped test is a failure: what was not run was not shown."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
