"""LZMA2 streams of several blocks: found by their chunk headers, decoded in order whatever thread is first."""

import lzma
import random
import threading

import pytest

from iqdata.errors import Damaged
from iqdata.extract import lzma2
from iqdata.extract.lzma2 import decoded, independent_blocks

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 65536}]
DRAW = random.Random(5)
PARTS = [
    bytes(DRAW.choices(b"abcdef", k=300_000)),
    DRAW.randbytes(200_000),  # stored, not compressed
    b"x" * 3_000_000,
    b"1",
]


def packed(parts) -> bytes:
    blocks = [lzma.compress(part, format=lzma.FORMAT_RAW, filters=FILTERS) for part in parts]
    return b"".join(block[:-1] for block in blocks) + b"\0"


def reader(data: bytes):
    return lambda offset, size: data[offset : offset + size]


def test_blocks_and_their_content():
    before = b"something else"
    data = before + packed(PARTS) + b"more"
    blocks = independent_blocks(reader(data), len(before), len(data) - len(before) - 4)
    assert blocks is not None
    assert [block.size_bytes for block in blocks] == [len(part) for part in PARTS]
    used = []
    assert b"".join(decoded(blocks, reader(data), 65536, report=used.append)) == b"".join(PARTS)
    assert used == [block.offset + block.packed_bytes for block in blocks]
    one = lzma.decompress(data[len(before) : -4], format=lzma.FORMAT_RAW, filters=FILTERS)
    assert one == b"".join(PARTS)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(packed(PARTS[:1]), id="one block"),
        pytest.param(packed(PARTS)[:-1], id="no end mark"),
        pytest.param(packed(PARTS)[:-70_000], id="cut"),
        pytest.param(packed(PARTS) + b"x", id="data after the end mark"),
        pytest.param(b"\x05" + packed(PARTS), id="a control byte that is none"),
        pytest.param(b"\0", id="nothing"),
        pytest.param(b"", id="no byte"),
    ],
)
def test_what_is_left_to_one_decoder(data):
    assert independent_blocks(reader(data), 0, len(data)) is None


def test_large_blocks_are_left_to_one_decoder(monkeypatch):
    monkeypatch.setattr(lzma2, "_LARGEST_BYTES", 1000)
    data = packed(PARTS)
    assert independent_blocks(reader(data), 0, len(data)) is None


def test_what_comes_before_a_damaged_block_comes_out():
    data = bytearray(packed(PARTS))
    blocks = independent_blocks(reader(data), 0, len(data))
    assert blocks is not None
    spoilt = blocks[2].offset + 6
    data[spoilt : spoilt + 40] = b"\xff" * 40
    out = []
    with pytest.raises(Damaged):
        out.extend(decoded(blocks, reader(bytes(data)), 65536, report=lambda _at: None))
    assert b"".join(out).startswith(b"".join(PARTS[:2]))


def test_whoever_stops_early_leaves_no_thread():
    data = packed(PARTS * 3)
    blocks = independent_blocks(reader(data), 0, len(data))
    assert blocks is not None
    pieces = decoded(blocks, reader(data), 65536, report=lambda _at: None)
    next(pieces)
    pieces.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
