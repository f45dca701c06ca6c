"""How a category can end: a closed list, and whose fault each one is.

Refuses to hold free text: that is `Problem.message`.
"""

import dataclasses
import enum


class Fault(enum.Enum):
    """Whom the operator turns to."""

    NONE = "none"
    MODEL = "model"
    DATA = "data"
    OURS = "evaluator"


class Outcome(enum.Enum):
    """How a category ended; the values stand in `report.json`."""

    OK = "ok"
    NO_MODEL = "no-model"
    START_FAILED = "start-failed"
    MODEL_ERROR = "model-error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    KILLED = "killed"
    BAD_ANSWER = "bad-answer"
    DATA_ERROR = "data-error"
    INTERNAL = "internal"

    @property
    def fault(self) -> Fault:
        """Whose fault it is: nobody's, the model's, the data's or ours."""
        if self in (Outcome.OK, Outcome.NO_MODEL):
            return Fault.NONE
        if self is Outcome.DATA_ERROR:
            return Fault.DATA
        return Fault.OURS if self is Outcome.INTERNAL else Fault.MODEL

    @property
    def published_pass(self) -> int:
        """The `pass` of the published result files: 1 scored, 0 failed, -1 no model."""
        if self is Outcome.OK:
            return 1
        return -1 if self is Outcome.NO_MODEL else 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that went wrong, with all that helps to mend it.

    Attributes:
        where: the function that was being called ("solve", "pre_run", "global_pre_run", "import", …),
            "scoring", "recorded" when another run wrote the whole message, or "".
        text: the model's own traceback, or a sentence of ours.
        index: the question's position in its suite, from 0; None outside a question.
        question_id: the question's own id, where one was being asked.
        printed: the last lines that the model printed.
        stack: where it was when its time was up.
    """

    outcome: Outcome
    text: str
    where: str = ""
    category: str = ""
    suite: str = ""
    index: int | None = None
    question_id: object = None
    printed: str = ""
    stack: str = ""

    @property
    def message(self) -> str:
        """What went wrong, for the `message` of the published files: nothing in it depends on when a run was resumed."""
        if self.where == "recorded":
            return self.text
        place = f" in {self.where}" if self.where else ""
        if self.suite:
            place += f", suite {self.suite}"
        if self.index is not None:
            place += f", question {self.index + 1} (id {self.question_id!r})"
        parts = [f"{self.outcome.value}{place}", self.text.rstrip()]
        if self.stack:
            parts.append(f"where it was:\n{self.stack.rstrip()}")
        return "\n".join(parts)

    @property
    def details(self) -> str:
        """The message, and the last lines that the model printed."""
        printed = self.printed.strip()
        return f"{self.message}\nlast output:\n{printed}" if printed else self.message
