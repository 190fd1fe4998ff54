"""What every scheduler does: six verbs, and the few words in which it answers."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from forgia.paths import ArrayPaths, RunPaths


class JobState(enum.StrEnum):
    """What a scheduler knows of a job; how a run ended is in its journal, not here."""

    PENDING = "pending"
    """Accepted, and waiting to start or to start again."""
    RUNNING = "running"
    """Holds nodes, be it only to tidy up after itself."""
    ENDED = "ended"
    """Over for good, however it went."""
    UNKNOWN = "unknown"
    """No word of it, or none to be relied on; a reason says that it could not be asked. Never taken for an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as its scheduler sees it at one moment."""

    job_id: str
    state: JobState
    word: str = ""
    """The scheduler's own name for the state."""
    reason: str = ""
    """Why it waits, or why it ended, where the scheduler says."""
    exit_code: int | None = None
    """None: not ended, killed by a signal, or not told."""
    signal: int | None = None
    """The signal that ended it."""
    run_id: str = ""
    """Whose job it is, where the scheduler tells: some give an id again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """All that a scheduler can say of one job, for a person who asks why."""

    view: JobView
    waiting: str = ""
    """Which kind of waiting it is: queued, limited, held, launch-failed, never-starts; empty: it does not wait."""
    remedy: str = ""
    """What has to be done before it starts, where anything has."""
    expected_start: str = ""
    """ISO 8601 in the scheduler's local time; empty: it does not say."""
    nodes: str = ""
    """Where it runs or ran."""
    earlier: tuple[str, ...] = ()
    """How its earlier starts ended, a sentence each, oldest first."""
    words: tuple[str, ...] = ()
    """The scheduler's own words, each behind the name of who said them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Many runs that are sent as one job, a task of it each."""

    sweep_id: str
    number: int
    """Of the sweep's arrays, from 1; with the sweep's id it is the name of the job."""
    paths: ArrayPaths
    request: Mapping[str, Any]
    """What all of them ask of the cluster: resources and profile are the same."""
    members: Sequence[tuple[RunPaths, int]]
    """Run folder and attempt, in the order of the tasks."""
    parallel: int | None = None
    """So many tasks at once; None: as many as the scheduler starts."""
    nice: int = 0
    """What the tasks give way by to other jobs of the account, in points of priority."""


class Scheduler(Protocol):
    """A place that runs jobs. One contract suite holds all of them: tests/contract/test_scheduler.py."""

    name: str

    def render(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """The exact text that ``submit`` would send. Touches nothing; needs no scheduler on this machine.

        ``nice``: points of priority that it gives way by, where the scheduler has priorities.
        Raises: UserError — the request cannot be written safely for this scheduler, with every reason.
        """

    def submit(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """Send a run to the queue and return its job id.

        Raises: ClusterError — refused (not transient), or the answer did not come (transient: the job may have been
        accepted all the same, so ask ``find`` before sending it again).
        """

    def submit_array(self, array: Array) -> str:
        """Send many runs as one job, and return its id; the job id of a run is then ``member_id`` of that.

        Raises: as ``submit``; of the runs in one array all are accepted or none.
        """

    def find(self, run_ids: Sequence[str], *, attempts: Mapping[str, int] | None = None) -> dict[str, str]:
        """Run id → newest job id, of those runs that the scheduler knows; one query a source for all.

        ``attempts`` (run id → number) leaves aside the jobs of a run's other attempts: whoever asks what became of a
        submission must not be given the job of an earlier one. A job that was refused may be found; it has ended.
        Raises: ClusterError — it could not be asked: nothing may be concluded.
        """

    def states(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """Every job asked for, in one query for all. Raises: ClusterError — it could not be asked."""

    def explain(self, job_id: str) -> JobDetails:
        """Whatever is to be known of one job, in at most two queries.

        Raises: ClusterError — it could not be asked.
        """

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Ask for the end of these jobs in one call. Safe to repeat; jobs that ended or are not known are no error."""


def member_id(job_id: str, index: int) -> str:
    """The job id of one task of an array, as SLURM spells it."""
    return f"{job_id}_{index}"


def unknown(job_ids: Iterable[str], reason: str = "") -> dict[str, JobView]:
    """The answer for jobs nobody knows anything of."""
    return {job_id: JobView(job_id=job_id, state=JobState.UNKNOWN, reason=reason) for job_id in job_ids}
