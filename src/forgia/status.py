"""Where runs stand: journals first, then one question to each scheduler for all runs that are still open.

A scheduler's answer changes a run only where the journal is silent: a job that ended without a word, a submission whose
answer was lost, a job that nobody knows any more. A scheduler that does not answer changes nothing.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from forgia import store
from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, RunStatus, State, statuses
from forgia.schedulers.protocol import JobState, JobView, Scheduler

SUBMISSION_DEADLINE = timedelta(seconds=90)
"""After this, an intent that no scheduler knows was never accepted; sbatch itself gives up after its message time-out,
and a controller that accepted late is asked again before anything is sent twice."""
ABSENCE_DEADLINE = timedelta(minutes=10)
"""How long a job may be unknown to its scheduler, and silent, before the run counts as lost."""

ASKED_ABOUT = (State.SUBMITTING, State.PENDING, State.RUNNING, State.CHECKPOINTED, State.LOST)
"""States in which a scheduler may know more than the journal; a checkpointed job may be back in the queue."""

Schedulers = Callable[[str], Scheduler]
"""Name of a scheduler → the scheduler itself, opened when it is first needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Every run asked for, and which schedulers did not answer."""

    statuses: tuple[RunStatus, ...]
    unanswered: tuple[str, ...] = ()
    """One sentence for each scheduler that could not be asked; its runs show their last known state."""


def overview(home: HomePaths, schedulers: Schedulers, *, only: Sequence[str] | None = None) -> Overview:
    """Where runs stand; at most two calls to each scheduler, and none when nothing is open."""
    found = [status for status in statuses(home) if only is None or status.run_id in only]
    asked, complaints = ask(home, schedulers, [status for status in found if is_open(status)])
    return Overview(statuses=tuple(asked.get(status.run_id, status) for status in found), unanswered=tuple(complaints))


def refresh(home: HomePaths, run_id: str, schedulers: Schedulers) -> RunStatus:
    """Where one run stands. Raises: ClusterError — its scheduler does not answer; nothing was changed."""
    status = Journal(home.run(run_id)).status()
    if not is_open(status):
        return status
    asked, complaints = ask(home, schedulers, [status])
    if complaints:
        raise ClusterError(complaints[0], transient=True, hint=f"last known state of {run_id}: {status.state}")
    return asked.get(run_id, status)


def is_open(status: RunStatus) -> bool:
    """The scheduler may know more of this run than its journal."""
    return status.state in ASKED_ABOUT and bool(status.scheduler)


def ask(home: HomePaths, schedulers: Schedulers, runs: Iterable[RunStatus]) -> tuple[dict[str, RunStatus], list[str]]:
    """Ask each scheduler once about all of its open runs, and write down what their journals did not know."""
    by_scheduler: dict[str, list[RunStatus]] = {}
    for status in runs:
        by_scheduler.setdefault(status.scheduler, []).append(status)
    answers: dict[str, RunStatus] = {}
    complaints = []
    for name, mine in by_scheduler.items():
        try:
            scheduler = schedulers(name)
            orphans = [status.run_id for status in mine if not status.job_id]
            numbers = {status.run_id: status.attempt for status in mine}
            adopted = scheduler.find(orphans, attempts=numbers) if orphans else {}
            job_ids = [status.job_id or adopted.get(status.run_id, "") for status in mine]
            views = scheduler.states([job_id for job_id in job_ids if job_id])
        except ClusterError as error:
            complaints.append(f"scheduler {name} did not answer: {error.message}")
            continue
        for status, job_id in zip(mine, job_ids, strict=True):
            answers[status.run_id] = reconcile(home.run(status.run_id), job_id, views.get(job_id))
    return answers, complaints


def reconcile(paths: RunPaths, job_id: str, view: JobView | None) -> RunStatus:
    """Lay a scheduler's answer beside the journal, which is read again since the job may have spoken meanwhile."""
    journal = Journal(paths)
    with store.locked(paths.lock):
        status = journal.status()
        if status.state is State.SUBMITTING:
            adopt(journal, status, job_id)
        elif status.state is State.CHECKPOINTED:
            return stopped(journal, status, view)
        elif view is not None and view.state is JobState.ENDED and not status.state.is_final:
            record = State.CANCELLED if view.word.startswith("CANCELLED") else State.FAILED
            journal.record(record, by="submitter", attempt=status.attempt, reason=ended_without_a_word(view))
        elif is_missing(view, status) and age_of(paths) > ABSENCE_DEADLINE:
            reason = f"job {job_id} is unknown to its scheduler and the job wrote nothing for {ABSENCE_DEADLINE}"
            journal.record(State.LOST, by="submitter", attempt=status.attempt, reason=reason)
        return journal.status()


