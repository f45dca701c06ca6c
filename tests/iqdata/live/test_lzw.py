"""`.Z` streams as the real compress writes them."""

import random
import subprocess

import pytest

from iqdata.errors import Damaged
from iqdata.extract.lzw import lzw_chunks
from tests.conftest import need_program

DRAW = random.Random(3)
CONTENTS = {
    "nothing": b"",
    "one byte": b"x",
    "one value": bytes(200_000),
    "noise": DRAW.randbytes(100_000),
    "text": b"".join(b"%d,%d\n" % (index, index * index % 97) for index in range(20_000)),
    "changing": bytes(50_000) + DRAW.randbytes(50_000) + b"abc" * 20_000,
}


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("content", CONTENTS)
def test_what_compress_wrote_comes_out(content, bits):
    data = CONTENTS[content]
    packed = subprocess.run(
        [need_program("compress"), "-f", "-c", "-b", str(bits)],
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
    ).stdout
    pieces = iter([packed[at : at + 777] for at in range(0, len(packed), 777)])
    assert b"".join(lzw_chunks(lambda: next(pieces, b""))) == data


@pytest.mark.parametrize(
    "data", [b"", b"\x1f", b"\x1f\x9d", b"\x1f\x9d\x08", b"\x1f\x9d\x9f", b"\x1f\x8b\x90"]
)
def test_what_is_no_such_stream_is_said(data):
    pieces = iter([data])
    with pytest.raises(Damaged):
        list(lzw_chunks(lambda: next(pieces, b"")))
