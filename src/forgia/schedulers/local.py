"""This machine: one process a task under submitit's controller, in a session of its own.

A job id is ``<pid>-<start time>`` of the controller, so that a number the system gives out again is never taken for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forgia.errors import ClusterError, UserError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import processes, script
from forgia.schedulers.payload import PROGRAM
from forgia.schedulers.protocol import JobState, JobView
from forgia.store import file_mode, private_directory, read_json

CONTROLLER = "forgia.schedulers.controller"


class LocalJob(NamedTuple):
    """Which run and attempt a controller works for."""

    run_id: str
    attempt: int
    job_id: str

    def is_of(self, attempt: int | None) -> bool:
        """It is of this attempt; None: of any."""
        return attempt in (None, self.attempt)


class LocalScheduler:
    """Starts at once whatever is submitted; there is no queue.

    Queries: one folder listing for all jobs and one small file for each that has ended; ``find`` reads the process
    table too when a run has no record.
    """

    name = "local"

    def __init__(self, profile: Mapping[str, Any], *, home: HomePaths, program: str = PROGRAM) -> None:
        self.profile, self.home, self.program = profile, home, program

    def render(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1) -> str:
        """The shell script that becomes the job's controller."""
        profile, wanted = request["profile"], request["resources"]
        name = str(profile.get("name", ""))
        if wanted["nodes"] != 1:
            message = f"{wanted['nodes']} nodes asked for, but profile {name!r} is this one machine"
            raise UserError(message, hint="set resources.nodes to 1, or choose a SLURM profile")
        wrong = [*script.wrong_paths(paths), *script.wrong_environment(profile.get("environment") or {})]
        script.refuse(wrong, run_id=paths.root.name, profile=name)
        lines = ["#!/bin/bash", f"# run {paths.root.name} on this machine", *script.preamble(profile, paths), ""]
        last = controller_command(profile, paths, attempt=attempt)
        return "\n".join([*lines, *exports(request, attempt=attempt), last, ""])

    def submit(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1) -> str:
        """Start the controller; it lives on without us."""
        from forgia.schedulers.executors import LocalSubmission, send  # submitit is slow to import

        text = self.render(request, paths, attempt=attempt)
        private_directory(records(self.home))
        pid = int(send(LocalSubmission(paths, text=text, attempt=attempt), paths, program=self.program))
        mark = processes.start_mark(pid)
        if mark is None:
            log = paths.attempt(attempt) / "batch.log"
            raise ClusterError(f"run {paths.root.name} ended before it began", transient=False, hint=f"see {log}")
        job = LocalJob(paths.root.name, attempt, f"{pid}-{mark}")
        record_path(self.home, job).touch(mode=file_mode(records(self.home)))
        return job.job_id

    def find(self, run_ids: Sequence[str], *, attempts: Mapping[str, int] | None = None) -> dict[str, str]:
        """By the records of controllers, else by their command lines: a job exists from its first instruction on."""
        wanted = attempts or {}
        known = [job for job in listing(self.home) if job.run_id in run_ids and job.is_of(wanted.get(job.run_id))]
        found = {job.run_id: job.job_id for job in sorted(known, key=lambda job: job.attempt)}
        if absent := [run_id for run_id in run_ids if run_id not in found]:
            found |= {job.run_id: job.job_id for job in self._starting(absent) if job.is_of(wanted.get(job.run_id))}
        return found

    def states(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """Living controllers run; dead ones have ended if they are on record."""
        recorded = {job.job_id: job for job in listing(self.home)} if job_ids else {}
        return {job_id: self._view(job_id, recorded.get(job_id)) for job_id in job_ids}

    def cancel(self, job_ids: Sequence[str]) -> None:
        """A polite signal to each controller, which passes it on and insists after some seconds."""
        for job_id in job_ids:
            with contextlib.suppress(ValueError, ProcessLookupError):
                pid, mark = split(job_id)
                if processes.is_alive(pid, mark):
                    os.kill(pid, signal.SIGTERM)
                elif processes.start_mark(pid) is None and processes.session_is_alive(pid):
                    os.killpg(pid, signal.SIGKILL)  # the controller was killed and left its tasks behind

    def _starting(self, run_ids: Sequence[str]) -> Iterator[LocalJob]:
        """Controllers that have not written their record yet, oldest attempt first."""
        folders = {str(self.home.run(run_id).submission): run_id for run_id in run_ids}
        for pid, argv in processes.commands():
            folder, sign, number = argv[-1].rpartition("/job-") if is_controller(argv) else ("", "", "")
            mark = processes.start_mark(pid) if sign and folder in folders else None
            if mark and (digits := number.removesuffix(".sh")).isdecimal():
                yield LocalJob(folders[folder], int(digits), f"{pid}-{mark}")

    def _view(self, job_id: str, job: LocalJob | None) -> JobView:
        try:
            pid, mark = split(job_id)
        except ValueError:
            return JobView(job_id=job_id, state=JobState.UNKNOWN)
        if processes.is_alive(pid, mark):
            return JobView(job_id=job_id, state=JobState.RUNNING, word="RUNNING")
        if job is None:
            return JobView(job_id=job_id, state=JobState.UNKNOWN)
        place = record_path(self.home, job)
        end = read_json(place) if place.stat().st_size else {}
        if not end and processes.start_mark(pid) is None and processes.session_is_alive(pid):
            return JobView(job_id=job_id, state=JobState.RUNNING, word="ORPHANED", reason="its controller was killed")
        return JobView(
            job_id=job_id,
            state=JobState.ENDED,
            word=str(end.get("word", "VANISHED")),
            reason=str(end.get("reason", "its processes are gone without a word: killed, or the machine restarted")),
            exit_code=end.get("exit_code"),
            signal=end.get("signal"),
        )


def exports(request: Mapping[str, Any], *, attempt: int) -> list[str]:
    """What submitit's controller and forgia's tasks read from the environment.

    Source: submitit 1.5.4, start_controller in local/local.py
    """
    wanted, profile = request["resources"], request["profile"]
    minutes = math.ceil(wanted["walltime_s"] / 60)
    values = {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_COMMAND": script.task_command(profile),
        "SUBMITIT_LOCAL_JOB_NUM_NODES": 1,
        "SUBMITIT_LOCAL_NODEID": 0,
        "SUBMITIT_LOCAL_NTASKS": wanted["tasks_per_node"],
        "SUBMITIT_LOCAL_SIGNAL_DELAY_S": min(int(profile.get("signal_lead_s") or 90), minutes * 20),
        "SUBMITIT_LOCAL_TIMEOUT_S": minutes * 60,
        "SUBMITIT_LOCAL_WITH_SHELL": "",
        "SUBMITIT_STDERR_TO_STDOUT": "",
        # Without GPUs asked for none is seen, as on a cluster.
        **({} if wanted["gpus_per_node"] else {"CUDA_VISIBLE_DEVICES": ""}),
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    return [script.attempt_export(str(attempt)), *lines]


def controller_command(profile: Mapping[str, Any], paths: RunPaths, *, attempt: int) -> str:
    """The last line: the shell becomes the controller, keeps its process id, and still ends with the script's name."""
    own = paths.submission / f"job-{attempt}.sh"
    return f"exec {script.interpreter(profile)} -m {CONTROLLER} {shlex.quote(str(own))}"


def records(home: HomePaths) -> Path:
    """One file a local job: empty while it runs, then how it ended."""
    return home.local_jobs


def record_path(home: HomePaths, job: LocalJob) -> Path:
    """The record of one job; the sign between its parts is in none of them."""
    return records(home) / f"{job.run_id}~{job.attempt}~{job.job_id}"


def listing(home: HomePaths) -> list[LocalJob]:
    """Every job on record."""
    try:
        with os.scandir(records(home)) as entries:
            parts = [entry.name.split("~") for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    return [LocalJob(part[0], int(part[1]), part[2]) for part in parts if len(part) == 3 and part[1].isdecimal()]


def split(job_id: str) -> tuple[int, str]:
    """Process id and start mark. Raises: ValueError — not an id of ours."""
    pid, _, mark = job_id.partition("-")
    return int(pid), mark


def is_controller(argv: Sequence[str]) -> bool:
    """The shell that runs a job's script, or what it became."""
    return len(argv) > 1 and (CONTROLLER in argv or argv[0].rpartition("/")[2] == "bash")
