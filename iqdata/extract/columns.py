"""Many records of one shape → one column a field, without a step of Python for each record.

Pure. A slice with a stride picks one byte of every record at the speed of memory; a column is a few of those, laid side
by side. Refuses records of different lengths.
"""

import sys
from array import array


def column(records: bytes, code: str, *, at: int, step: int) -> "array[int]":
    """Return the little-endian numbers that stand `at` bytes into each of the records of `step` bytes.

    Args:
        records: whole records, one behind the other.
        code: of the numbers, as `array` spells it: B, H, I, i, Q or q.
        at: where the number stands in its record.
        step: a record's length.
    """
    values = array(code)
    width = values.itemsize
    laid = bytearray(len(records) // step * width)
    for byte in range(width):
        laid[byte::width] = records[at + byte :: step]
    values.frombytes(laid)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def holds(records: bytes, wanted: bytes, *, at: int, step: int) -> bool:
    """Tell whether every record of `step` bytes holds `wanted` at `at`."""
    count = len(records) // step
    return all(records[at + index :: step] == bytes((byte,)) * count for index, byte in enumerate(wanted))
