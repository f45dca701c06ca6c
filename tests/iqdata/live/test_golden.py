"""Every golden case: preview = what is extracted = what the real tool left, wherever no listed difference applies."""

import pytest

from iqdata.extract.model import Engine
from iqdata.extract.native import find_tool
from iqdata.rules import Tool
from tests.support.golden import check, load
from tests.support.golden_cases import DIFFERENCES

CASES = list(load())

# What only the real tool decodes, and so is not asked of the portable engine.
NATIVE_ONLY = ("bcj2", "arm64", "riscv", "swap2", "swap4", "ia64-lzma")


def _is_native_only(name: str) -> bool:
    return name == "7z/filter-ia64-lzma" or any(f"-{word}-" in name for word in NATIVE_ONLY[:-1])


@pytest.mark.parametrize(
    "golden", [case for case in CASES if not _is_native_only(case.name)], ids=lambda case: case.name
)
def test_the_portable_engine_does_what_the_tool_does(golden, tmp_path):
    assert check(golden, tmp_path / "x", engine=Engine.PORTABLE) == []


@pytest.mark.parametrize("golden", CASES, ids=lambda case: case.name)
def test_the_native_engine_does_the_same(golden, tmp_path):
    if golden.expected["tool"] is not None and find_tool(Tool(golden.expected["tool"])) is None:
        pytest.skip("7zz is not installed")
    assert check(golden, tmp_path / "x", engine=Engine.NATIVE) == []


@pytest.mark.parametrize(
    "golden", [case for case in CASES if _is_native_only(case.name)], ids=lambda case: case.name
)
def test_what_is_not_decoded_here_is_said(golden, tmp_path):
    problems = check(golden, tmp_path / "x", engine=Engine.PORTABLE)
    assert any(
        "extract says unsupported" in problem and "real 7zz decodes" in problem for problem in problems
    )
    assert not any("not expected" in problem for problem in problems)


def test_there_is_a_case_for_every_kind_and_difference():
    kinds = {case.name.partition("/")[0] for case in CASES}
    assert kinds == {"tar", "stream", "zip", "7z", "name"}
    assert len(CASES) >= 150
    used = {case.expected["difference"] for case in CASES} - {None}
    assert used == set(DIFFERENCES)


def test_every_difference_is_told_in_the_documentation():
    from tests.conftest import ROOT

    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert [key for key in DIFFERENCES if f"`{key}`" not in text] == []
