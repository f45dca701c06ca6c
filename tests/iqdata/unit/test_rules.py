"""Names → tools, and names to which no rule applies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqdata.rules import (
    Tool,
    conflict_name,
    inert_form,
    is_inert,
    is_temporary,
    original_of,
    rule_for,
    temporary_name,
    tool_for,
)


@pytest.mark.parametrize(
    ("name", "tool", "rule"),
    [
        ("a.tar", Tool.TAR, "name contains .tar"),
        ("a.tar.gz", Tool.TAR, "name contains .tar"),
        ("my.target.csv", Tool.TAR, "name contains .tar"),
        ("a.tar.zip", Tool.TAR, "name contains .tar"),
        (".tar", Tool.TAR, "name contains .tar"),
        ("x.tar.part", Tool.TAR, "name contains .tar"),
        ("data.tarball", Tool.TAR, "name contains .tar"),
        ("a.gz", Tool.SEVENZIP, "name ends in .gz"),
        ("a.gz2", Tool.SEVENZIP, "name ends in .gz2"),
        ("a.xz", Tool.SEVENZIP, "name ends in .xz"),
        ("a.7z", Tool.SEVENZIP, "name ends in .7z"),
        (".zip", Tool.SEVENZIP, "name ends in .zip"),
        ("A.TAR.gz", Tool.SEVENZIP, "name ends in .gz"),
        ("folder.tar/a.zip", Tool.SEVENZIP, "name ends in .zip"),
        ("a.tgz", None, None),
        ("a.bz2", None, None),
        ("A.TAR", None, None),
        ("A.ZIP", None, None),
        ("tar", None, None),
        ("zip", None, None),
        ("a.zip.part", None, None),
        ("a.7z.001", None, None),
        ("folder.tar/a", None, None),
        ("", None, None),
        ("a.tar/", None, None),
    ],
)
def test_the_name_alone_decides(name, tool, rule):
    assert tool_for(name) is tool
    assert rule_for(name) == rule


@given(st.text())
def test_every_string_has_an_answer(name):
    assert (tool_for(name) is None) == (rule_for(name) is None)


TOKENS = st.text(alphabet="0123456789abcdefghijklmnopqrstuvwxyz", min_size=20, max_size=60)
WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)


@given(TOKENS, WORDS)
def test_no_rule_ever_applies_to_a_temporary_name(token, purpose):
    name = temporary_name(token, purpose=purpose)
    for spelling in (name, name.upper(), name.casefold(), name.title()):
        assert tool_for(spelling) is None
    assert is_inert(name)
    assert is_temporary(name)
    assert "." not in name


@given(st.text(max_size=40))
def test_inert_forms_are_inert_and_lead_back(name):
    inert = inert_form(name)
    for spelling in (inert, inert.upper(), inert.casefold()):
        assert tool_for(spelling) is None
    assert is_inert(inert)
    assert original_of(inert) == name


@given(st.text(max_size=40), st.text(max_size=20))
def test_conflict_copies_are_inert(name, label):
    assert is_inert(conflict_name(name, label=label))
    assert tool_for(conflict_name(name, label=label).casefold()) is None


@pytest.mark.parametrize("token", ["", "short", "UPPER" * 5, "with.dot" * 4, "a/b" * 10])
def test_a_guessable_or_visible_token_is_refused(token):
    with pytest.raises(ValueError, match="inert name"):
        temporary_name(token)


@pytest.mark.parametrize(
    "name",
    ["iqdata-part", "iqdata-part-short", "x-iqdata-part-" + "a" * 24, "iqdata-PART-" + "a" * 24, "a.txt"],
)
def test_other_names_are_not_taken_for_temporary_ones(name):
    assert not is_temporary(name)
