"""Where runs stand: journals first, then one question to each scheduler for all runs that are still open.

A scheduler's answer changes a run only where the journal is silent: a job that ended without a word, a submission whose
answer was lost, a job that nobody knows any more. A scheduler that does not answer changes nothing.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from forgia import store
from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.run import NOBODY, Journal, RunStatus, State, bar, holder_of, is_mine, require_mine, statuses
from forgia.schedulers.protocol import JobState, JobView, Scheduler

SUBMISSION_DEADLINE = timedelta(seconds=90)
"""After this, an intent that no scheduler knows is given up. Its attempt is barred first: should a controller accept it
after all, as a frozen one does when it thaws, the job ends before it begins."""
ABSENCE_DEADLINE = timedelta(minutes=10)
"""How long a job may be unknown to its scheduler, and silent, before the run counts as lost; begins with the first
answer that does not know it."""

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


def overview(
    home: HomePaths,
    schedulers: Schedulers,
    *,
    only: Sequence[str] | None = None,
    known: Iterable[RunStatus] | None = None,
) -> Overview:
    """Where runs stand; at most two calls to each scheduler, and none when nothing is open.

    ``known``: what their journals say, where the caller has just read them.
    """
    found = [status for status in known or statuses(home) if only is None or status.run_id in only]
    answers = ask(home, schedulers, [status for status in found if is_open(status)])
    shown = tuple(answers.statuses.get(status.run_id, status) for status in found)
    return Overview(statuses=shown, unanswered=tuple(answers.complaints))


def refresh(home: HomePaths, run_id: str, schedulers: Schedulers) -> RunStatus:
    """Where one run stands. Raises: ClusterError — its scheduler does not answer; nothing was changed."""
    status = Journal(home.run(run_id)).status()
    if not is_open(status):
        return status
    answers = ask(home, schedulers, [status])
    if answers.complaints:
        raise ClusterError(answers.complaints[0], transient=True, hint=f"last known state of {run_id}: {status.state}")
    return answers.statuses.get(run_id, status)


def is_open(status: RunStatus) -> bool:
    """The scheduler may know more of this run than its journal."""
    return status.state in ASKED_ABOUT and bool(status.scheduler)


@dataclass(slots=True)
class Answers:
    """What schedulers said of open runs."""

    statuses: dict[str, RunStatus] = field(default_factory=dict)
    """By run; one whose scheduler could not tell is missing."""
    complaints: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    """Runs whose job the scheduler knows to be theirs, so that it can be spoken to by its id."""


def ask(home: HomePaths, schedulers: Schedulers, runs: Iterable[RunStatus]) -> Answers:
    """Ask each scheduler once about all of our open runs, and write down what their journals did not know.

    A colleague's runs in a shared home are as their journals say; their owner asks about them.
    """
    by_scheduler: dict[str, list[RunStatus]] = {}
    for status in runs:
        if is_mine(home.run(status.run_id)):
            by_scheduler.setdefault(status.scheduler, []).append(status)
    answers = Answers()
    for name, mine in by_scheduler.items():
        untold = set()
        try:
            told = inquire(schedulers(name), mine)
            for status, (job_id, view) in zip(mine, told, strict=True):
                if view is not None and is_untold(view):
                    untold.add(view.reason)
                    continue
                settle(answers, home.run(status.run_id), (status, job_id, view))
        except ClusterError as error:
            untold.add(error.message)
        answers.complaints += [f"scheduler {name} did not answer: {reason}" for reason in sorted(untold)]
    return answers


def settle(answers: Answers, paths: RunPaths, told: tuple[RunStatus, str, JobView | None]) -> None:
    """Take down what was said of one run; one that cannot be written down is left as it was, and told of."""
    status, job_id, view = told
    try:
        answers.statuses[status.run_id] = reconcile(paths, status, job_id, view)
    except OSError as error:
        reason = error.strerror or str(error)
        answers.complaints.append(f"run {status.run_id}: its state could not be written down: {reason}")
        return
    if not is_unknown(view):
        answers.known.add(status.run_id)


def inquire(scheduler: Scheduler, mine: Sequence[RunStatus]) -> list[tuple[str, JobView | None]]:
    """Job id and view of each run: for those without an id the job that their attempt's submission became, if any.

    Raises: ClusterError — the scheduler could not be asked.
    """
    orphans = [status.run_id for status in mine if not status.job_id or status.state is State.SUBMITTING]
    numbers = {status.run_id: status.attempt for status in mine}
    adopted = scheduler.find(orphans, attempts=numbers) if orphans else {}
    job_ids = [adopted.get(s.run_id, "") if s.run_id in orphans else s.job_id or "" for s in mine]
    views = scheduler.states([job_id for job_id in job_ids if job_id])
    pairs = zip(mine, job_ids, strict=True)
    return [(job_id, of_run(views.get(job_id), status.pool or status.run_id)) for status, job_id in pairs]


def of_run(view: JobView | None, run_id: str) -> JobView | None:
    """The view, unless the job of that id is another run's by now."""
    return view if view is not None and view.run_id in ("", run_id) else None


