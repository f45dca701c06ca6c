"""Names in .7z headers → bytes on disk."""

import pytest

from iqdata.extract.sevenzip import raw_name


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        pytest.param("a/b.csv", b"a/b.csv", id="plain"),
        pytest.param("数据", "数据".encode(), id="any script"),
        pytest.param("\uef80\uef81x", b"\x80\x81x", id="bytes that are no UTF-8"),
        pytest.param("\uefc3\uefa4", "ä".encode(), id="bytes that happen to be UTF-8"),
        pytest.param(
            "\uefee\uefbe\uef80", "\uef80".encode(), id="such a character itself, as 7-Zip packs it"
        ),
        pytest.param("\uef7f\uefff\uf000", b"\xee\xbd\xbf\xff\xef\x80\x80", id="the neighbours"),
        pytest.param("\ud800", b"\xed\xa0\x80", id="a lone surrogate"),
    ],
)
def test_bytes_on_disk(name, raw):
    assert raw_name(name) == raw
