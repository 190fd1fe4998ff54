"""What a local array job is: a controller in a session of its own that starts those of its runs, so many at a time.

Run as ``python -m forgia.schedulers.local_array <parallel> <array folder>/members``. A task that is not wanted any more
has a file beside the list; the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from forgia import digest
from forgia.errors import ClusterError
from forgia.paths import ArrayPaths, HomePaths
from forgia.schedulers import array as arrays
from forgia.schedulers import local_jobs, processes
from forgia.schedulers.array import Member
from forgia.schedulers.local_jobs import ARRAY_CONTROLLER, LocalJob
from forgia.schedulers.payload import JOB_VARIABLE, SEAL_VARIABLE
from forgia.schedulers.protocol import Array, member_id
from forgia.store import create, file_mode, private_directory, umask, write_atomic

TICK_S = 0.1


def submit(home: HomePaths, array: Array, *, texts: Sequence[str], program: str) -> str:
    """Write what every run needs, then start the controller; the array's job id.

    Raises: ClusterError — it ended at once.
    """
    from forgia.schedulers.executors import foreign_variables, write_task

    seals = []
    for (paths, attempt), text in zip(array.members, texts, strict=True):
        seals.append(write_task(paths, attempt=attempt, program=program))
        write_atomic(paths.submission / f"job-{attempt}.sh", text)
    seal = arrays.write(array, seals)
    dropped = set(foreign_variables())
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    pid = start(array, {**environment, SEAL_VARIABLE: seal})
    mark = processes.start_mark(pid)
    if mark is None:
        message = f"sweep {array.sweep_id} ended before it began"
        raise ClusterError(message, transient=False, hint=f"see {array.paths.log}")
    job = LocalJob(array.sweep_id, array.number, f"{pid}-{mark}")
    local_jobs.record_path(home, job).touch(mode=file_mode(local_jobs.records(home)))
    return job.job_id


def start(array: Array, environment: dict[str, str]) -> int:
    """The controller, out of reach of a Ctrl-C or a hang-up; its process id."""
    argv = [sys.executable, "-m", ARRAY_CONTROLLER, str(array.parallel or 1), str(array.paths.members)]
    log = create(array.paths.log, os.O_APPEND)
    try:
        controller = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=array.paths.root,
            env=environment,
            start_new_session=True,
            umask=umask(array.paths.root),
        )
    finally:
        os.close(log)
    processes.let_go(controller)
    return controller.pid


class ArrayController:
    """Starts tasks in their order, takes away those that are not wanted, and says of each how it ended."""

    def __init__(self, paths: ArrayPaths, *, parallel: int) -> None:
        sweep = paths.root.parent.parent
        self.paths, self.parallel = paths, parallel
        self.home = HomePaths(sweep.parent.parent)
        self.own = LocalJob(sweep.name, int(paths.root.name), f"{os.getpid()}-{processes.start_mark(os.getpid())}")
        self.tasks: list[Member] = arrays.members(self.home, self.own.run_id, self.own.attempt)
        self.waiting = list(range(len(self.tasks)))
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.asked: set[int] = set()
        self.stop_asked = False
        signal.signal(signal.SIGTERM, self._note_stop)
        signal.signal(signal.SIGINT, self._note_stop)

    def run(self) -> None:
        """Until every task has ended."""
        while self.waiting or self.running:
            self.drop_unwanted()
            while self.waiting and len(self.running) < self.parallel:
                index = self.waiting.pop(0)
                self.running[index] = self.start(index)
            time.sleep(TICK_S)
            for index in [index for index, task in self.running.items() if task.poll() is not None]:
                del self.running[index]
                self.say_end(index)
        self.record(self.own, word="COMPLETED")

    def start(self, index: int) -> subprocess.Popen[bytes]:
        """The script of a run, as if it were sent alone; a signal to this controller's group reaches it."""
        task = self.tasks[index]
        paths = self.home.run(task.run_id)
        own = {SEAL_VARIABLE: task.seal, JOB_VARIABLE: member_id(self.own.job_id, index)}
        log = create(paths.attempt(task.attempt) / "batch.log", os.O_APPEND)
        local_jobs.record_path(self.home, self.job(index)).touch(mode=file_mode(local_jobs.records(self.home)))
        try:
            return subprocess.Popen(
                ["bash", str(paths.submission / f"job-{task.attempt}.sh")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=paths.root,
                env={**os.environ, **own},
            )
        finally:
            os.close(log)

    def drop_unwanted(self) -> None:
        """End the tasks that were cancelled, or all."""
        for index in [index for index in self.waiting if self.is_unwanted(index)]:
            self.waiting.remove(index)
            self.record(self.job(index), word="CANCELLED", reason="it was cancelled before it began")
        for index, task in self.running.items():
            if index not in self.asked and self.is_unwanted(index):
                self.asked.add(index)
                with contextlib.suppress(ProcessLookupError):
                    task.send_signal(signal.SIGTERM)

    def is_unwanted(self, index: int) -> bool:
        """Someone asked for the end of this task, or of the array."""
        return self.stop_asked or self.paths.cancelled(index).exists()

    def say_end(self, index: int) -> None:
        """The record of a task whose own controller could not write one."""
        if not local_jobs.record_path(self.home, self.job(index)).stat().st_size:
            was_asked = index in self.asked
            reason = "it was cancelled" if was_asked else local_jobs.VANISHED
            self.record(self.job(index), word="CANCELLED" if was_asked else "VANISHED", reason=reason)

    def job(self, index: int) -> LocalJob:
        """A task as the job of its run."""
        return LocalJob(self.tasks[index].run_id, self.tasks[index].attempt, member_id(self.own.job_id, index))

    def record(self, job: LocalJob, *, word: str, reason: str = "") -> None:
        """Say how a job ended."""
        write_atomic(local_jobs.record_path(self.home, job), json.dumps({"word": word, "reason": reason}) + "\n")

    def _note_stop(self, *_: object) -> None:
        self.stop_asked = True


def main(arguments: list[str]) -> int:
    """Control one array; 1 if its list is not the one that was sent."""
    parallel, members = int(arguments[0]), Path(arguments[1])
    if digest.hexadecimal(digest.of_file(members)) != os.environ.get(SEAL_VARIABLE):
        print(f"forgia: {members} was altered after it was sent; nothing is started", file=sys.stderr)
        return 1
    controller = ArrayController(ArrayPaths(members.parent), parallel=parallel)
    place = local_jobs.record_path(controller.home, controller.own)
    private_directory(place.parent)
    place.touch(mode=file_mode(place.parent))  # its submitter may not have lived to do it
    controller.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
