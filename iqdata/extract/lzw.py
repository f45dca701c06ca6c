"""Unix `compress` (.Z) → chunks of content.

Refuses to be fast: the format died in the nineties, a `.tar.Z` still turns up.
"""

from collections.abc import Callable, Iterator

from iqdata.errors import Damaged

_CLEAR = 256
_FLUSH_BYTES = 64 * 1024

# Texts up to this long are kept whole, longer ones as (code before, last byte): 65,536 whole ones could take 2 GiB.
_WHOLE_BYTES = 256

_Entry = bytes | tuple[int, bytes]


def _text_of(table: list[_Entry], code: int) -> bytes:
    entry = table[code]
    if isinstance(entry, bytes):
        return entry
    ends = []
    while isinstance(entry, tuple):
        code, last = entry
        ends.append(last)
        entry = table[code]
    ends.reverse()
    return entry + b"".join(ends)


def lzw_chunks(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the content of a `.Z` stream; `read` returns its next bytes, b"" at the end.

    Codes come in groups of eight; a change of width or a clear code drops the rest of a group. The format has no
    checksum and no end mark, so a cut goes unseen, as it does by gzip.

    Raises:
        Damaged: no `.Z` header, or a code that cannot be.
    """
    data = b""
    while len(data) < 3 and (more := read()):
        data += more
    if data[:2] != b"\x1f\x9d" or len(data) < 3:
        raise Damaged("not a compress (.Z) stream")
    max_width, block_mode = data[2] & 0x1F, bool(data[2] & 0x80)
    if not 9 <= max_width <= 16:
        raise Damaged(f"the .Z stream asks for codes of {max_width} bits")
    data = data[3:]
    table: list[_Entry] = [bytes((value,)) for value in range(256)]
    table += [b""] * block_mode
    first_free = len(table)
    width, previous, before = 9, b"", -1
    out = bytearray()
    while True:
        while len(data) < width and (more := read()):
            data += more
        group, data = data[:width], data[width:]
        if not group:
            break
        bits = int.from_bytes(group, "little")
        for index in range(len(group) * 8 // width):
            code = bits >> (index * width) & ((1 << width) - 1)
            if block_mode and code == _CLEAR:
                del table[first_free:]
                width, previous, before = 9, b"", -1
                break
            if code < len(table):
                text = _text_of(table, code)
            elif code == len(table) and previous:
                text = previous + previous[:1]
            else:
                raise Damaged("the .Z stream makes no sense")
            out += text
            if previous and len(table) < 1 << max_width:
                whole = len(previous) < _WHOLE_BYTES
                table.append(previous + text[:1] if whole else (before, text[:1]))
                if len(table) >= 1 << width and width < max_width:
                    width += 1
                    previous, before = text, code
                    break
            previous, before = text, code
        if len(out) >= _FLUSH_BYTES:
            yield bytes(out)
            out.clear()
    yield bytes(out)
