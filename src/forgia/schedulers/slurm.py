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
from forgia.paths import HomePaths, RunPaths, SweepPaths
from forgia.schedulers import array as arrays
from forgia.schedulers import script, slurm_array, slurm_details, slurm_script, slurm_words
from forgia.schedulers.array import Place
from forgia.schedulers.payload import PROGRAM, SEAL_VARIABLE
from forgia.schedulers.protocol import Array, JobDetails, JobState, JobView, unknown
from forgia.store import private_directory, write_atomic

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
        self._known_arrays: dict[tuple[str, int], list[str]] = {}

    def render(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """The sbatch script."""
        slowest = script.slowest_checkpoint_s(paths) if attempt > 1 else 0.0
        return slurm_script.render(request, paths, attempt=attempt, nice=nice, slowest_checkpoint_s=slowest)

    def submit(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """One sbatch through submitit's executor."""
        from forgia.schedulers.executors import SlurmSubmission, send  # submitit is slow to import

        text = self.render(request, paths, attempt=attempt, nice=nice)
        return send(SlurmSubmission(paths, text=text, attempt=attempt), paths, program=self.program)

    def submit_array(self, array: Array) -> str:
        """One sbatch for all; every run's task file and script are on disk before it."""
        from forgia.schedulers.executors import sbatch, write_task  # submitit is slow to import

        text = slurm_array.render(array)
        seals = [write_task(paths, attempt=attempt, program=self.program) for paths, attempt in array.members]
        write_atomic(private_directory(array.paths.root) / array.paths.script.name, text)
        seal = arrays.write(array, seals)
        return sbatch(array.paths.script, environment={SEAL_VARIABLE: seal})

    def find(self, run_ids: Sequence[str], *, attempts: Mapping[str, int] | None = None) -> dict[str, str]:
        """By name and folder in the queue, else in the accounting."""
        if not run_ids:
            return {}
        wanted = self._wanted(run_ids, attempts or {})
        found = self._ours(queue(), wanted)
        absent = {key: run_id for key, run_id in wanted.items() if run_id not in found}
        if absent:
            names = dict.fromkeys(map(slurm_array.name_of, absent))
            condition = [f"--name={','.join(names)}", f"--starttime={FIND_SINCE}", f"--uid={os.getuid()}"]
            found |= self._ours(accounting(condition) or [], absent)
        return found

    def _wanted(self, run_ids: Sequence[str], attempts: Mapping[str, int]) -> dict[str | Place, str]:
        """Job name, or place in an array, → run."""
        found: dict[str | Place, str] = {}
        for run_id in run_ids:
            number = attempts.get(run_id)
            places = arrays.places_of(self.home.run(run_id), number)
            found |= dict.fromkeys(places, run_id)
            if number is None or not places:
                found |= dict.fromkeys(names_of(run_id, number), run_id)
        return found

    def _ours(self, rows: Iterable[QueueRow | AccountRow], wanted: Mapping[str | Place, str]) -> dict[str, str]:
        """Run id → newest job of one of these names in that run's folder: two homes may hold runs of one name."""
        names = set(map(slurm_array.name_of, wanted))
        ordered = sorted((row for row in rows if row.name in names), key=lambda row: numeric(row.job_id))
        keys = ((row, self._place_of(row) or row.name) for row in ordered)
        return {
            wanted[key]: row.job_id
            for row, key in keys
            if key in wanted
            and (not isinstance(key, str) or is_same_folder(row.folder, self.home.run(wanted[key]).root))
        }

    def states(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """The queue decides what still lives; the accounting tells how the rest ended."""
        if not job_ids:
            return {}
        lines = queue()
        owned = self._known(lines, job_ids).items()
        queued = {row.job_id: replace(queue_view(row), run_id=run_id) for row, run_id in owned}
        views = {job_id: queued[job_id] for job_id in job_ids if job_id in queued}
        asked = [i for i in job_ids if is_job_id(i) and (i not in views or views[i].state is JobState.ENDED)]
        try:
            counted = accounting([f"--jobs={','.join(slurm_array.bases(asked))}"]) if asked else []
        except ClusterError as error:
            return {**unknown(job_ids, error.message), **views}
        known = self._known(counted or [], asked)
        told = {row.job_id: replace(view, run_id=known[row]) for row, view in ended(known, views)}
        absent = [i for i in asked if i not in views and i not in told]
        removed = {} if counted is None else self._removed(absent, [*lines, *counted])
        return {**unknown(job_ids), **removed, **views, **told}

    def _removed(self, absent: Sequence[str], rows: Iterable[QueueRow | AccountRow]) -> dict[str, JobView]:
        """Tasks that were cancelled while they waited: SLURM 22.05 forgets them, and knows the rest of their array.

        One that had begun would be in the accounting, which has answered.
        """
        wanted = set(slurm_array.bases(absent))
        ours = (row for row in rows if slurm_array.base_of(row.job_id) in wanted)
        sizes = {slurm_array.base_of(row.job_id): self._size_of(row) for row in ours}
        tasks = ((job_id, slurm_array.TASK.match(job_id)) for job_id in absent)
        reason = "it was cancelled before it began"
        return {
            job_id: JobView(job_id=job_id, state=JobState.ENDED, word="CANCELLED", reason=reason)
            for job_id, task in tasks
            if task and int(task[2]) < sizes.get(task[1], 0)
        }

    def _size_of(self, row: QueueRow | AccountRow) -> int:
        """How many tasks the array has whose job, or task, this is; 0 — it is none of this home's."""
        place = self._place_of(row, index=0)
        return len(self._tasks(place.sweep_id, place.number)) if place else 0

    def explain(self, job_id: str) -> JobDetails:
        """One squeue, and one sacct unless the job runs."""
        if not is_job_id(job_id):
            return JobDetails(view=unknown([job_id])[job_id])
        line = next((row for row in one_queued(job_id) if row.job_id == job_id and self._run_of(row)), None)
        if line and slurm_words.state_of(line.word) is JobState.RUNNING:
            return slurm_details.combine(job_id, line, [])
        try:
            counted = one_counted(job_id)
        except ClusterError:
            if line is None:
                raise
            counted = []
        rows: list[slurm_details.Queued | slurm_details.Counted] = [*([line] if line else []), *counted]
        run_id = next((owner for row in rows if (owner := self._run_of(row))), "")
        ours = [row for row in counted if row.is_nameless or self._run_of(row) == run_id] if run_id else []
        details = slurm_details.combine(job_id, line, ours)
        return replace(details, view=replace(details.view, run_id=run_id))

    def _known(self, rows: Iterable[Row], job_ids: Sequence[str]) -> dict[Row, str]:
        """Row → run, of these ids' rows that are jobs of this home: the id of a lost job may be another's by now.

        A start that was over before it had nodes has neither name nor folder: it is of the job whose row is before it.
        """
        asked, owners = set(job_ids), dict[str, str]()
        found: dict[Row, str] = {}
        for row in (row for row in rows if row.job_id in asked):
            if not slurm_details.is_nameless(row.name, row.folder):
                owners[row.job_id] = self._run_of(row)
            if owner := owners.get(row.job_id):
                found[row] = owner
        return found

    def _run_of(self, row: QueueRow | AccountRow | slurm_details.Queued | slurm_details.Counted) -> str:
        """The run whose name and folder a job has; empty where it is none of this home's."""
        if place := self._place_of(row):
            tasks = self._tasks(place.sweep_id, place.number)
            return tasks[place.index] if place.index < len(tasks) else ""
        run_id = row.name.partition(slurm_script.ATTEMPT_SIGN)[0]
        return run_id if is_same_folder(row.folder, self.home.runs / run_id) else ""

    def _place_of(
        self, row: QueueRow | AccountRow | slurm_details.Queued | slurm_details.Counted, *, index: int | None = None
    ) -> Place | None:
        """Where a row's job stands in an array of this home; None — it is of none. ``index`` is that of a bare job."""
        task, (sweep_id, _, number) = slurm_array.TASK.match(row.job_id), row.name.partition(slurm_script.ATTEMPT_SIGN)
        if (task is None and index is None) or not (number or "1").isdecimal():
            return None
        place = Place(sweep_id, int(number or "1"), int(task[2]) if task else index or 0)
        folder = SweepPaths(self.home.sweeps / sweep_id).array(place.number).root
        return place if is_same_folder(row.folder, folder) else None

    def _tasks(self, sweep_id: str, number: int) -> list[str]:
        """The runs of an array; its list does not change once it was sent."""
        if (sweep_id, number) not in self._known_arrays:
            found = arrays.members(self.home, sweep_id, number)
            self._known_arrays[sweep_id, number] = [member.run_id for member in found]
        return self._known_arrays[sweep_id, number]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """One scancel for all."""
        asked = slurm_array.condensed(job_id for job_id in job_ids if is_job_id(job_id))
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
    argv = ["squeue", "--me", "--states=all", "--array", "--noheader", "--format=%i|%T|%r|%j|%Z"]
    rows = (line.split("|", 4) for line in answer(argv).splitlines())
    return [
        QueueRow(job_id=row[0], word=row[1], reason=row[2], name=row[3], folder=row[4]) for row in rows if len(row) == 5
    ]


def accounting(condition: Iterable[str]) -> list[AccountRow] | None:
    """One line an attempt of the jobs that match; None: this cluster keeps none.

    Raises: ClusterError — the accounting does not answer.
    """
    argv = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2"]
    try:
        text = answer([*argv, "--format=JobID,State,ExitCode,Submit,JobName,WorkDir", *condition])
    except ClusterError as error:
        if any(words in error.message for words in NO_ACCOUNTING):
            return None
        raise
    rows = (line.split("|", 5) for line in text.splitlines())
    return [
        AccountRow(job_id=job_id, word=row[1], exit_code=row[2], submitted=row[3], name=row[4], folder=row[5])
        for row in rows
        if len(row) == 6
        for job_id in slurm_array.expanded(row[0])
    ]


def one_queued(job_id: str) -> list[slurm_details.Queued]:
    """The line of one job in the queue; none where the controller does not remember it.

    Raises: ClusterError — it does not answer.
    """
    try:
        text = answer(
            ["squeue", f"--jobs={job_id}", "--states=all", "--array", "--noheader", slurm_details.QUEUE_FORMAT]
        )
    except ClusterError as error:
        if "Invalid job id" in error.message:
            return []
        raise
    return slurm_details.read_queue(text)


def one_counted(job_id: str) -> list[slurm_details.Counted]:
    """Every start of one job in the accounting, with its steps. Raises: ClusterError — it does not answer."""
    argv = ["sacct", f"--jobs={job_id}", "--duplicates", "--noheader", "--parsable2", slurm_details.ACCOUNT_FORMAT]
    try:
        return [row for row in slurm_details.read_accounting(answer(argv)) if row.base_id == job_id]
    except ClusterError as error:
        if any(words in error.message for words in NO_ACCOUNTING):
            return []
        raise


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
    if state is JobState.ENDED:  # squeue keeps the code of what a cancelled job waited for
        reason = slurm_words.ending_of(row.word) or reason
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
            yield row, slurm_details.with_exit(queued.get(row.job_id) or account_view(row), row.exit_code)


def account_view(row: AccountRow) -> JobView:
    """A job that only the accounting still knows."""
    return JobView(job_id=row.job_id, state=JobState.ENDED, word=row.word, reason=slurm_words.reason_of(row.word, ""))


def is_same_folder(first: str, second: Path) -> bool:
    """Two spellings of one folder, such as by way of a link that the site keeps."""
    return first == str(second) or os.path.realpath(first) == os.path.realpath(second)


def is_job_id(text: str) -> bool:
    """The id of a job, or of a task of an array."""
    return text.isdecimal() or bool(slurm_array.TASK.match(text))


def numeric(job_id: str) -> int:
    """For sorting: ids grow with time; a task's is that of its array."""
    number = job_id.partition("_")[0]
    return int(number) if number.isdecimal() else -1
