"""What an operator reads while a space or an agent runs."""

import pytest

from iqdata.cli.telling import line_of
from iqdata.server.happenings import Happening, What

TIME = "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Happening(time=TIME, event=What.UPLOAD, outcome="ok", team="alpha", path="a.zip", size_bytes=3),
            "03:04:05  alpha         uploaded a.zip (3 B)",
        ),
        (
            Happening(
                time=TIME, event=What.UPLOAD, outcome="over-quota", team="alpha", path="a.zip", size_bytes=3
            ),
            "03:04:05  alpha         upload of a.zip went over the quota, nothing was kept (3 B)",
        ),
        (
            Happening(
                time=TIME, event=What.DOWNLOAD, outcome="aborted", team="alpha", path="a", size_bytes=2048
            ),
            "03:04:05  alpha         download of a was cut off (2.0 KiB)",
        ),
        (
            Happening(
                time=TIME,
                event=What.EXTRACTED,
                outcome="ok",
                path="a.zip",
                files=1,
                size_bytes=5,
                elapsed_s=0.1,
            ),
            "03:04:05  extracted a.zip: 1 file, 5 B, 0.10 s",
        ),
        (
            Happening(
                time=TIME,
                event=What.EXTRACTED,
                outcome="damaged",
                team="b",
                path="a.zip",
                files=2,
                detail="cut",
            ),
            "03:04:05  b             damaged: a.zip: cut (2 files placed)",
        ),
        (
            Happening(time=TIME, event=What.BANNED, outcome="ok", address="192.0.2.1", detail="too many"),
            "03:04:05  192.0.2.1     banned: too many",
        ),
        (
            Happening(time=TIME, event=What.REFUSED, outcome="refused", team="b", path="x\n y", detail="no"),
            "03:04:05  b             refused x y: no",
        ),
        (Happening(time=TIME, event=What.STOPPED, outcome="ok"), "03:04:05  stopped"),
    ],
    ids=lambda value: value.event.value if isinstance(value, Happening) else "",
)
def test_an_event_is_one_line(event, line):
    assert line_of(event) == line
