"""Base classes that models may inherit; nothing requires them: a model is what has `solve` or `eval_questions`.

Refuses to import anything: the sandboxed child loads it.
"""


class IQTestModelBase:
    """A model that answers one question at a time."""

    def pre_run(self) -> None:
        """Load what the model needs; called once before each suite."""

    def solve(self, question: dict[str, object]) -> object:
        """Return `[id, answer]`: the answer is `[option number]`, or a string where there are no options."""
        raise NotImplementedError("solve(question) is not implemented")


class IQTestEvalBase:
    """A model that gets a suite as a whole."""

    def eval_questions(self, question_list: list[dict[str, object]]) -> object:
        """Return a list of `[id, answer]`."""
        raise NotImplementedError("eval_questions(question_list) is not implemented")


class IQTestEvalDefault(IQTestEvalBase):
    """Turns a model that answers one question at a time into one that takes a suite."""

    def __init__(self, model_object: IQTestModelBase) -> None:
        self.model_object = model_object

    def eval_questions(self, question_list: list[dict[str, object]]) -> object:
        """Prepare the model and ask it each question; an empty suite prepares nothing."""
        if not question_list:
            return []
        self.model_object.pre_run()
        return [self.model_object.solve(question) for question in question_list]
