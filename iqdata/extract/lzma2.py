"""LZMA2 streams in independent blocks, decoded side by side.

Several threads of a packer leave blocks that refer to nothing before them; their chunk headers tell where each starts and
how much comes out. Refuses (with None) streams of one block, of large blocks, and those whose headers make no sense: one
decoder reads them in order, and says what is wrong. Source: LZMA2 in the xz file format's reference decoder.
"""

import dataclasses
import lzma
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from iqdata.errors import Damaged
from iqdata.extract.decode import OUT_BYTES

_LARGEST_BYTES = 32 * 1024 * 1024
"""Blocks stand in memory whole, one for each thread and one or two that are written."""

_THREADS = min(2, os.cpu_count() or 1)
_LEAST_DICTIONARY = 4096

ReadAt = Callable[[int, int], bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Chunks that refer to nothing before them."""

    offset: int
    packed_bytes: int
    size_bytes: int


def independent_blocks(read_at: ReadAt, start: int, size: int) -> list[Block] | None:
    """Return the blocks of a packed stream, None where it has to be decoded in order.

    Args:
        read_at: gives up to so many bytes from an offset.
        start: where the stream starts.
        size: how long it is, its end mark included.
    """
    blocks: list[Block] = []
    at, end = start, start + size
    first, unpacked = start, 0
    while True:
        if at >= end:
            return None
        head = read_at(at, min(6, end - at)).ljust(6, b"\0")
        control = head[0]
        if at > first and (control in (0, 1) or control >= 0xE0):
            if unpacked > _LARGEST_BYTES:
                return None
            blocks.append(Block(first, at - first, unpacked))
            first, unpacked = at, 0
        if control == 0:
            return blocks if len(blocks) > 1 and at + 1 == end else None
        if 2 < control < 0x80:
            return None
        unpacked += (head[1] << 8 | head[2]) + 1
        if control >= 0x80:
            unpacked += (control & 0x1F) << 16
            at += 5 + (control >= 0xC0) + (head[3] << 8 | head[4]) + 1
        else:
            at += 3 + (head[1] << 8 | head[2]) + 1


@dataclasses.dataclass(frozen=True, slots=True)
class _Decoded:
    """What came out of a block: on an error, what was right before it."""

    pieces: list[bytes]
    error: Exception | None


def _decoded(block: Block, read_at: ReadAt, dictionary_bytes: int) -> _Decoded:
    # Nothing in a block refers further back than to its start.
    size = max(_LEAST_DICTIONARY, min(dictionary_bytes, block.size_bytes))
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": size}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    pieces: list[bytes] = []
    try:
        pieces.append(decoder.decompress(read_at(block.offset, block.packed_bytes) + b"\0", OUT_BYTES))
        while not decoder.eof and not decoder.needs_input:
            pieces.append(decoder.decompress(b"", OUT_BYTES))
    except (lzma.LZMAError, EOFError) as exc:
        return _Decoded(pieces, exc)
    return _Decoded(pieces, None)


def decoded(
    blocks: list[Block], read_at: ReadAt, dictionary_bytes: int, *, report: Callable[[int], None]
) -> Iterator[bytes]:
    """Yield the content of all blocks in order, the next few decoded meanwhile.

    Args:
        blocks: as `independent_blocks` found them.
        read_at: gives up to so many bytes from an offset; called from other threads.
        dictionary_bytes: what the coder's properties say.
        report: told how far the packed stream has been used.

    Raises:
        Damaged: a block makes no sense; what came before is right.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        coming: deque[Future[_Decoded]] = deque()
        try:
            for index, block in enumerate(blocks):
                for ahead in blocks[index + len(coming) : index + _THREADS + 1]:
                    coming.append(pool.submit(_decoded, ahead, read_at, dictionary_bytes))
                done = coming.popleft().result()
                report(block.offset + block.packed_bytes)
                yield from done.pieces
                if done.error is not None:
                    raise Damaged(f"its packed data makes no sense ({done.error})") from done.error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
