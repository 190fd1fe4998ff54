"""This machine: one process a task under submitit's controller, in a session of its own.

A job id is ``<pid>-<start time>`` of the controller, so that a number the system gives out again is never taken for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shlex
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from forgia.errors import ClusterError, UserError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import array as arrays
from forgia.schedulers import processes, script
from forgia.schedulers.local_jobs import ARRAY_CONTROLLER, VANISHED, LocalJob, listing, record_path, records
from forgia.schedulers.payload import PROGRAM, allowance_of
from forgia.schedulers.protocol import Array, JobDetails, JobState, JobView, member_id
from forgia.store import file_mode, private_directory, read_json

CONTROLLER = "forgia.schedulers.controller"
ORPHANED = "its controller was killed"


class LocalScheduler:
    """Starts at once whatever is submitted; there is no queue.

    Queries: one folder listing for all jobs and one small file for each that has ended; ``find`` reads the process
    table too when a run has no record.
    """

    name = "local"

    def __init__(self, profile: Mapping[str, Any], *, home: HomePaths, program: str = PROGRAM) -> None:
        self.profile, self.home, self.program = profile, home, program

    def render(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
        """The shell script that becomes the job's controller."""
        profile, wanted = request["profile"], request["resources"]
        name = str(profile.get("name", ""))
        if wanted["nodes"] != 1:
            message = f"{wanted['nodes']} nodes asked for, but profile {name!r} is this one machine"
            raise UserError(message, hint="set resources.nodes to 1, or choose a SLURM profile")
        wrong = [*script.wrong_paths(paths), *script.wrong_environment(profile.get("environment") or {})]
        script.refuse(wrong, run_id=paths.root.name, profile=name)
        lines = ["#!/bin/bash", f"# run {paths.root.name} on this machine", *script.preamble(profile, paths), ""]
        more = allowance_of(request)
        slowest = script.slowest_checkpoint_s(paths) if attempt > 1 else 0.0
        lines += script.environment_lines(request)
        told = exports(request, home=self.home, attempt=attempt, last=attempt + more - 1, slowest_checkpoint_s=slowest)
        return "\n".join([*lines, *told, controller_command(profile, paths, attempt=attempt), ""])

    def submit(self, request: Mapping[str, Any], paths: RunPaths, *, attempt: int = 1, nice: int = 0) -> str:
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

    def submit_array(self, array: Array) -> str:
        """Start one controller for all; it starts those of the runs, ``parallel`` at a time."""
        from forgia.schedulers import local_array  # submitit is slow to import

        texts = [self.render(array.request, paths, attempt=attempt) for paths, attempt in array.members]
        private_directory(records(self.home))
        return local_array.submit(self.home, array, texts=texts, program=self.program)

    def find(self, run_ids: Sequence[str], *, attempts: Mapping[str, int] | None = None) -> dict[str, str]:
        """By the records of controllers, else by their command lines: a job exists from its first instruction on."""
        wanted = attempts or {}
        known = [job for job in listing(self.home) if job.run_id in run_ids and job.is_of(wanted.get(job.run_id))]
        found = {job.run_id: job.job_id for job in sorted(known, key=lambda job: job.attempt)}
        if absent := [run_id for run_id in run_ids if run_id not in found]:
            found |= {job.run_id: job.job_id for job in self._starting(absent) if job.is_of(wanted.get(job.run_id))}
            found |= self._in_arrays([run_id for run_id in absent if run_id not in found], wanted)
        return found

    def _in_arrays(self, run_ids: Sequence[str], attempts: Mapping[str, int]) -> dict[str, str]:
        """Runs that wait in an array, whose controller has a record or at least a command line."""
        places = [(run_id, arrays.places_of(self.home.run(run_id), attempts.get(run_id))) for run_id in run_ids]
        wanted = {place: run_id for run_id, found in places for place in found}
        known = {(job.run_id, job.attempt): job.job_id for job in listing(self.home)}
        unknown = {(place.sweep_id, place.number) for place in wanted} - known.keys()
        known |= dict(self._starting_arrays(unknown))
        keys = ((run_id, (place.sweep_id, place.number), place.index) for place, run_id in wanted.items())
        return {run_id: member_id(known[key], index) for run_id, key, index in keys if key in known}

    def _starting_arrays(self, wanted: Collection[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], str]]:
        """Controllers of arrays that have not written their record yet."""
        files = {
            str(self.home.sweep(sweep_id).array(number).members): (sweep_id, number) for sweep_id, number in wanted
        }
        for pid, argv in processes.commands() if files else ():
            mark = processes.start_mark(pid) if ARRAY_CONTROLLER in argv and argv[-1] in files else None
            if mark:
                yield files[argv[-1]], f"{pid}-{mark}"

    def states(self, job_ids: Sequence[str]) -> dict[str, JobView]:
        """Living controllers run; dead ones have ended if they are on record."""
        recorded = {job.job_id: job for job in listing(self.home)} if job_ids else {}
        return {job_id: self._any_view(job_id, recorded) for job_id in job_ids}

    def _any_view(self, job_id: str, recorded: Mapping[str, LocalJob]) -> JobView:
        base, index = task_of(job_id)
        if index is None:
            return self._view(job_id, recorded.get(job_id))
        array = recorded.get(base)
        tasks = arrays.members(self.home, array.run_id, array.attempt) if array else []
        if array is None or index >= len(tasks):
            return JobView(job_id=job_id, state=JobState.UNKNOWN)
        job = recorded.get(job_id, LocalJob(tasks[index].run_id, tasks[index].attempt, job_id))
        return self._task_view(job, controller=base, has_begun=job_id in recorded)

    def _task_view(self, job: LocalJob, *, controller: str, has_begun: bool) -> JobView:
        """A task of an array: it runs or waits while the array's controller lives; once begun, it is on record."""
        pid, mark = split(controller)
        place = record_path(self.home, job)
        if has_begun and place.stat().st_size:
            return ended_view(job.job_id, read_json(place))
        if processes.is_alive(pid, mark):
            state = JobState.RUNNING if has_begun else JobState.PENDING
            return JobView(job_id=job.job_id, state=state, word=state.upper())
        if has_begun and processes.start_mark(pid) is None and processes.session_is_alive(pid):
            return JobView(job_id=job.job_id, state=JobState.RUNNING, word="ORPHANED", reason=ORPHANED)
        return ended_view(job.job_id, {})

    def explain(self, job_id: str) -> JobDetails:
        """What its record says; there is no queue that could say more."""
        view = self.states([job_id])[job_id]
        words = f"{view.word}: {view.reason}" if view.reason else view.word
        return JobDetails(view=view, nodes=platform.node(), words=(f"local: {job_id} {words}",) if view.word else ())

    def cancel(self, job_ids: Sequence[str]) -> None:
        """A polite signal to each controller, which passes it on and insists after some seconds."""
        known = {job.job_id: job for job in listing(self.home)} if any("_" in job_id for job_id in job_ids) else {}
        for job_id in job_ids:
            base, index = task_of(job_id)
            with contextlib.suppress(ValueError, ProcessLookupError):
                pid, mark = split(base)
                if index is not None and base in known and processes.is_alive(pid, mark):
                    array = self.home.sweep(known[base].run_id).array(known[base].attempt)
                    array.cancelled(index).touch()  # its controller looks for these
                    continue
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
            return JobView(job_id=job_id, state=JobState.RUNNING, word="ORPHANED", reason=ORPHANED)
        return ended_view(job_id, end)


