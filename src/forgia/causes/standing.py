"""Runs that did not fail: what they wait for, how far they are, what is left to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from forgia.causes import judgement
from forgia.causes.evidence import tail_texts
from forgia.causes.explanation import Explanation, Line
from forgia.paths import RunPaths
from forgia.run import RunStatus, State
from forgia.schedulers.protocol import JobDetails, JobState

WAITS = {
    "queued": "queued",
    "limited": "held-by-limit",
    "held": "held",
    "launch-failed": "launch-failed-held",
    "never-starts": "never-starts",
}
"""Kind of waiting → name of the cause."""
SILENCE = timedelta(minutes=30)
"""A run that wrote nothing for so long is worth a look."""
GAP_S = 2 * 3600
"""A job longer than this often starts sooner when it asks for less: the scheduler fits short ones into gaps."""


Told = tuple[str, str, str]
"""Cause, sentence, what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A run on its way, and what is known of it."""

    paths: RunPaths
    status: RunStatus
    request: Mapping[str, Any]
    details: JobDetails | None
    facts: Mapping[str, str]

    @property
    def run(self) -> str:
        """The run's name, for commands."""
        return self.status.run_id

    @property
    def walltime_s(self) -> int:
        """What was asked for; 0 where that is not known."""
        return int((self.request.get("resources") or {}).get("walltime_s") or 0)

    def is_seen_as(self, state: JobState) -> bool:
        """Its scheduler says so."""
        return self.details is not None and self.details.view.state is state


def describe(
    paths: RunPaths, status: RunStatus, *, request: Mapping[str, Any], details: JobDetails | None
) -> Explanation:
    """The explanation of a run that is on its way or done."""
    facts = judgement.facts_of(status, request)
    stand = Stand(paths=paths, status=status, request=request, details=details, facts=facts)
    cause, sentence, following = TELL[status.state](stand)
    return Explanation(
        run_id=status.run_id,
        state=status.state,
        attempt=status.attempt,
        job_id=status.job_id,
        cause=cause,
        sentence=sentence,
        next=following,
        node=details.nodes if details else "",
        expected_start=details.expected_start if details else "",
        evidence=tuple(Line(text=words) for words in details.words) if details else (),
    )


def planned(stand: Stand) -> Told:
    """Nothing was sent yet."""
    return "planned", "the run is on disk and was not sent yet", f"forgia run {stand.facts['recipe']}"


def submitting(stand: Stand) -> Told:
    """Sent, without an answer so far."""
    status = stand.status
    sentence = f"it was sent to {status.scheduler} at {moment(status.submitted)}, whose answer has not come yet"
    return "submitting", f"{sentence}; nothing is sent twice", f"forgia job why {stand.run}  (in a minute)"


def waiting(stand: Stand) -> Told:
    """What it waits for, and since when."""
    details = stand.details
    if details is not None and stand.is_seen_as(JobState.RUNNING):
        sentence = f"its job has started on {details.nodes or 'its nodes'} and has not said a word yet"
        return "starting", sentence, f"forgia job logs {stand.run} -f"
    why = details.view.reason if details else ""
    again = f"{details.earlier[-1]}, so it is back in the queue; " if details and details.earlier else ""
    since = f"it waits since {moment(stand.status.submitted)}"
    sentence = f"{again}{since}: {why or 'its scheduler gives no reason'}; {start(details)}"
    cause = WAITS.get(details.waiting if details else "", "queued")
    following = (details.remedy if details else "") or sooner(cause, stand)
    return earlier_cause(details) or cause, sentence, following


def start(details: JobDetails | None) -> str:
    """When it is expected to start."""
    if details is not None and details.remedy:
        return "it does not start by itself"
    if details is None or not details.expected_start:
        return "no start is foreseen yet"
    return f"expected to start at {details.expected_start.replace('T', ' ')}"


def sooner(cause: str, stand: Stand) -> str:
    """What would let it start sooner, where that is plain."""
    if cause == "never-starts":
        return f"forgia job cancel {stand.run}, change what it asks for, then: forgia run {stand.facts['recipe']}"
    if cause == "held-by-limit":
        return "forgia job list --open  (it starts when others under the same limit have ended)"
    if cause == "queued" and stand.walltime_s > GAP_S:
        shorter = f"asking for less time than {stand.facts['walltime']} may let it start sooner"
        return f"forgia job wait {stand.run}  ({shorter}: --set resources.walltime=…)"
    return f"forgia job wait {stand.run}"


