"""Sizes on the command line: `10G`, `512 MiB`, and back into words."""

import click

from iqdata.config import parse_size
from iqdata.errors import ConfigError


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only in newer stubs
    """A number of bytes with an optional unit; K, M, G and T are powers of 1024."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        try:
            return parse_size(str(value), what=param.opts[-1] if param else "size")
        except ConfigError as exc:
            self.fail(str(exc), param, ctx)


SIZE = Size()


def text_of(size_bytes: float) -> str:
    """Return a size for people: `812 B`, `4.0 KiB`, `1.3 GiB`."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size_bytes /= 1024
        if size_bytes < 1024:
            return f"{size_bytes:.1f} {unit}"
    return f"{size_bytes / 1024:.1f} TiB"
