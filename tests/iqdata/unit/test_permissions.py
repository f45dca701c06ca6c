"""Who may do what, as a table."""

import pytest

from iqdata.paths import RelPath
from iqdata.server.permissions import Act, Standing, refusal

ALONE = Standing(team="alpha", owner="alpha")
OWNER = Standing(team="alpha", group="g", owner="alpha")
MEMBER = Standing(team="beta", group="g", owner="alpha")


@pytest.mark.parametrize(
    ("who", "act", "path", "allowed"),
    [
        (ALONE, Act.WRITE, "train_data/a.bin", True),
        (ALONE, Act.WRITE, "notes.txt", True),
        (ALONE, Act.WRITE, "group_data/a.bin", True),
        (OWNER, Act.DELETE, "group_data/a.bin", True),
        (ALONE, Act.DELETE, "train_data", False),
        (ALONE, Act.MOVE_FROM, "group_data", False),
        (ALONE, Act.MOVE_TO, "train_data", False),
        (ALONE, Act.WRITE, "", False),
        (ALONE, Act.LOOK, "", True),
        (ALONE, Act.READ, ".iqdata/extractions.jsonl", True),
        (ALONE, Act.LOOK, ".iqdata", True),
        (ALONE, Act.WRITE, ".iqdata/extractions.jsonl", False),
        (ALONE, Act.MAKE, ".iqdata/x", False),
        (ALONE, Act.MOVE_TO, ".iqdata", False),
        (ALONE, Act.MOVE_FROM, ".iqdata/extractions.jsonl", False),
        (ALONE, Act.WRITE, "train_data/.iqdata/x", True),
        *[(MEMBER, act, "group_data", False) for act in Act],
        *[(MEMBER, act, "group_data/x", False) for act in Act],
        (MEMBER, Act.LOOK, "group_data2", True),
        (MEMBER, Act.WRITE, "train_data/x", True),
    ],
)
def test_who_may_do_what(who, act, path, allowed):
    assert (refusal(who, act, RelPath(path)) is None) is allowed


def test_a_member_learns_whose_folder_it_is_and_that_its_models_read_it():
    text = refusal(MEMBER, Act.LOOK, RelPath("group_data"))
    assert text is not None
    assert "alpha" in text
    assert "models read it" in text
