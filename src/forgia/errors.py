"""What can go wrong, split by what the reader can do about it.

    ForgiaError                 1   carries an exit code and a hint
    ├─ UserError                2   fix the input; carries every problem found, with file, line and field
    ├─ NotFound                 3   carries kind, name and the nearest valid names
    ├─ Refused                  4   a policy, a quota or a safety rule says no
    ├─ ClusterError             5   the scheduler; ``transient`` says whether trying again can help
    ├─ JobFailed                6   the run ended badly; carries run, state, reason and log
    └─ IntegrityError           1   bytes are not what their digest says

The number is the exit code of the command line. Anything else that reaches a user is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ForgiaError(Exception):
    """A failure that a person can understand; its text says what failed, on what and why."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What to do next, one sentence or a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole, on its way from one process to another, whatever its class wants to be made of."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[ForgiaError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ForgiaError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one place of a file."""

    path: str
    """The file, as the user named it."""
    line: int | None
    """Counted from 1; None where the format has no lines."""
    field: str
    """Dotted path of the field, such as ``resources.gpus_per_node``; empty for the whole file."""
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class UserError(ForgiaError):
    """The input has to be mended first; every problem found is listed at once."""

    exit_code = 2

    def __init__(self, message: str, *, problems: Iterable[Problem] = (), hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  {problem}" for problem in self.problems)]), hint=hint)


class NotFound(ForgiaError):
    """A name that forgia does not know."""

    exit_code = 3

    def __init__(self, kind: str, name: str, *, known: Iterable[str] = (), hint: str | None = None) -> None:
        self.kind, self.name = kind, name
        self.nearest = nearest(name, known)
        text = f"no {kind} named {name!r}"
        if self.nearest:
            text += f"; did you mean {' or '.join(self.nearest)}?"
        elif names := sorted(known):
            text += f"; known: {', '.join(names[:12])}{' …' if len(names) > 12 else ''}"
        super().__init__(text, hint=hint)


class Refused(ForgiaError):
    """A rule says no; trying again changes nothing until the rule or the request changes."""

    exit_code = 4


class ClusterError(ForgiaError):
    """The scheduler did not do what was asked."""

    exit_code = 5

    def __init__(self, message: str, *, transient: bool, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


class JobFailed(ForgiaError):
    """A run ended without a release."""

    exit_code = 6

    def __init__(self, run_id: str, *, state: str, reason: str, log_path: Path | None = None) -> None:
        self.run_id, self.state, self.reason, self.log_path = run_id, state, reason, log_path
        super().__init__(f"run {run_id} {state}: {reason}", hint=f"forgia job why {run_id}")


class IntegrityError(ForgiaError):
    """Bytes that are not those their digest names; nothing was read further."""

    def __init__(self, what: str, *, expected: str, found: str, hint: str | None = None) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"{what} is not what its digest says: expected {expected}, found {found}", hint=hint)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three known names that a slip of the hand could have turned into this one."""
    import difflib  # a slip of the hand is rare, start-up is not

    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
