"""What is answered to the question why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A piece of evidence and where it stands."""

    text: str
    file: str = ""
    """A path; empty where it is no file's, such as the scheduler's own words."""
    number: int | None = None
    """The line, counted from 1; None where the file was too long to be read from its beginning."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.number}" if self.number else self.file
        return f"{self.text}  ({place})" if place else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a run stands, and why."""

    run_id: str
    state: str
    attempt: int
    job_id: str | None
    cause: str
    """A name of the table of causes; ``unknown`` where it is none of them."""
    sentence: str
    next: str
    """The command, or the step, that leads on; empty where there is nothing to do."""
    is_clear: bool = True
    """False: only a symptom is known, or nothing; the scheduler may know more."""
    rank: int | None = None
    """The rank that failed first."""
    node: str = ""
    time: str = ""
    """When it failed: ISO 8601, UTC."""
    exit_code: int | None = None
    expected_start: str = ""
    """Of a waiting run: the scheduler's local time; empty: it has none."""
    evidence: tuple[Line, ...] = ()
    tail: tuple[str, ...] = ()
    """The last lines of the rank that failed first, where the cause is not known."""
    unanswered: str = ""
    """One sentence: the scheduler could not be asked."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)

    @property
    def first(self) -> str:
        """Who failed first, where and when; empty where that is not known."""
        who = "" if self.rank is None else f"rank {self.rank}"
        place = f"on {self.node}" if self.node else ""
        when = f"at {self.time[:19].replace('T', ' ')} UTC" if self.time else ""
        return " ".join(filter(None, (who, place, when if who or place else "")))
