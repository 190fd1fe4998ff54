"""Submitit's two executors, each sub-classed once: forgia writes the script and the pickle, submitit runs the task.

Source: submitit 1.5.4, core/core.py, slurm/slurm.py, local/local.py
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submitit.core.core import Job, PicklingExecutor
from submitit.core.utils import DelayedSubmission
from submitit.local.local import LocalExecutor, LocalJob
from submitit.slurm.slurm import SlurmExecutor, SlurmJob

from forgia import digest, process
from forgia.errors import ClusterError, Refused
from forgia.paths import RunPaths
from forgia.schedulers import processes, slurm_words
from forgia.schedulers.payload import SEAL_VARIABLE, TASK_FILE, NodeProgram
from forgia.store import create, private_directory, sync_directory, umask, write_atomic

SUBMIT_TIMEOUT_S = 120.0
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
"""How this user reaches SLURM; every other variable of SLURM's would overrule the script."""
FOREIGN = re.compile(
    r"^(SLURM|SBATCH|SRUN|SALLOC|SUBMITIT|FORGIA)_|(^|_)(TOKEN|SECRET|PASSWORD|PASSPHRASE|API_KEY)($|_)"
)
"""Variables that do not go along: an outer job's, and what looks like a secret."""

Submitted = Job[Any]


class OnePickle(PicklingExecutor):
    """One job a submission, its pickle and script on disk before the scheduler hears of it."""

    def __init__(self, paths: RunPaths, *, text: str, attempt: int) -> None:
        super().__init__(paths.submission)
        self.paths, self.text, self.attempt = paths, text, attempt
        self.script = paths.submission / f"job-{attempt}.sh"

    def seal(self) -> dict[str, str]:
        """What the job will know its payload by: the environment travels with the submission, out of others' reach."""
        return {SEAL_VARIABLE: digest.hexadecimal(digest.of_file(self.folder / TASK_FILE))}

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[Submitted]:
        """Submitit names the pickle after the submission, so that a job whose submitter died would wait in vain."""
        (delayed,) = delayed_submissions
        write_pickle(delayed, self.folder)
        return [self._submit_command("")]


class SlurmSubmission(OnePickle, SlurmExecutor):
    """Submitit's SLURM executor with our script, our environment and our reading of what sbatch answers."""

    @classmethod
    def affinity(cls) -> int:
        """Submitit looks for srun here; that sbatch is missing is said when it is called."""
        return 2

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self.text

    def _submit_command(self, command: str) -> Submitted:
        """Raises: ClusterError — sbatch refused, or did not answer."""
        write_atomic(self.script, self._make_submission_file_text(command, ""))
        return SlurmJob(folder=self.folder, job_id=sbatch(self.script, environment=self.seal()), tasks=[0])


def sbatch(script: Path, *, environment: Mapping[str, str]) -> str:
    """Send a script and return the job's id; ``environment`` is laid over ours, for the job to find.

    Raises: ClusterError — sbatch refused, or did not answer.
    """
    if not shutil.which("sbatch"):
        raise ClusterError(
            "sbatch: no such program on this machine",
            transient=False,
            hint="run forgia on the cluster's login node, or choose the profile laptop",
        )
    done = process.run(
        ["sbatch", "--parsable", str(script)],
        timeout_s=SUBMIT_TIMEOUT_S,
        environment=environment,
        without=foreign_variables(),
        umask=umask(script.parent),  # SLURM gives it to the job, and makes the log files with it
    )
    words = " ".join(done.stderr.replace("sbatch: error: ", "").split())
    found = re.match(r"(\d+)(;|$)", done.stdout.strip())
    if done.returncode or not found:
        # Only an sbatch that ends by itself and complains has refused; any other may have been heard.
        meaning = slurm_words.refusal(words) if done.returncode > 0 else slurm_words.NO_ANSWER
        raise ClusterError(f"SLURM did not take the job: {words}", transient=meaning.transient, hint=meaning.hint)
    return found.group(1)


class LocalSubmission(OnePickle, LocalExecutor):
    """Submitit's local executor, its controller in a session of its own: no Ctrl-C and no hang-up reaches it."""

    def _submit_command(self, command: str) -> LocalJob[Any]:
        write_atomic(self.script, self.text)
        dropped = set(foreign_variables())
        log = create(self.paths.attempt(self.attempt) / "batch.log", os.O_APPEND)
        try:
            controller = subprocess.Popen(
                ["bash", str(self.script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.paths.root,
                env={**{name: value for name, value in os.environ.items() if name not in dropped}, **self.seal()},
                start_new_session=True,
                umask=umask(self.folder),
            )
        finally:
            os.close(log)
        processes.let_go(controller)
        return LocalJob(folder=self.folder, job_id=str(controller.pid), process=controller)


def write_pickle(delayed: DelayedSubmission, folder: Path) -> None:
    """Put the task file into a run's submission folder."""
    beside = folder / f".{TASK_FILE}.{os.getpid()}"
    delayed.dump(beside)
    beside.replace(folder / TASK_FILE)
    sync_directory(folder)


def send(executor: OnePickle, paths: RunPaths, *, program: str) -> str:
    """Give the run to an executor; returns submitit's job id. Raises: Refused — others could change what will run."""
    make_room(paths, attempt=executor.attempt)
    job = executor.submit(NodeProgram(run_dir=str(paths.root), program=program))
    return str(job.job_id)


def make_room(paths: RunPaths, *, attempt: int) -> None:
    """The folders that a submission writes to. Raises: Refused — others could change what will run."""
    for folder in (paths.root, private_directory(paths.submission)):
        refuse_writable(folder)
    private_directory(paths.attempt(attempt))


def write_task(paths: RunPaths, *, attempt: int, program: str) -> str:
    """The task file of a run that is sent with others, and its seal. Raises: as ``make_room``."""
    make_room(paths, attempt=attempt)
    write_pickle(DelayedSubmission(NodeProgram(run_dir=str(paths.root), program=program)), paths.submission)
    return digest.hexadecimal(digest.of_file(paths.submission / TASK_FILE))


def refuse_writable(folder: Path) -> None:
    """Raises: Refused — a pickle lies here, and whoever can swap a pickle chooses the code that runs."""
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(
            f"{folder}: others may write here, so they could choose what the job runs as you",
            hint=f"chmod go-w {folder}",
        )


def foreign_variables() -> list[str]:
    """Names in our environment that do not go along with a job."""
    return sorted(name for name in os.environ if FOREIGN.search(name) and name not in KEPT)
