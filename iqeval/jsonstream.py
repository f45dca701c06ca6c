"""Reads a JSON array or object one element at a time, so that a suite of a million questions never stands in memory.

Tolerates a byte order mark. Refuses to know what the elements mean.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from iqeval.errors import SuiteError

_CHUNK = 1 << 18
_SMALL_BYTES = 2 << 20
_decoder = json.JSONDecoder()
_SPACE = " \t\n\r"
_NUMBER = "0123456789.eE+-"


class _Reader:
    """A window on a text file: what is before it is forgotten, what is after it not yet read."""

    def __init__(self, path: Path, stream: IO[str]) -> None:
        self.path = path
        self._stream = stream
        self._text = ""
        self._at = 0
        self._lines_before = 0
        self._ended = False

    def fail(self, text: str, *, at: int | None = None) -> SuiteError:
        line = self._lines_before + self._text.count("\n", 0, self._at if at is None else at) + 1
        return SuiteError(f"{self.path}, line {line}: {text}")

    def _more(self) -> bool:
        if self._ended:
            return False
        try:
            block = self._stream.read(_CHUNK)
        except UnicodeDecodeError as exc:
            raise SuiteError(f"{self.path}: not UTF-8 ({exc.reason} at byte {exc.start} of a block)") from exc
        if not block:
            self._ended = True
            return False
        self._lines_before += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + block
        self._at = 0
        return True

    def peek(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, wanted: str, *, after: str) -> str:
        """Take the next character, one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            shown = f"{found!r}" if found else "the end of the file"
            raise self.fail(f"expected {' or '.join(map(repr, wanted))} {after}, found {shown}")
        self._at += 1
        return found

    def value(self) -> object:
        """Take one JSON value."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as exc:
                if self._more():
                    continue
                raise self.fail(f"not JSON: {exc.msg}", at=exc.pos) from exc
            except RecursionError as exc:
                raise self.fail("nested too deep") from exc
            # A bare number may go on in the next block; everything else knows its end.
            if isinstance(value, (int, float)) and not self._text[end:].strip(_NUMBER) and self._more():
                continue
            self._at = end
            return value


def elements(path: Path) -> Iterator[object]:
    """Yield the elements of the array that a file holds.

    Raises:
        SuiteError: it is not there, not UTF-8, not JSON, or no array; file and line are named.
    """
    whole = _whole(path)
    if isinstance(whole, list):
        yield from whole
        return
    with _opened(path) as stream:
        reader = _Reader(path, stream)
        if reader.peek() != "[":
            raise reader.fail(f"expected an array of questions, found {_describe(reader)}")
        reader.take("[", after="at the start")
        if reader.peek() == "]":
            reader.take("]", after="")
        else:
            while True:
                yield reader.value()
                if reader.take(",]", after="after an element") == "]":
                    break
        _nothing_left(reader)


def members(path: Path) -> Iterator[tuple[str, object]]:
    """Yield the keys and values of the object that a file holds.

    Raises:
        SuiteError: it is not there, not UTF-8, not JSON, or no object; file and line are named.
    """
    whole = _whole(path)
    if isinstance(whole, dict):
        yield from whole.items()
        return
    with _opened(path) as stream:
        reader = _Reader(path, stream)
        if reader.peek() != "{":
            raise reader.fail(f"expected an object, found {_describe(reader)}")
        reader.take("{", after="at the start")
        if reader.peek() == "}":
            reader.take("}", after="")
        else:
            while True:
                if reader.peek() != '"':
                    raise reader.fail(f"expected a key in quotes, found {_describe(reader)}")
                key = reader.value()
                reader.take(":", after="after a key")
                yield str(key), reader.value()
                if reader.take(",}", after="after a value") == "}":
                    break
        _nothing_left(reader)


def _whole(path: Path) -> object:
    """Return a small file's value at once; None where it is large, or not good: reading it in steps then says why."""
    try:
        if path.stat().st_size > _SMALL_BYTES:
            return None
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def _opened(path: Path) -> IO[str]:
    try:
        return path.open(encoding="utf-8-sig")
    except FileNotFoundError as exc:
        raise SuiteError(f"{path}: no such file") from exc
    except OSError as exc:
        raise SuiteError(f"{path}: cannot be read: {exc.strerror}") from exc


def _describe(reader: _Reader) -> str:
    found = reader.peek()
    names = {"": "the end of the file", "{": "an object", "[": "an array", '"': "a string", "n": "null"}
    return names.get(found, f"{found!r}")


def _nothing_left(reader: _Reader) -> None:
    if reader.peek():
        raise reader.fail(f"expected the end of the file, found {_describe(reader)}")