def ended_view(job_id: str, end: Mapping[str, Any]) -> JobView:
    """A job that is over, by its record; an empty one says that nobody saw its end."""
    return JobView(
        job_id=job_id,
        state=JobState.ENDED,
        word=str(end.get("word", "VANISHED")),
        reason=str(end.get("reason", VANISHED)),
        exit_code=end.get("exit_code"),
        signal=end.get("signal"),
    )


def exports(
    request: Mapping[str, Any], *, home: HomePaths, attempt: int, last: int, slowest_checkpoint_s: float = 0.0
) -> list[str]:
    """What submitit's controller and forgia's tasks read from the environment.

    Source: submitit 1.5.4, start_controller in local/local.py
    """
    wanted, profile = request["resources"], request["profile"]
    minutes = math.ceil(wanted["walltime_s"] / 60)
    lead_s = script.signal_lead_s(profile, minutes, slowest_checkpoint_s=slowest_checkpoint_s)
    values = {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_COMMAND": script.task_command(request, home=shlex.quote(str(home.root))),
        "SUBMITIT_LOCAL_JOB_NUM_NODES": 1,
        "SUBMITIT_LOCAL_NODEID": 0,
        "SUBMITIT_LOCAL_NTASKS": wanted["tasks_per_node"],
        "SUBMITIT_LOCAL_SIGNAL_DELAY_S": lead_s,
        "SUBMITIT_LOCAL_TIMEOUT_S": minutes * 60,
        "SUBMITIT_LOCAL_WITH_SHELL": "",
        "SUBMITIT_STDERR_TO_STDOUT": "",
        # Without GPUs asked for none is seen, as on a cluster.
        **({} if wanted["gpus_per_node"] else {"CUDA_VISIBLE_DEVICES": ""}),
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    return [*script.attempt_exports(str(attempt), last=last, lead_s=lead_s), *lines]


def controller_command(profile: Mapping[str, Any], paths: RunPaths, *, attempt: int) -> str:
    """The last line: the shell becomes the controller, keeps its process id, and still ends with the script's name."""
    own = paths.submission / f"job-{attempt}.sh"
    return f"exec {script.interpreter(profile)} -m {CONTROLLER} {shlex.quote(str(own))}"


def split(job_id: str) -> tuple[int, str]:
    """Process id and start mark. Raises: ValueError — not an id of ours."""
    pid, _, mark = job_id.partition("-")
    return int(pid), mark


def task_of(job_id: str) -> tuple[str, int | None]:
    """The id of an array's controller and the task's number in it; None — not a task of an array."""
    base, sign, number = job_id.rpartition("_")
    return (base, int(number)) if sign and number.isdecimal() else (job_id, None)


def is_controller(argv: Sequence[str]) -> bool:
    """The shell that runs a job's script, or what it became."""
    return len(argv) > 1 and (CONTROLLER in argv or argv[0].rpartition("/")[2] == "bash")
