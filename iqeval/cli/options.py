"""Options and parameter types that several verbs share."""

import re
from pathlib import Path

import click

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(click.ParamType[int]):
    """`512M`, `2GiB`, `1.5g` or a number of bytes."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", str(value).upper())
        if match is None:
            self.fail(f"{value!r} is no size; as in 512M, 2G", param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


class Seconds(click.ParamType[float]):
    """`90`, `90s`, `5m`, `2h`."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", str(value).lower())
        if match is None:
            self.fail(f"{value!r} is no time; as in 90, 5m, 2h", param, ctx)
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default="config.json",
    show_default=True,
    metavar="FILE",
    help="Which suites; questions lie beside it.",
)

answers_option = click.option(
    "-a",
    "--answer-root",
    "answers",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the answer files are.  [default: beside the config]",
)