def is_unknown(view: JobView | None) -> bool:
    """The scheduler has no job of this id; one in a state whose word is new to us is a job all the same."""
    return view is None or (view.state is JobState.UNKNOWN and not view.word)


def is_untold(view: JobView) -> bool:
    """The scheduler could not say, which is no answer."""
    return is_unknown(view) and bool(view.reason)


def reconcile(paths: RunPaths, seen: RunStatus, job_id: str, view: JobView | None) -> RunStatus:
    """Lay a scheduler's answer beside the journal, which is read again since the job may have spoken meanwhile.

    An answer about ``seen`` says nothing where another command has moved the run since to another attempt or job.
    """
    journal = Journal(paths)
    with store.locked(paths.lock):
        status = journal.status()
        was_intent = seen.state is State.SUBMITTING
        if status.attempt != seen.attempt or (status.state is State.SUBMITTING) is not was_intent:
            return status
        if was_intent:
            adopt(journal, status, job_id)
        elif status.state is State.CHECKPOINTED:
            return stopped(journal, status, view)
        elif (holder := holder_of(paths, status.attempt)) not in ("", NOBODY, status.job_id) and is_open(status):
            journal.record(State.PENDING, by="submitter", attempt=status.attempt, job_id=holder, adopted=True)
        elif status.state is State.LOST:
            return found_again(status, view)
        elif view is not None and view.state is JobState.ENDED and not status.state.is_final:
            record = State.CANCELLED if was_cancelled(view) else State.FAILED
            journal.record(record, by="submitter", attempt=status.attempt, reason=ended_without_a_word(view))
        else:
            weigh_absence(journal, status, view)
            if is_back_in_the_queue(seen, status, view):
                return replace(status, state=State.PENDING)
        return journal.status()


def is_back_in_the_queue(seen: RunStatus, status: RunStatus, view: JobView | None) -> bool:
    """Its job was started over without a word, as after the loss of a node; it ran before the scheduler was asked."""
    ran = seen.state is State.RUNNING and status.state is State.RUNNING
    return ran and view is not None and view.state is JobState.PENDING


def found_again(status: RunStatus, view: JobView | None) -> RunStatus:
    """A run that counts as lost, unless its scheduler knows the job after all."""
    if view is not None and view.state in (JobState.PENDING, JobState.RUNNING):
        return replace(status, state=State(view.state.value), reason="", ended="")
    return status


