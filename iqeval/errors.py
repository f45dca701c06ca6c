"""What can stop a run, as one tree; a question or a category that fails is a value in the record instead.

    IqEvalError                                        exit
    ├ EntryError          no entry.json, no model      2
    ├ SuiteError          which file, which question   2
    ├ UsageError          options that do not fit      2
    ├ SandboxUnavailable  our fault, never the model's 3
    └ PackError           what may not be uploaded     2

A message says what was tried, on what, what came back and what to do next.
"""


class IqEvalError(Exception):
    """Anything the product itself reports; only `cli` catches it and exits with `exit_code`."""

    exit_code = 2


class EntryError(IqEvalError):
    """The model folder has no usable `entry.json`, or its module offers no model."""


class SuiteError(IqEvalError):
    """A config, question or answer file is not what it has to be; the message names file and place."""


class UsageError(IqEvalError):
    """Options or folders that cannot be used together, or are not there."""


class SandboxUnavailable(IqEvalError):
    """No sandbox works here where one is required; never counted against the model."""

    exit_code = 3


class PackError(IqEvalError):
    """The model folder must not be uploaded as it is."""
