"""A run: its states, its journal, and what the journal says of it.

The journal is the truth about a run. Submitter and job append to it, a line a fact; schedulers are only witnesses.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from forgia.errors import NotFound, Refused
from forgia.paths import HomePaths, RunPaths
from forgia.store import append_line, file_mode, private_directory, read_lines, sync_directory


class State(enum.StrEnum):
    """Where a run stands."""

    PLANNED = "planned"
    """The run folder is complete; nothing was asked of a scheduler."""
    HELD = "held"
    """Budget is reserved for the worst case."""
    SUBMITTING = "submitting"
    """The intent is on disk; the scheduler may or may not know the job."""
    PENDING = "pending"
    """The scheduler has given a job id."""
    RUNNING = "running"
    """The job itself has said so."""
    CHECKPOINTED = "checkpointed"
    """The job stopped cleanly before its end; another attempt goes on from there."""
    LOST = "lost"
    """Two witnesses do not know the job and it left no word; overruled if the job speaks after all."""
    SUCCEEDED = "succeeded"
    """The release lies in the outbox."""
    FAILED = "failed"
    """It ended without a release; the reason is in the journal."""
    CANCELLED = "cancelled"
    """Someone asked for its end."""
    COLLECTED = "collected"
    """The release is in the registry."""

    @property
    def is_final(self) -> bool:
        """Nothing more will happen to this attempt by itself."""
        return ORDER[self] >= ORDER[State.LOST]

    @property
    def is_success(self) -> bool:
        """It ended with a release."""
        return self in (State.SUCCEEDED, State.COLLECTED)


ORDER = {
    State.PLANNED: 0,
    State.HELD: 1,
    State.SUBMITTING: 2,
    State.PENDING: 3,
    State.RUNNING: 4,
    State.CHECKPOINTED: 5,
    State.LOST: 6,
    State.SUCCEEDED: 7,
    State.FAILED: 7,
    State.CANCELLED: 7,
    State.COLLECTED: 8,
}
"""Within one attempt a run only goes up: a submitter's late ``pending`` never hides the job's own ``running``."""


SETTLED = (State.COLLECTED, State.FAILED, State.CANCELLED)
"""States that only a person's next command changes; a lost run may still speak, a succeeded one is to be collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """What a journal says of its run."""

    run_id: str
    state: State
    reason: str = ""
    """One sentence; present at least in final states other than success."""
    attempt: int = 1
    scheduler: str = ""
    profile: str = ""
    job_id: str | None = None
    planned: str = ""
    """Times are ISO 8601, UTC."""
    submitted: str = ""
    started: str = ""
    ended: str = ""
    version: str | None = None
    """The registry's version of the release, once collected."""
    digest: str | None = None
    pool: str = ""
    """The run whose job it is, where one job has many runs."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunStatus:
        """The inverse of ``to_json``."""
        return cls(**{**value, "state": State(value["state"])})


class Journal:
    """The append-only file of one run."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths

    def record(self, state: State, *, by: str, attempt: int, **fields: Any) -> None:
        """Append a state; it is on disk when this returns. Raises: OSError — it could not be written whole."""
        line = {"t": now(), "event": state.value, "by": by, "attempt": attempt, **fields}
        append_line(self.paths.journal, line, sync=True)

    def note(self, text: str, *, by: str, attempt: int, **fields: Any) -> None:
        """Append a fact that changes no state."""
        line = {"t": now(), "event": "note", "by": by, "attempt": attempt, "text": text, **fields}
        append_line(self.paths.journal, line, sync=False)

    def read(self) -> list[dict[str, Any]]:
        """Every whole line, oldest first."""
        return list(read_lines(self.paths.journal))

    def status(self) -> RunStatus:
        """Fold the journal into where the run stands."""
        return fold(self.paths.root.name, self.read())


TIME_FIELDS = {
    State.PLANNED: "planned",
    State.SUBMITTING: "submitted",
    State.RUNNING: "started",
    State.SUCCEEDED: "ended",
    State.FAILED: "ended",
    State.CANCELLED: "ended",
    State.LOST: "ended",
}
COPIED_FIELDS = ("reason", "job_id", "scheduler", "profile", "version", "digest", "pool")


def fold(run_id: str, lines: Iterable[dict[str, Any]]) -> RunStatus:
    """What these journal lines, in order, say of the run; lines of unknown events count for nothing."""
    status = RunStatus(run_id=run_id, state=State.PLANNED)
    for line in lines:
        if line.get("event") in State.__members__.values():
            status = _advance(status, State(line["event"]), line)
    return status


