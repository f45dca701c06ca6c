"""A record as text for a terminal: the table, what failed and why, and what the data have to say.

Returns lines; colour is a matter of whoever prints them.
"""

import dataclasses
import enum

from iqeval.outcome import Fault, Outcome
from iqeval.outputs import LOG
from iqeval.record import CategoryResult, Mode, RunRecord
from iqeval.score import Count


class Tone(enum.Enum):
    """What a line is, for its colour."""

    PLAIN = "plain"
    STRONG = "strong"
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    FAINT = "faint"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of a line."""

    text: str
    tone: Tone = Tone.PLAIN


Line = tuple[Span, ...]

_BAR = 20
_MOST_LINES, _MOST_PRINTED = 40, 8

_DASH = "\N{EN DASH}"
_HEAD = ("category", "score", "95 % interval", "correct", "answered", "errors", "")


def table(record: RunRecord, *, unicode: bool = True) -> list[Line]:
    """Return the result table, with sub-scores under the categories that have several kinds of questions."""
    rows: list[tuple[tuple[str, ...], Tone, bool]] = []
    for result in record.categories:
        rows.append((_row(result, unicode=unicode), _tone(result), False))
        kinds = result.kinds
        if result.scored and len(kinds) > 1:
            rows += [
                (_kind_row(kind, count, unicode=unicode), Tone.FAINT, True) for kind, count in kinds.items()
            ]
    if not rows:
        return [(Span(text="no category has suites: nothing was asked"),)]
    widths = [
        max(len(row[column]) for row, _, _ in [(_HEAD, Tone.PLAIN, False), *rows])
        for column in range(len(_HEAD))
    ]
    rule = "─" if unicode else "-"
    lines: list[Line] = [
        (Span(text=_cells(_HEAD, widths), tone=Tone.STRONG),),
        (Span(text=rule * (sum(widths) + 2 * (len(widths) - 1)), tone=Tone.FAINT),),
    ]
    for row, tone, inner in rows:
        if inner:
            lines.append((Span(text=_cells(row, widths), tone=Tone.FAINT),))
        else:
            name, rest = _cells(row, widths)[: widths[0]], _cells(row, widths)[widths[0] :]
            lines.append((Span(text=name, tone=Tone.STRONG), Span(text=rest, tone=tone)))
    return lines


def _cells(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:6], widths[1:6], strict=True)]
    return "  ".join([*cells, row[6]]).rstrip()


def _tone(result: CategoryResult) -> Tone:
    if result.outcome is Outcome.OK:
        return Tone.PLAIN
    return {Fault.NONE: Tone.FAINT, Fault.MODEL: Tone.BAD}.get(result.fault, Tone.WARN)


def _row(result: CategoryResult, *, unicode: bool) -> tuple[str, ...]:
    answered = sum(suite.answered for suite in result.suites)
    asked = sum(suite.questions or 0 for suite in result.suites)
    errors = sum(suite.errors for suite in result.suites)
    if result.scored:
        return (
            *_numbers(result.category, result.count, unicode=unicode)[:4],
            f"{answered}/{asked}",
            str(errors),
            bar(result.count.score, unicode=unicode),
        )
    dash = _DASH if unicode else "-"
    if result.outcome is Outcome.OK:
        return (result.category, dash, "not scored", dash, f"{answered}/{asked}", str(errors), "")
    if result.outcome is Outcome.NO_MODEL:
        return (result.category, dash, dash, dash, f"0/{asked}", "0", "no model")
    whose = {
        Fault.MODEL: "the model's fault",
        Fault.DATA: "the data's fault",
        Fault.OURS: "the evaluator's fault",
    }.get(result.fault, "")
    mark = "✗ " if unicode else ""
    return (
        result.category,
        dash,
        dash,
        dash,
        f"{answered}/{asked}",
        str(errors),
        f"{mark}{result.outcome.value} ({whose})",
    )


def _kind_row(kind: str, count: Count, *, unicode: bool) -> tuple[str, ...]:
    corner = "└ " if unicode else "  "
    return (
        *_numbers(f" {corner}{kind or '(none)'}", count, unicode=unicode)[:4],
        f"{count.answered}/{count.total}",
        "",
        bar(count.score, unicode=unicode),
    )


def _numbers(name: str, count: Count, *, unicode: bool) -> tuple[str, ...]:
    interval = count.interval
    dash = _DASH if unicode else "-"
    return (
        name,
        f"{count.score:.4f}",
        f"{interval.low:.3f} {dash} {interval.high:.3f}",
        f"{count.correct}/{count.total}",
    )


def bar(share: float, *, unicode: bool) -> str:
    """Return a bar of fixed length for a share, in eighths where the terminal has them."""
    if not unicode:
        full = round(share * _BAR)
        return "#" * full + "." * (_BAR - full)
    eighths = round(share * _BAR * 8)
    full, part = divmod(eighths, 8)
    drawn = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return drawn.ljust(_BAR, "·")


def notes(record: RunRecord) -> list[Line]:
    """Return what stands below the table: near misses, problems, warnings."""
    lines: list[Line] = []
    for result in record.categories:
        if not result.scored:
            continue
        count = result.count
        if count.open_near:
            lines.append(
                (
                    Span(text=f"{result.category}: ", tone=Tone.STRONG),
                    Span(
                        text=f"{count.open_near} open answer{'s' if count.open_near != 1 else ''} would match unwrapped, trimmed or as text;"
                        f' they do not count (a text is compared exactly: "6", not ["6"]). With them: {count.lenient:.4f}',
                        tone=Tone.WARN,
                    ),
                )
            )
        elif count.near:
            lines.append(
                (
                    Span(text=f"{result.category}: ", tone=Tone.STRONG),
                    Span(
                        text=f'{count.near} answers name the right option in another form; they do not count (an option is [2], not 2 or "2").'
                        f" With them: {count.lenient:.4f}",
                        tone=Tone.WARN,
                    ),
                )
            )
    if (
        record.could_not_start
        and len({result.problem.text for result in record.categories if result.problem}) == 1
    ):
        first = next(result for result in record.categories if result.problem)
        return [*lines, *problem_lines(first, name="the run could not start")]
    for result in record.categories:
        if result.problem is not None:
            lines += problem_lines(result, name=result.category)
    return lines


def problem_lines(result: CategoryResult, *, name: str) -> list[Line]:
    """Return what went wrong, with the model's own words below it; of what it printed, the end."""
    problem = result.problem
    if problem is None:
        return []
    head, *rest = problem.message.splitlines()
    if name != result.category and not problem.where and rest:
        head, *rest = rest
    lines: list[Line] = [(Span(text=f"{name}: ", tone=Tone.STRONG), Span(text=head, tone=Tone.BAD))]
    lines += [(Span(text=f"    {text}", tone=Tone.FAINT),) for text in _ends(rest, _MOST_LINES)]
    printed = problem.printed.strip().splitlines()
    if printed:
        lines.append((Span(text="    it had printed:", tone=Tone.FAINT),))
        more = len(printed) > _MOST_PRINTED
        shown = [f"… ({LOG} has all of it)", *printed[-_MOST_PRINTED:]] if more else printed
        lines += [(Span(text=f"    │ {text}", tone=Tone.FAINT),) for text in shown]
    return lines


def _ends(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[: most // 2], f"… ({len(lines) - most} lines)", *lines[-(most - most // 2) :]]


def warnings(record: RunRecord) -> list[Line]:
    """Return the data's warnings."""
    return [
        (Span(text="data: ", tone=Tone.STRONG), Span(text=text, tone=Tone.FAINT)) for text in record.warnings
    ]


def closing(record: RunRecord, files: list[str]) -> Line:
    """Return the last line: where the results are and how long it took."""
    resumed = f", {record.resumed} answers from the earlier run" if record.resumed else ""
    what = "results" if record.mode is not Mode.SERVER else "predictions (not scored)"
    return (
        Span(
            text=f"{what} in {record.out}: {', '.join(files)} ({record.elapsed_s:.1f} s{resumed})",
            tone=Tone.FAINT,
        ),
    )