def stopped(journal: Journal, status: RunStatus, view: JobView | None) -> RunStatus:
    """A run at a checkpoint: back in the queue by itself, still on its way out, or waiting for a person's retry."""
    if view is not None and view.state is JobState.PENDING:
        journal.record(State.PENDING, by="submitter", attempt=status.attempt + 1, job_id=view.job_id, requeued=True)
        return journal.status()
    if view is not None and view.state is JobState.RUNNING:
        return replace(status, state=State.RUNNING)
    return status


def is_missing(view: JobView | None, status: RunStatus) -> bool:
    """The journal says that the job is under way, and its scheduler knows nothing of it."""
    return (view is None or view.state is JobState.UNKNOWN) and status.state in (State.PENDING, State.RUNNING)


def adopt(journal: Journal, status: RunStatus, job_id: str) -> None:
    """Settle a submission whose answer was lost: it has a job, or after the deadline it never had one."""
    if job_id:
        journal.record(State.PENDING, by="submitter", attempt=status.attempt, job_id=job_id, adopted=True)
    elif datetime.now(UTC) - parse_time(status.submitted) > SUBMISSION_DEADLINE:
        reason = "the submission never reached the scheduler; nothing was started"
        journal.record(State.FAILED, by="submitter", attempt=status.attempt, reason=reason)


def ended_without_a_word(view: JobView) -> str:
    """One sentence for a job that its scheduler saw end and that wrote no final line."""
    return f"the job ended without a word of its own: {view.reason}" if view.reason else "the job ended without a word"


def parse_time(text: str) -> datetime:
    """A journal's time."""
    return datetime.fromisoformat(text) if text else datetime.now(UTC)


def age_of(paths: RunPaths) -> timedelta:
    """How long the run's folder has been silent: since the last line of its journal or of its metrics."""
    times = [path.stat().st_mtime for path in (paths.journal, paths.metrics) if path.exists()]
    return datetime.now(UTC) - datetime.fromtimestamp(max(times, default=0.0), UTC)


def cancel(home: HomePaths, schedulers: Schedulers, ids: Sequence[str]) -> list[RunStatus]:
    """End runs; a finished one stays as it is. One call to each scheduler. Safe to repeat.

    Raises: ClusterError — a scheduler did not answer; the runs of the others are cancelled.
    """
    found = {run_id: Journal(home.run(run_id)).status() for run_id in ids}
    asked, complaints = ask(home, schedulers, [status for status in found.values() if is_open(status)])
    found.update(asked)
    by_scheduler: dict[str, list[RunStatus]] = {}
    for status in found.values():
        if not status.state.is_final:
            by_scheduler.setdefault(status.scheduler, []).append(status)
    for name, mine in by_scheduler.items():
        job_ids = [status.job_id for status in mine if status.job_id]
        if name and job_ids:
            schedulers(name).cancel(job_ids)
        for status in mine:
            reason = f"cancelled by {getpass.getuser()}"
            Journal(home.run(status.run_id)).record(
                State.CANCELLED, by="submitter", attempt=status.attempt, reason=reason
            )
    if complaints:
        raise ClusterError("; ".join(complaints), transient=True, hint="forgia job cancel again in a moment")
    return [Journal(home.run(run_id)).status() for run_id in ids]


def wait(
    home: HomePaths, run_id: str, schedulers: Schedulers, *, sleep: Callable[[float], None], ask_every: int = 20
) -> Iterator[RunStatus]:
    """The run's status, again and again until it is final; the journal is read twice a second, its scheduler seldom.

    A scheduler that does not answer is no reason to stop waiting.
    """
    journal, turn = Journal(home.run(run_id)), 0
    while True:
        status = journal.status()
        if is_open(status) and (status.state is State.CHECKPOINTED or turn % ask_every == ask_every - 1):
            answers, _ = ask(home, schedulers, [status])
            status = answers.get(run_id, status)
        yield status
        if status.state.is_final or status.state is State.CHECKPOINTED:
            return
        sleep(0.5)
        turn += 1
