"""Lines of MLSD and LIST, in the forms that servers send."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqdata.errors import Refused, UnsafePath
from iqdata.transports.listing import DAY_NS, format_time, parse_list, parse_mlsd, parse_time
from iqdata.tree import FOLDER, Entry, Kind

NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)


def ns(*moment: int) -> int:
    return int(datetime.datetime(*moment, tzinfo=datetime.UTC).timestamp()) * 10**9


def listed(*lines: str, now=NOW, offset_s: int = 0):
    return parse_list(lines, now_ns=int(now.timestamp()) * 10**9, offset_s=offset_s)


@pytest.mark.parametrize(
    ("line", "name", "entry"),
    [
        pytest.param(
            "type=file;size=12;modify=20260102030405; a.txt",
            "a.txt",
            Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4, 5)),
            id="plain",
        ),
        pytest.param(
            "Type=File;Size=12;Modify=20260102030405; a",
            "a",
            Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4, 5)),
            id="capitals",
        ),
        pytest.param("size=12;type=file; a", "a", Entry(Kind.FILE, 12, None), id="no time"),
        pytest.param(
            "type=file;modify=20260102030405.125;size=1; a",
            "a",
            Entry(Kind.FILE, 1, ns(2026, 1, 2, 3, 4, 5) + 125_000_000),
            id="fraction",
        ),
        pytest.param("type=dir;modify=20260102030405;unix.mode=0755; d", "d", FOLDER, id="folder"),
        pytest.param("type=OS.unix=slink:/etc;size=4; link", "link", Entry(Kind.OTHER, 4), id="link"),
        pytest.param("type=file;size=1;  leading", " leading", Entry(Kind.FILE, 1), id="leading space"),
        pytest.param("type=file;size=1; a; b=c; d", "a; b=c; d", Entry(Kind.FILE, 1), id="name like facts"),
        pytest.param(
            "type=file;size=nonsense;modify=soon; a",
            "a",
            Entry(Kind.FILE, 0, None),
            id="values that are none",
        ),
    ],
)
def test_mlsd(line, name, entry):
    assert parse_mlsd([line]) == {name: entry}


def test_mlsd_leaves_out_the_folder_itself_and_its_parent():
    assert parse_mlsd(
        ["type=cdir; .", "type=pdir; ..", "type=cdir; /whole/path", "type=dir; ..", "type=dir; d"]
    ) == {"d": FOLDER}


@pytest.mark.parametrize("line", ["", " ", "a.txt", "type=file;size=1;a", "total 4"])
def test_what_is_no_mlsd_line_is_an_error(line):
    with pytest.raises(Refused):
        parse_mlsd([line])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260102030405", ns(2026, 1, 2, 3, 4, 5)),
        ("20240229000000", ns(2024, 2, 29)),
        ("20260229000000", None),
        ("20261301000000", None),
        ("2026010203040", None),
        ("", None),
        ("۲۰۲۶۰۱۰۲۰۳۰۴۰۵", None),
        ("20260102030405.9999999999", ns(2026, 1, 2, 3, 4, 5) + 999_999_999),
        ("19700101000000", 0),
    ],
)
def test_times(text, expected):
    assert parse_time(text) == expected
    days: dict[str, int] = {}
    assert parse_time(text, days) == expected
    assert parse_time(text, days) == expected


def test_times_there_and_back():
    for when_s in (0, 1, 951_782_400, 1_700_000_000, 4_102_444_800):
        assert parse_time(format_time(when_s * 10**9 + 999)) == when_s * 10**9


@pytest.mark.parametrize(
    ("line", "name", "entry"),
    [
        pytest.param("-rw-r--r--    1 1000     1000           12 Jan 02 03:04 a.txt", "a.txt", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="vsftpd"),
        pytest.param("-rw-r--r--    1 1000     1000           12 Dec 31 03:04 a.txt", "a.txt", Entry(Kind.FILE, 12, ns(2025, 12, 31, 3, 4)), id="last year"),
        pytest.param("-rw-r--r--    1 1000     1000           12 Mar 02 11:00 a", "a", Entry(Kind.FILE, 12, ns(2026, 3, 2, 11)), id="clock a little ahead"),
        pytest.param("-rw-r--r--    1 1000     1000           12 Nov 14  2023 a.txt", "a.txt", Entry(Kind.FILE, 12, ns(2023, 11, 14), coarse_ns=DAY_NS), id="old"),
        pytest.param("drwxr-xr-x    2 0        0            4096 Nov 14  2023 d", "d", FOLDER, id="folder"),
        pytest.param("lrwxrwxrwx    1 0        0               4 Jan 02 03:04 link -> /etc", "link", Entry(Kind.OTHER, 4, ns(2026, 1, 2, 3, 4)), id="link"),
        pytest.param("-rw-r--r--   1 team     Domain Users       12 Jan 02 03:04 a", "a", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="group of two words"),
        pytest.param("-rw-r--r--   1 team           12 Jan 02 03:04 a", "a", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="no group"),
        pytest.param("-rw-r--r--   1 team     team           12  2 Jan 03:04 a", "a", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="day before month"),
        pytest.param("-rw-r--r--+   1 team     team           12 Jan 02 03:04 a", "a", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="access list"),
        pytest.param("-rw-r--r--   1 team     team           12 Jan 02 03:04  two  spaces ", " two  spaces ", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="spaces in the name"),
        pytest.param("-rw-r--r--   1 team     team           12 Jan 02 03:04 9 Feb 03 04:05 b", "9 Feb 03 04:05 b", Entry(Kind.FILE, 12, ns(2026, 1, 2, 3, 4)), id="name like a date"),
        pytest.param("crw-r--r--   1 root     root          1, 3 Jan 02 03:04 null", "null", Entry(Kind.OTHER, 0, ns(2026, 1, 2, 3, 4)), id="device"),
        pytest.param("02-23-26  01:30PM       <DIR>          sub dir", "sub dir", FOLDER, id="DOS folder"),
        pytest.param("02-23-26  12:05AM                 1234 a.txt", "a.txt", Entry(Kind.FILE, 1234, ns(2026, 2, 23, 0, 5)), id="DOS midnight"),
        pytest.param("02-23-2026  12:05PM            1,234,567 a.txt", "a.txt", Entry(Kind.FILE, 1_234_567, ns(2026, 2, 23, 12, 5)), id="DOS noon"),
        pytest.param("02-23-26  13:30                 1234 a.txt", "a.txt", Entry(Kind.FILE, 1234, ns(2026, 2, 23, 13, 30)), id="DOS 24 hours"),
    ],
)  # fmt: skip
def test_list(line, name, entry):
    assert listed(line) == {name: entry}


def test_list_skips_totals_and_dots():
    assert (
        listed(
            "total 12", "drwxr-xr-x 2 0 0 4096 Jan 02 03:04 .", "drwxr-xr-x 2 0 0 4096 Jan 02 03:04 ..", ""
        )
        == {}
    )


def test_list_in_another_zone():
    line = "-rw-r--r--    1 1000     1000           12 Jan 02 03:04 a.txt"
    assert listed(line, offset_s=7200)["a.txt"].mtime_ns == ns(2026, 1, 2, 1, 4)


def test_the_29th_of_february_belongs_to_a_leap_year():
    assert listed("-rw-r--r-- 1 o g 1 Feb 29 10:00 a")["a"].mtime_ns == ns(2024, 2, 29, 10)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "-rw-r--r-- 1 o g 12 Foo 02 03:04 a",
        "-rw-r--r-- 1 o g 12 Jan 42 03:04 a",
        "-rw-r--r-- 1 o g x Jan 02 03:04 a",
        "13-45-26  01:30PM  <DIR>  x",
    ],
)
def test_a_line_of_no_known_form_is_an_error(line):
    with pytest.raises(Refused):
        listed("-rw-r--r-- 1 o g 12 Jan 02 03:04 good", line)


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "x\x07", ""])
def test_names_that_lead_elsewhere(name):
    with pytest.raises((UnsafePath, Refused)):
        listed(f"-rw-r--r-- 1 o g 12 Jan 02 03:04 {name}")
    with pytest.raises((UnsafePath, Refused)):
        parse_mlsd([f"type=file;size=1; {name}"])


def test_a_long_hostile_line_is_judged_quickly():
    for line in (
        "-rw-r--r-- " + "a " * 4000,
        "-rw-r--r-- " + " " * 8000,
        "-rw-r--r-- " + "1 " * 4000 + "Jan 02 03:04",
        "02-23-26 " * 800,
    ):
        with pytest.raises((Refused, UnsafePath)):
            listed(line)


def _line(letter, size, date, name):
    return f"{letter}rw-r--r--    1 ftp      ftp      {size:8} {date} {name}"


@given(
    st.lists(
        st.builds(
            _line,
            st.sampled_from("-d"),
            st.integers(0, 10**12),
            st.sampled_from(
                (
                    "Mar 01 11:59",
                    "Jan  2 00:00",
                    "Dec 31 23:59",
                    "Feb 29  2024",
                    "Feb 30  2025",
                    "Xyz 01 10:00",
                )
            ),
            st.text(st.sampled_from("ab .-_~é/\x7f"), min_size=1, max_size=4),
        ),
        max_size=5,
    ),
    st.sampled_from((0, 3600)),
)
def test_plain_listings_are_read_as_their_lines_one_by_one(lines, offset_s):
    def outcome(*given):
        try:
            return listed(*given, offset_s=offset_s)
        except (Refused, UnsafePath) as exc:
            return type(exc)

    # A link among the lines is not plain, so each line is looked at by itself.
    link = "lrwxrwxrwx    1 ftp      ftp             3 Mar 01 10:00 zzzzz -> x"
    slowly = outcome(*lines, link)
    if isinstance(slowly, dict):
        slowly.pop("zzzzz")
    assert outcome(*lines) == slowly


def test_a_long_name_is_refused_in_a_plain_listing_too():
    with pytest.raises(UnsafePath):
        listed(_line("-", 1, "Mar 01 11:59", "n" * 256))
