"""What can go wrong, as exceptions that say what, where and what to do about it."""

from __future__ import annotations


class Error(Exception):
    """Base of all errors of this package.

    ``message`` says what is wrong, ``place`` where (``file:line:column``, or ``None``), ``hint`` what to do about it (or ``None``).

    Example:
        >>> print(Error("unknown task `piqua`", place="exp.yaml:4", hint="did you mean `piqa`?"))
        exp.yaml:4: unknown task `piqua`
          hint: did you mean `piqa`?
    """

    def __init__(self, message: str, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        text = self.message if self.place is None else f"{self.place}: {self.message}"
        return text if self.hint is None else f"{text}\n  hint: {self.hint}"


class Refused(Error):
    """Nothing was done: the experiment, an argument or a rule is not what it has to be."""


class RunFailed(Error):
    """Something went wrong while working. What is done is kept: the same call goes on from there."""

    #: The results folder, where the run came that far.
    folder: str | None = None


class ResultsError(Error):
    """A results folder, or something in it, is not there or cannot be used."""
