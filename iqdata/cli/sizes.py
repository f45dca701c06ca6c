"""Sizes on the command line: `10G`, `512 MiB`, and back into words."""

import re

import click

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", re.IGNORECASE)


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only in newer stubs
    """A number of bytes with an optional unit; K, M, G and T are powers of 1024."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        found = _SIZE.fullmatch(str(value))
        if not found:
            self.fail(f"{value!r} is no size such as 500M or 10G", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])


SIZE = Size()


def text_of(size_bytes: int) -> str:
    """Return a size for people: `12 B`, `3.4 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            return f"{size:.1f} {unit}" if size < 99.5 else f"{size:.0f} {unit}"
    return f"{size_bytes} B"
