"""The errors of the package: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Error(Exception):
    """Base of every error that this package raises on purpose.

    Example:
        >>> error = Error("unknown task `piqua`", place="exp.yaml:4", hint="did you mean `piqa`?")
        >>> error.hint
        'did you mean `piqa`?'
        >>> print(error)
        unknown task `piqua`
          in: exp.yaml:4
          hint: did you mean `piqa`?
    """

    message: str
    """What is wrong, in one sentence."""
    place: str | None
    """The file, rule, site or item that it is about, where there is one."""
    hint: str | None
    """What to do about it, where something is known."""

    def __init__(self, message: str, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, place, hint)
        self.message = message
        self.place = place
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.place is not None:
            lines.append(f"  in: {self.place}")
        if self.hint is not None:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ResultsError(Error):
    """A results folder, or something in it, is not there or cannot be used."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a wrong one, if one is near enough.

    Example:
        >>> nearest("utcr", ["utrc", "top_k"])
        'utrc'
    """
    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else None
