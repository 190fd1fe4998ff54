"""Why the attempts before this one ended, by their scheduler's facts, and whether the run may go on after them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from forgia.errors import ClusterError
from forgia.paths import RunPaths
from forgia.run import State
from forgia.schedulers.payload import END_VARIABLE, LAST_ATTEMPT_VARIABLE, LEAD_VARIABLE
from forgia_jobs.request import Resources

TIME_LIMIT, PREEMPTION, NODE_FAILURE, UNKNOWN = "time_limit", "preemption", "node_failure", "unknown"
WORDS = {"TIMEOUT": TIME_LIMIT, "PREEMPTED": PREEMPTION, "NODE_FAIL": NODE_FAILURE, "BOOT_FAIL": NODE_FAILURE}
"""State in the accounting → cause; others, such as REQUEUED, leave it open.

Source: https://slurm.schedmd.com/sacct.html#SECTION_JOB-STATE-CODES (22.05)
"""
TOLD = {
    TIME_LIMIT: "reached its time limit",
    PREEMPTION: "was preempted",
    NODE_FAILURE: "lost a node",
    UNKNOWN: "ended, and nobody says why",
}
EARLY_S = 75.0
"""A notice of the time limit may come so much earlier than asked. Source: sbatch(1) of SLURM 22.05, --signal; + 15 s"""


class Row(NamedTuple):
    """One start of the job in the accounting."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the launcher lets this attempt, and the job, do."""

    last: int | None = None
    """The last attempt of the job; None: no launcher of ours."""
    end: float | None = None
    """When the scheduler ends the attempt, seconds since 1970."""
    lead_s: float = 0.0
    """How early it is to be warned."""

    def near(self) -> float:
        """Seconds before the time limit in which a notice is that of the time limit."""
        return self.lead_s + EARLY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one attempt ended."""

    attempt: int
    cause: str
    spent_s: float
    """Of the run's walltime."""
    began: int
    """Step that the attempt began at."""

    @property
    def sentence(self) -> str:
        """For the journal."""
        return f"attempt {self.attempt} {TOLD[self.cause]}"


def limits(environment: Mapping[str, str] = os.environ) -> Limits:
    """Read the launcher's variables; nothing is limited by one that is missing."""
    last, end = environment.get(LAST_ATTEMPT_VARIABLE), environment.get(END_VARIABLE)
    return Limits(
        last=int(last) if last else None,
        end=float(end) if end else None,
        lead_s=float(environment.get(LEAD_VARIABLE) or 0),
    )


def first_attempt(lines: Iterable[Mapping[str, Any]], number: int) -> int:
    """The attempt that a person, or a program, asked for and that this one goes on from by itself."""
    asked = [int(line.get("attempt", 1)) for line in lines if line.get("event") == State.SUBMITTING]
    return max((attempt for attempt in asked if attempt <= number), default=1)


def before(paths: RunPaths, lines: list[dict[str, Any]], number: int) -> Ending | None:
    """How the attempt before this one ended; None where this is the first that was asked for."""
    if number <= first_attempt(lines, number):
        return None
    mine = [line for line in lines if line.get("attempt") == number - 1 and line.get("by") == "job"]
    stopped = next((line for line in mine if line.get("event") == State.CHECKPOINTED), None)
    row = last_row(read(paths.history(number)))
    facts = read(paths.last_facts(number - 1))
    return Ending(
        attempt=number - 1,
        cause=cause_of(row, facts, stopped),
        spent_s=spent(mine, stopped, row, paths),
        began=next((int(line["step"]) for line in mine if line.get("event") == "note" and "resumed" in line), 0),
    )


