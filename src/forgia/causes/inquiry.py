"""Asking why: the run's folder first, its scheduler only where the folder does not tell; at most two queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from forgia import status as statuses
from forgia import store
from forgia.causes import judgement, standing
from forgia.causes.explanation import Explanation
from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, RunStatus, State
from forgia.schedulers.protocol import JobDetails, JobState
from forgia.status import Schedulers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where the run stands now, and what its scheduler said of its job."""

    status: RunStatus
    details: JobDetails | None = None
    complaint: str = ""
    """One sentence: it could not be asked."""


def explain(home: HomePaths, run_id: str, schedulers: Schedulers) -> Explanation:
    """Why the run stands where it stands.

    A scheduler that does not answer is told in ``unanswered``; what the folder says is answered all the same.
    """
    paths, seen = home.run(run_id), Journal(home.run(run_id)).status()
    answer = consult(home, seen, schedulers) if statuses.is_open(seen) else Answer(status=seen)
    found = explanation(paths, answer)
    needs_more = not found.is_clear and judgement.is_failure(answer.status) and answer.details is None
    if needs_more and not answer.complaint and seen.job_id and seen.scheduler:
        answer = replace(asked(answer.status, schedulers), status=answer.status)
        found = explanation(paths, answer)
    return replace(found, unanswered=answer.complaint)


def explain_files(home: HomePaths, run_id: str) -> Explanation:
    """The same by the folder alone; no scheduler is asked."""
    return explanation(home.run(run_id), Answer(status=Journal(home.run(run_id)).status()))


def explanation(paths: RunPaths, answer: Answer) -> Explanation:
    """The answer for a run that ended badly, or for one that did not."""
    request = request_of(paths)
    if judgement.is_failure(answer.status):
        return judgement.judge(paths, answer.status, request=request, details=answer.details)
    return standing.describe(paths, answer.status, request=request, details=answer.details)


def request_of(paths: RunPaths) -> dict[str, Any]:
    """What the run was asked; empty where that cannot be read any more."""
    try:
        found = store.read_json(paths.request)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def consult(home: HomePaths, seen: RunStatus, schedulers: Schedulers) -> Answer:
    """Ask about an open run, and write down what its journal did not know, as every command does."""
    if seen.state is State.SUBMITTING or not seen.job_id:
        return looked_up(home, seen, schedulers)
    answer = asked(seen, schedulers)
    if answer.complaint or answer.details is None:
        return answer
    view = statuses.of_run(answer.details.view, seen.run_id)
    known = statuses.reconcile(home.run(seen.run_id), seen, seen.job_id, view)
    return Answer(status=known, details=answer.details if view else None)


def looked_up(home: HomePaths, seen: RunStatus, schedulers: Schedulers) -> Answer:
    """A submission whose answer was lost: did it become a job?"""
    try:
        found = schedulers(seen.scheduler).find([seen.run_id], attempts={seen.run_id: seen.attempt})
    except ClusterError as error:
        return Answer(status=seen, complaint=unanswered(seen, error.message))
    return Answer(status=statuses.reconcile(home.run(seen.run_id), seen, found.get(seen.run_id, ""), None))


def asked(seen: RunStatus, schedulers: Schedulers) -> Answer:
    """One question about the run's job."""
    try:
        details = schedulers(seen.scheduler).explain(seen.job_id or "")
    except ClusterError as error:
        return Answer(status=seen, complaint=unanswered(seen, error.message))
    if details.view.state is JobState.UNKNOWN and details.view.reason:
        return Answer(status=seen, complaint=unanswered(seen, details.view.reason))
    return Answer(status=seen, details=details)


def unanswered(seen: RunStatus, words: str) -> str:
    """The complaint, as lists word it."""
    return f"scheduler {seen.scheduler} did not answer: {words}"
