"""SLURM: sbatch through submitit, and forgia's own questions to squeue and sacct.

Submitit's polling is never used: it asks sacct alone, a call a job, and takes a requeued job for a failed one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from forgia import process
from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import slurm_script, slurm_words
from forgia.schedulers.payload import PROGRAM
from forgia.schedulers.protocol import JobState, JobView, unknown

QUERY_TIMEOUT_S = 60.0
FIND_SINCE = "now-60days"
"""How far back a run's job is looked for in the accounting."""
MOST_ATTEMPTS = 20
"""How many of a run's attempts are looked for when none is named."""
TRY_LATER = "SLURM does not answer; try again in some minutes"
QUIET_CANCEL = ("Invalid job id", "already completing or completed", "already completed", "Job/step already")
"""What scancel says of jobs that have ended or were never there."""
NO_ACCOUNTING = ("accounting storage is disabled", "AccountingStorageType", "Slurm accounting is disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One line of squeue."""

    job_id: str
    word: str
    reason: str
    name: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """One line of sacct: one attempt of a job, as the accounting has it."""

    job_id: str
    word: str
    exit_code: str
    submitted: str
    name: str
    folder: str


Row = TypeVar("Row", QueueRow, AccountRow)


class SlurmScheduler:
    """The cluster whose ``sbatch`` is on the path.

    Queries: ``states`` costs one squeue, and one sacct if a job has ended; ``find`` one squeue and at most one sacct;
    whatever the number of jobs.
    """

    name = "slurm"

    def __init__(self, profile: Mapping[str, Any], *, home: HomePaths, program: str = PROGRAM) -> None:
        self.profile, self.home, self.program = profile, home, program

    def render(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1) -> str:
        """The sbatch script."""
        return slurm_script.render(request, paths, attempt=attempt)

    def submit(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1) -> str:
        """One sbatch through submitit's executor."""
        from forgia.schedulers.executors import SlurmSubmission, send  # submitit is slow to import

        text = self.render(request, paths, attempt=attempt)
        return send(SlurmSubmission(paths, text=text, attempt=attempt), paths, program=self.program)

    def find(self, run_ids: Sequence[str], *, attempts: Mapping[str, int] | None = None) -> dict[str, str]:
        """By name and folder in the queue, else in the accounting."""
        if not run_ids:
            return {}
        names = {name: run_id for run_id in run_ids for name in names_of(run_id, (attempts or {}).get(run_id))}
        found = self._ours(queue(), names)
        absent = [name for name, run_id in names.items() if run_id not in found]
        if absent:
            condition = [f"--name={','.join(absent)}", f"--starttime={FIND_SINCE}", f"--uid={os.getuid()}"]
            found |= self._ours(accounting(condition), {name: names[name] for name in absent})
        return found

    def _ours(self, rows: Iterable[QueueRow | AccountRow], names: Mapping[str, str]) -> dict[str, str]:
        """Run id → newest job of one of these names in that run's folder: two homes may hold runs of one name."""
        ordered = sorted(rows, key=lambda row: numeric(row.job_id))
        return {
            names[row.name]: row.job_id
            for row in ordered
            if row.name in names and is_same_folder(row.folder, self.home.run(names[row.name]).root)
        }

    def states(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """The queue decides what still lives; the accounting tells how the rest ended."""
        if not job_ids:
            return {}
        queued = {row.job_id: self._owned(row, queue_view(row)) for row in self._known(queue(), job_ids)}
        views = {job_id: queued[job_id] for job_id in job_ids if job_id in queued}
        asked = [i for i in job_ids if i.isdecimal() and (i not in views or views[i].state is JobState.ENDED)]
        try:
            told = self._known(accounting([f"--jobs={','.join(asked)}"]), asked) if asked else []
        except ClusterError as error:
            return {**unknown(job_ids, error.message), **views}
        return {**unknown(job_ids), **views, **{row.job_id: self._owned(row, view) for row, view in ended(told, views)}}

    def _known(self, rows: Iterable[Row], job_ids: Sequence[str]) -> list[Row]:
        """The rows of these ids that are jobs of this home: an id whose job was lost may be another's by now."""
        return [row for row in rows if row.job_id in job_ids and self._run_of(row)]

    def _owned(self, row: QueueRow | AccountRow, view: JobView) -> JobView:
        return replace(view, run_id=self._run_of(row))

    def _run_of(self, row: QueueRow | AccountRow) -> str:
        """The run whose name and folder a job has; empty where it is none of this home's."""
        run_id = row.name.partition(slurm_script.ATTEMPT_SIGN)[0]
        return run_id if is_same_folder(row.folder, self.home.runs / run_id) else ""

    def cancel(self, job_ids: Sequence[str]) -> None:
        """One scancel for all."""
        asked = [job_id for job_id in job_ids if job_id.isdecimal()]
        if not asked:
            return
        done = process.run(["scancel", *asked], timeout_s=QUERY_TIMEOUT_S)
        words = [line for line in done.stderr.splitlines() if not any(known in line for known in QUIET_CANCEL)]
        if done.returncode and any(words):
            raise ClusterError(f"scancel: {' '.join(words)}", transient=True, hint=TRY_LATER)


def names_of(run_id: str, attempt: int | None) -> list[str]:
    """What the job of a run may be called; of any attempt where none is given."""
    numbers = range(1, MOST_ATTEMPTS + 1) if attempt is None else [attempt]
    return [slurm_script.job_name(run_id, number) for number in numbers]


def queue() -> list[QueueRow]:
    """Every job of this user that the controller remembers, those that ended minutes ago among them.

    Raises: ClusterError — the controller does not answer.
    """
    # A bar in another program's job name or folder spoils that row alone: ours have none before the folder.
    argv = ["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%j|%Z"]
    rows = (line.split("|", 4) for line in answer(argv).splitlines())
    return [
        QueueRow(job_id=row[0], word=row[1], reason=row[2], name=row[3], folder=row[4]) for row in rows if len(row) == 5
    ]


def accounting(condition: Iterable[str]) -> list[AccountRow]:
    """One line an attempt of the jobs that match. Raises: ClusterError — the accounting does not answer."""
    argv = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2"]
    try:
        text = answer([*argv, "--format=JobIDRaw,State,ExitCode,Submit,JobName,WorkDir", *condition])
    except ClusterError as error:
        if any(words in error.message for words in NO_ACCOUNTING):
            return []
        raise
    rows = (line.split("|", 5) for line in text.splitlines())
    return [
        AccountRow(job_id=row[0], word=row[1], exit_code=row[2], submitted=row[3], name=row[4], folder=row[5])
        for row in rows
        if len(row) == 6
    ]


def answer(argv: Sequence[str]) -> str:
    """What a SLURM command prints. Raises: ClusterError (transient) — it failed."""
    done = process.run(argv, timeout_s=QUERY_TIMEOUT_S, environment={"SLURM_TIME_FORMAT": "standard"})
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise ClusterError(
            f"{argv[0]}: {words}", transient=True, hint="SLURM does not answer; try again in some minutes"
        )
    return done.stdout


def queue_view(row: QueueRow) -> JobView:
    """A job as squeue shows it."""
    state = slurm_words.state_of(row.word)
    reason = slurm_words.reason_of(row.word, row.reason) if state is not JobState.RUNNING else ""
    return JobView(job_id=row.job_id, state=state, word=row.word, reason=reason)


def ended(rows: Iterable[AccountRow], queued: Mapping[str, JobView]) -> Iterator[tuple[AccountRow, JobView]]:
    """Jobs whose last attempt the accounting calls over; its word for anything else is stale.

    A job that the queue has as ended keeps the queue's words: the accounting only adds its exit code.
    """
    last: dict[str, AccountRow] = {}
    for row in rows:
        if row.job_id not in last or row.submitted >= last[row.job_id].submitted:
            last[row.job_id] = row
    for row in last.values():
        if slurm_words.state_of(row.word) is JobState.ENDED:
            yield row, with_exit(queued.get(row.job_id) or account_view(row), row.exit_code)


def account_view(row: AccountRow) -> JobView:
    """A job that only the accounting still knows."""
    return JobView(job_id=row.job_id, state=JobState.ENDED, word=row.word, reason=slurm_words.reason_of(row.word, ""))


def with_exit(view: JobView, text: str) -> JobView:
    """The view with ``code:signal`` read into it."""
    code, _, number = text.partition(":")
    if not code.isdecimal() or not number.isdecimal():
        return view
    return replace(view, exit_code=int(code) if number == "0" else None, signal=int(number) or None)


def is_same_folder(first: str, second: Path) -> bool:
    """Two spellings of one folder, such as by way of a link that the site keeps."""
    return first == str(second) or os.path.realpath(first) == os.path.realpath(second)


def numeric(job_id: str) -> int:
    """For sorting: ids grow with time."""
    return int(job_id) if job_id.isdecimal() else -1