def _advance(status: RunStatus, state: State, line: dict[str, Any]) -> RunStatus:
    attempt = int(line.get("attempt", status.attempt))
    facts = {key: line[key] for key in COPIED_FIELDS if line.get(key) is not None}
    if line.get("by") == "job" and status.job_id:
        facts.pop("job_id", None)  # the scheduler's own spelling is the one to ask it with
    if attempt > status.attempt:
        status = replace(status, state=State.PLANNED, reason="", attempt=attempt, started="", ended="", pool="")
    elif attempt < status.attempt:
        return status
    if ORDER[state] < ORDER[status.state] or (state is not status.state and ORDER[state] == ORDER[status.state]):
        facts.pop("reason", None)
        return replace(status, **facts) if state is State.PENDING else status
    if state in TIME_FIELDS and not (state is State.RUNNING and status.started):
        facts[TIME_FIELDS[state]] = line.get("t", "")
    if "reason" not in facts:
        facts["reason"] = ""
    return replace(status, state=state, **facts)


NOBODY = "nobody"
"""Holder of an attempt that was given up before a job had begun it."""


def claim(paths: RunPaths, attempt: int, *, job_id: str, restart: int = 0) -> bool:
    """Take an attempt for a job, once: whoever comes second must do nothing.

    A job that its scheduler starts again, as after a crash of the controller, may take its own attempt again.
    """
    _take(paths, attempt, f"job-{job_id}.{restart}")
    return holder_of(paths, attempt) == job_id


def bar(paths: RunPaths, attempt: int) -> bool:
    """Keep every job from beginning this attempt, however late a scheduler starts one; False: one has begun it."""
    _take(paths, attempt, NOBODY)
    return holder_of(paths, attempt) == NOBODY


def holder_of(paths: RunPaths, attempt: int) -> str:
    """Id of the job that has begun an attempt, or ``NOBODY``; empty while it is free."""
    try:
        holder = paths.claim(attempt).readlink().name  # a link is made with its target or not at all
    except FileNotFoundError:
        return ""
    return holder.removeprefix("job-").rpartition(".")[0] or holder


def _take(paths: RunPaths, attempt: int, holder: str) -> None:
    folder = private_directory(paths.attempt(attempt))
    (folder / holder).touch(mode=file_mode(folder))  # so that the link leads somewhere
    with contextlib.suppress(FileExistsError):
        paths.claim(attempt).symlink_to(holder)
    sync_directory(folder)


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_ids(home: HomePaths) -> list[str]:
    """Every run that has a folder, by name."""
    if not home.runs.is_dir():
        return []
    with os.scandir(home.runs) as entries:  # its is_dir costs no system call, unlike Path's
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def open_run(home: HomePaths, name: str) -> RunPaths:
    """The run of this id, or of the only id that begins so; ``last`` is the one that was asked for last.

    Raises: NotFound — none, or several.
    """
    known = run_ids(home)
    if name == "last" and known:
        # Not the one that spoke last: of two that run, that changes by the second.
        return home.run(max(statuses(home), key=lambda status: max(status.planned, status.submitted)).run_id)
    found = [name] if name in known else [run_id for run_id in known if run_id.startswith(name)]
    if len(found) != 1:
        several = f"{len(found)} runs begin so: {', '.join(found[:5])}" if found else None
        none = "forgia job list" if known else "there are no runs yet; forgia run starts one"
        raise NotFound("run", name, known=known, hint=several or none)
    return home.run(found[0])


def statuses(home: HomePaths) -> Iterator[RunStatus]:
    """Every run's status; those that have ended come from one file, the others from their journals."""
    settled = {line["run_id"]: line for line in read_lines(home.settled_runs) if "run_id" in line}
    for run_id in run_ids(home):
        line = settled.get(run_id)
        if line and not line.get("open"):
            yield RunStatus.from_json(line)
        else:
            yield Journal(home.run(run_id)).status()


def is_mine(paths: RunPaths) -> bool:
    """This user made the run, and may write in its folder."""
    return paths.root.stat().st_uid == os.getuid()


def owner_of(paths: RunPaths) -> str:
    """The user who made the run."""
    import pwd

    number = paths.root.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def require_mine(paths: RunPaths, what: str) -> None:
    """Raises: Refused — the run is a colleague's: it can be looked at and collected, not changed."""
    if not is_mine(paths):
        owner = owner_of(paths)
        message = f"run {paths.root.name} is {owner}'s; only {owner} can {what} it"
        raise Refused(message, hint="forgia run --again makes a run of your own")


def settle_ended(home: HomePaths, found: Iterable[RunStatus]) -> None:
    """Remember the runs that will not change any more, so that a list need not open their journals."""
    known = {line.get("run_id"): not line.get("open") for line in read_lines(home.settled_runs)}
    with contextlib.suppress(OSError):  # a full or read-only disk is no reason to list nothing
        for status in found:
            if status.state in SETTLED and not known.get(status.run_id):
                append_line(home.settled_runs, status.to_json(), sync=False)


def unsettle(home: HomePaths, run_id: str) -> None:
    """Overrule the cached end of a run that gets another attempt."""
    append_line(home.settled_runs, {"run_id": run_id, "open": True}, sync=False)