def weigh_absence(journal: Journal, status: RunStatus, view: JobView | None) -> None:
    """Two answers that do not know the job, the deadline apart and with silence between them, make a lost run."""
    last = (journal.read() or [{}])[-1]
    is_absent = is_unknown(view) and status.state in (State.PENDING, State.RUNNING)
    if is_absent and not last.get("absent"):
        text = f"job {status.job_id} is unknown to its scheduler"
        journal.note(text, by="submitter", attempt=status.attempt, absent=True)
    elif is_absent and age_of(journal.paths) > ABSENCE_DEADLINE:
        reason = f"job {status.job_id} is unknown to its scheduler and the job wrote nothing for {ABSENCE_DEADLINE}"
        journal.record(State.LOST, by="submitter", attempt=status.attempt, reason=reason)
    elif last.get("absent") and not is_absent:
        text = f"job {status.job_id} is known to its scheduler again"
        journal.note(text, by="submitter", attempt=status.attempt)


def stopped(journal: Journal, status: RunStatus, view: JobView | None) -> RunStatus:
    """A run at a checkpoint: back in the queue by itself, still on its way out, or waiting for a person's retry."""
    if view is not None and view.state is JobState.PENDING:
        journal.record(State.PENDING, by="submitter", attempt=status.attempt + 1, job_id=view.job_id, requeued=True)
        return journal.status()
    if view is not None and view.state is JobState.RUNNING:
        return replace(status, state=State.RUNNING)
    if view is not None and was_cancelled(view):
        reason = f"{view.reason or 'it was cancelled'}; it had stopped at a checkpoint before"
        journal.record(State.CANCELLED, by="submitter", attempt=status.attempt, reason=reason)
        return journal.status()
    return status


def was_cancelled(view: JobView) -> bool:
    """Somebody ended the job by the scheduler's own command."""
    return view.state is JobState.ENDED and view.word.startswith("CANCELLED")


def adopt(journal: Journal, status: RunStatus, job_id: str) -> None:
    """Settle a submission whose answer was lost: it has a job, or after the deadline is kept from having one."""
    holder = holder_of(journal.paths, status.attempt)
    job_id = job_id if holder in ("", NOBODY) else holder
    if job_id and holder != NOBODY:
        journal.record(State.PENDING, by="submitter", attempt=status.attempt, job_id=job_id, adopted=True)
    elif datetime.now(UTC) - parse_time(status.submitted) > SUBMISSION_DEADLINE and bar(journal.paths, status.attempt):
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
    for run_id in ids:
        require_mine(home.run(run_id), "cancel")
    found = {run_id: Journal(home.run(run_id)).status() for run_id in ids}
    answers = ask(home, schedulers, [status for status in found.values() if is_open(status)])
    by_scheduler: dict[str, list[RunStatus]] = {}
    for status in found.values():
        told = answers.statuses.get(status.run_id, status)
        is_told = status.run_id in answers.statuses or not is_open(status)
        if is_told and not told.state.is_final:
            by_scheduler.setdefault(told.scheduler, []).append(told)
    for name, mine in by_scheduler.items():
        job_ids = [status.job_id for status in mine if status.job_id and status.run_id in answers.known]
        if name and job_ids:
            schedulers(name).cancel(list(dict.fromkeys(job_ids)))
        for status in mine:
            call_off(home.run(status.run_id), status.attempt)
    if answers.complaints:
        message = "; ".join(answers.complaints)
        raise ClusterError(message, transient=True, hint="forgia job cancel again in a moment")
    return [Journal(home.run(run_id)).status() for run_id in ids]


def call_off(paths: RunPaths, attempt: int) -> None:
    """Write down that a person ended the run; a job that its scheduler starts all the same ends before it begins."""
    bar(paths, attempt)
    reason = f"cancelled by {getpass.getuser()}"
    Journal(paths).record(State.CANCELLED, by="submitter", attempt=attempt, reason=reason)


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
            status = ask(home, schedulers, [status]).statuses.get(run_id, status)
        yield status
        if status.state.is_final or status.state is State.CHECKPOINTED:
            return
        sleep(0.5)
        turn += 1