def read(path: Path) -> str:
    """What a scheduler said; empty where it did not answer."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def last_row(history: str) -> Row | None:
    """The newest start of the job that is over."""
    rows = [line.split("|") for line in history.splitlines()]
    over = [Row(row[0], float(row[1]), float(row[2])) for row in rows if len(row) == 3 and is_over(row)]
    return max(over, key=lambda row: row.start, default=None)


def is_over(row: list[str]) -> bool:
    """It has started and ended; accountings say ``Unknown`` or ``None`` for what has not come."""
    return row[1].isdecimal() and row[2].isdecimal()


def cause_of(row: Row | None, facts: str, stopped: Mapping[str, Any] | None) -> str:
    """The accounting's word, else the controller's, else that the job was given notice of its time limit.

    ``facts`` is what ``scontrol show job`` said when the ranks had gone, ``stopped`` the journal on a clean stop.
    A job that asks to be started again without some nodes counts as one that lost them. A notice far from the time
    limit is one of preemption on some clusters: where nobody says so, nothing is known.
    """
    if row and row.word in WORDS:
        return WORDS[row.word]
    if stopped and stopped.get("excluded"):
        return NODE_FAILURE
    if re.search(r" PreemptTime=\d", facts):
        return PREEMPTION
    if stopped and stopped.get("signal") in ("SIGUSR2", "CLOCK") and (facts or stopped.get("near_end")):
        return TIME_LIMIT
    return UNKNOWN


def spent(mine: list[dict[str, Any]], stopped: Mapping[str, Any] | None, row: Row | None, paths: RunPaths) -> float:
    """Seconds of the walltime that an attempt used: as it said, else by the accounting, else by its last trace."""
    if stopped and "spent_s" in stopped:
        return float(stopped["spent_s"])
    if row:
        return row.end - row.start
    begun = next((line["t"] for line in mine if line.get("event") == State.RUNNING), None)
    trace = paths.metrics.stat().st_mtime if paths.metrics.exists() else 0.0
    return max(trace - datetime.fromisoformat(begun).timestamp(), 0.0) if begun else 0.0


def earlier(lines: Iterable[Mapping[str, Any]], number: int) -> list[Mapping[str, Any]]:
    """Notes of how attempts ended, since the run was last asked for."""
    first = first_attempt(lines := list(lines), number)
    return [line for line in lines if line.get("event") == "note" and int(line.get("ended", 0)) >= first]


def judge(ending: Ending, notes: list[Mapping[str, Any]], resources: Resources, *, reached: int, run_id: str) -> None:
    """Raises: ClusterError — a budget is used up, or nothing was achieved, so that the run does not go on by itself.

    ``notes`` are of all endings, this one included; ``reached`` is the step of the newest checkpoint.
    """
    hint = f"forgia job retry {run_id} goes on from step {reached}"
    budget = resources.attempts.get(ending.cause)
    times = sum(note.get("cause") == ending.cause for note in notes)
    if budget is not None and times > budget:
        text = f"{ending.sentence}, which resources.attempts.{ending.cause} lets happen {counted(budget)}"
        raise ClusterError(text, transient=False, hint=hint)
    if has_stalled(ending, notes, reached):
        text = f"{ending.sentence}, and it got no further than step {reached}; another one would not either"
        raise ClusterError(text, transient=False, hint="allow more walltime, or train.checkpoint_every fewer steps")
    used = sum(float(note.get("spent_s", 0)) for note in notes)
    if resources.walltime_total_s and used >= resources.walltime_total_s:
        raise ClusterError(walltime_sentence(resources.walltime_total_s), transient=False, hint=hint)


def has_stalled(ending: Ending, notes: list[Mapping[str, Any]], reached: int) -> bool:
    """No step further: in one whole attempt up to its time limit, or in two that ended nobody knows why."""
    stalls = [note for note in notes[-2:] if note.get("began") == reached and note.get("cause") == UNKNOWN]
    if ending.cause == TIME_LIMIT:
        return reached <= ending.began
    return ending.cause == UNKNOWN and len(stalls) == 2


def walltime_sentence(total_s: int) -> str:
    """For a run that has had all its time."""
    from forgia.fields import format_duration  # pydantic is slow to import, and most runs are done in time

    return f"the run has used up its walltime of {format_duration(total_s)} over all attempts before it was done"


def counted(number: int) -> str:
    """``never``, ``once``, ``3 times``."""
    return {0: "never", 1: "once"}.get(number, f"{number} times")
