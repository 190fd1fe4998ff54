"""For tests of what stands on a scheduler: one that runs nothing and is told what happens to its jobs.

scheduler = FakeScheduler(home=home)
job_id = scheduler.submit(request, paths)
scheduler.start(job_id)
scheduler.end(job_id, exit_code=1, reason="it was told to")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import array as arrays
from forgia.schedulers import slurm_array, slurm_script
from forgia.schedulers.protocol import Array, JobDetails, JobState, JobView, member_id
from forgia.store import locked, private_directory, read_json, write_json

FIRST_JOB_ID = 1001


class FakeScheduler:
    """A scheduler whose jobs live in one file below the home folder, so that several processes see the same ones.

    It keeps the contract of a real one; beyond it, ``start``, ``end``, ``requeue``, ``describe`` and ``forget`` say
    what happens to a job, ``fail_next`` makes the next submission fail, and ``calls`` counts what was asked of this
    object.
    """

    name = "fake"

    def __init__(self, profile: Mapping[str, Any] | None = None, *, home: HomePaths) -> None:
        self.profile, self.home = profile or {}, home
        self.calls: Counter[str] = Counter()
        self._failure: tuple[ClusterError, bool] | None = None

    def render(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """The text SLURM would get."""
        self.calls["render"] += 1
        return slurm_script.render(request, paths, attempt=attempt, nice=nice)

    def submit(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """Take the job into the queue, or fail as ``fail_next`` said."""
        self.calls["submit"] += 1
        slurm_script.render(request, paths, attempt=attempt, nice=nice)
        failure, self._failure = self._failure, None
        if failure and not failure[1]:
            raise failure[0]
        job_id = self._take(paths.root.name, attempt)
        if failure:
            raise failure[0]
        return job_id

    def submit_array(self, array: Array) -> str:
        """Take all of them into the queue, or fail as ``fail_next`` said."""
        self.calls["submit_array"] += 1
        slurm_array.render(array)
        failure, self._failure = self._failure, None
        if failure and not failure[1]:
            raise failure[0]
        arrays.write(array, ["-"] * len(array.members))
        job_id = self._take_all([(paths.root.name, attempt) for paths, attempt in array.members])
        if failure:
            raise failure[0]
        return job_id

    def find(self, run_ids: Sequence[str], *, attempts: Mapping[str, int] | None = None) -> dict[str, str]:
        """Newest job of each run."""
        self.calls["find"] += 1
        jobs = {job_id: job for job_id, job in self._jobs().items() if job["run_id"] in run_ids}
        wanted = attempts or {}
        return {
            job["run_id"]: job_id
            for job_id, job in jobs.items()
            if job["attempt"] == wanted.get(job["run_id"], job["attempt"])
        }

    def states(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """What the jobs were told."""
        self.calls["states"] += 1
        jobs = self._jobs()
        return {job_id: view(job_id, jobs.get(job_id, {})) for job_id in job_ids}

    def explain(self, job_id: str) -> JobDetails:
        """What the job was told, and what ``describe`` laid beside it."""
        self.calls["explain"] += 1
        job = self._jobs().get(job_id, {})
        return JobDetails(view=view(job_id, job), **job.get("details", {}))

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End those that have not ended."""
        self.calls["cancel"] += 1
        for job_id in job_ids:
            if view(job_id, self._jobs().get(job_id, {})).state in (JobState.PENDING, JobState.RUNNING):
                self._tell(job_id, state=JobState.ENDED, word="CANCELLED", reason="it was cancelled")

    # What happens to a job

    def start(self, job_id: str) -> None:
        """The job gets its nodes."""
        self._tell(job_id, state=JobState.RUNNING, word="RUNNING", reason="")

    def end(self, job_id: str, *, exit_code: int = 0, reason: str = "") -> None:
        """The job is over."""
        word = "FAILED" if exit_code else "COMPLETED"
        self._tell(job_id, state=JobState.ENDED, word=word, reason=reason, exit_code=exit_code)

    def describe(self, job_id: str, **details: Any) -> None:
        """What ``explain`` will say of the job besides its state: fields of ``JobDetails``."""
        self._tell(job_id, details=details)

    def requeue(self, job_id: str) -> None:
        """The job goes back to the queue, as after a preemption."""
        self._tell(job_id, state=JobState.PENDING, word="REQUEUED", reason="", exit_code=None)

    def forget(self, job_id: str) -> None:
        """The scheduler loses its memory of the job."""
        self._change(lambda jobs: jobs.pop(job_id))

    def fail_next(self, error: ClusterError, *, accepted: bool) -> None:
        """The next submission raises this; ``accepted``: the job is in the queue all the same."""
        self._failure = (error, accepted)

    # The file

    @property
    def _file(self) -> Path:
        return self.home.fake_jobs

    def _jobs(self) -> dict[str, dict[str, Any]]:
        return dict(read_json(self._file)) if self._file.exists() else {}

    def _change(self, change: Callable[[dict[str, dict[str, Any]]], Any]) -> Any:
        private_directory(self._file.parent)
        with locked(self._file.with_suffix(".lock")):
            jobs = self._jobs()
            outcome = change(jobs)
            write_json(self._file, jobs)
        return outcome

    def _take(self, run_id: str, attempt: int) -> str:
        return str(self._change(lambda jobs: add(jobs, next_id(jobs), run_id, attempt)))

    def _take_all(self, runs: Sequence[tuple[str, int]]) -> str:
        def add_all(jobs: dict[str, dict[str, Any]]) -> str:
            job_id = next_id(jobs)
            for index, (run_id, attempt) in enumerate(runs):
                add(jobs, member_id(job_id, index), run_id, attempt)
            return job_id

        return str(self._change(add_all))

    def _tell(self, job_id: str, **fields: Any) -> None:
        self._change(lambda jobs: jobs[job_id].update(fields))


def next_id(jobs: Mapping[str, Any]) -> str:
    """One more than the highest so far; a task of an array counts as its array."""
    return str(max((int(known.partition("_")[0]) for known in jobs), default=FIRST_JOB_ID - 1) + 1)


def add(jobs: dict[str, dict[str, Any]], job_id: str, run_id: str, attempt: int) -> str:
    """Put a job into the queue."""
    fields = asdict(JobView(job_id=job_id, state=JobState.PENDING, word="PENDING", run_id=run_id))
    jobs[job_id] = {"attempt": attempt, **fields}
    return job_id


def view(job_id: str, job: Mapping[str, Any]) -> JobView:
    """A job of the file as a scheduler's answer; unknown where there is none."""
    fields = {key: value for key, value in job.items() if key not in ("attempt", "details", "job_id", "state")}
    return JobView(job_id=job_id, state=JobState(job.get("state", JobState.UNKNOWN)), **fields)
