"""The one exception a user is meant to see."""

from __future__ import annotations


class MedReportError(Exception):
    """What is wrong and where, in one line, and in `hint` what to do next.

    The command line prints both and exits with status 2; any other exception is a bug.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