def earlier_cause(details: JobDetails | None) -> str:
    """Why a run that had started is in the queue again; empty where it had not."""
    lines = [Line(text=words) for words in reversed(details.earlier)] if details else []
    found = judgement.known([lines], {}, is_symptom=False)
    return found.name if found else ""


def running(stand: Stand) -> Told:
    """How far it is, and how long it will still take."""
    if stand.is_seen_as(JobState.PENDING):
        return waiting(stand)
    place = f" on {stand.details.nodes}" if stand.details and stand.details.nodes else ""
    seen = [stand.details.view.reason] if stand.details and stand.details.view.reason else []
    parts = [f"it runs since {moment(stand.status.started)}{place}", *seen, *progress(stand)]
    return "running", "; ".join(parts), f"forgia job logs {stand.run} -f"


def progress(stand: Stand) -> list[str]:
    """Step, share, time left, and what is unusual about them."""
    last, now = last_metrics(stand.paths), datetime.now(UTC)
    share, step = last.get("progress"), last.get("step")
    since = now - parsed(stand.status.started, now)
    told = [f"step {step}" if step is not None else "no step done yet"]
    if isinstance(share, int | float) and 0 < share <= 1:
        left, limit = since * (1 - share) / share, timedelta(seconds=stand.walltime_s)
        told[0] += f", {share:.0%} done, about {rough(left)} left"
        if limit and since + left > limit:
            told.append("its time limit comes first: it stops at a checkpoint and another attempt goes on")
    silence = now - last_heard(stand.paths)
    return [*told, f"it wrote nothing for {rough(silence)} and may hang"] if silence > SILENCE else told


def checkpointed(stand: Stand) -> Told:
    """Why it stopped, and who goes on."""
    sentence = stand.status.reason or "it stopped at a checkpoint"
    if stand.is_seen_as(JobState.RUNNING) or stand.is_seen_as(JobState.PENDING):
        return "checkpointed", f"{sentence}; its job is not over yet", f"forgia job wait {stand.run}"
    return "checkpointed", sentence, f"forgia job retry {stand.run}"


def succeeded(stand: Stand) -> Told:
    """Done, and to be fetched."""
    return "succeeded", f"run {stand.run} succeeded; its release waits to be collected", "forgia collect"


def collected(stand: Stand) -> Told:
    """Nothing to explain."""
    ref = f"{stand.facts['recipe']}@{stand.status.version}"
    return "collected", f"nothing to explain: it succeeded and is registered as {ref}", f"forgia model show {ref}"


TELL: Mapping[State, Callable[[Stand], Told]] = {
    State.PLANNED: planned,
    State.HELD: planned,
    State.SUBMITTING: submitting,
    State.PENDING: waiting,
    State.RUNNING: running,
    State.CHECKPOINTED: checkpointed,
    State.SUCCEEDED: succeeded,
    State.COLLECTED: collected,
}
"""Who tells of a run in this state; the others are judged."""


def last_heard(paths: RunPaths) -> datetime:
    """When the run last wrote something."""
    times = [place.stat().st_mtime for place in (paths.metrics, paths.journal) if place.exists()]
    return datetime.fromtimestamp(max(times, default=0.0), UTC)


def last_metrics(paths: RunPaths) -> dict[str, Any]:
    """The newest line of the metrics that tells a step."""
    for text in reversed(tail_texts(paths.metrics)[0]):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict) and "step" in value:
            return value
    return {}


def parsed(text: str, otherwise: datetime) -> datetime:
    """A journal's time."""
    return datetime.fromisoformat(text) if text else otherwise


def moment(text: str) -> str:
    """A journal's time for a person."""
    return f"{text[:19].replace('T', ' ')} UTC" if text else "an unknown time"


def rough(span: timedelta) -> str:
    """A span with one unit."""
    seconds = max(span.total_seconds(), 0.0)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
