"""What submitit carries to the node: a reference to a program, and the folder of the run. Nothing else is pickled."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia.paths import RunPaths
from forgia.store import private_directory

PROGRAM = "forgia_jobs.meeting.launch"
"""Module whose ``main(run_dir: str) -> int | None`` is one task of one attempt of a run."""
ANOTHER_ATTEMPT = 75
"""Returned by ``main``: stopped cleanly before the end, to go on from a checkpoint in another attempt.

Source: EX_TEMPFAIL of sysexits.h
"""
ATTEMPT_VARIABLE = "FORGIA_ATTEMPT"
"""The number of the attempt in the job's environment; counts requeues by the scheduler too."""
LAST_ATTEMPT_VARIABLE = "FORGIA_LAST_ATTEMPT"
"""The last attempt that the job may make without asking again."""
END_VARIABLE = "FORGIA_END_TIME"
"""When the scheduler will end the attempt; seconds since 1970."""
LEAD_VARIABLE = "FORGIA_SIGNAL_LEAD"
"""Seconds before that at which it was asked to give notice."""
MORE_WANTED = "another-attempt"
"""Empty file in an attempt's log folder. An exit code would drown: a launcher reports the highest of all ranks."""
STOPPED = "stopped"
"""Empty file in an attempt's log folder: its checkpoint is that of its last step."""
TASK_FILE = "task.pkl"
JOB_VARIABLE = "FORGIA_JOB"
"""The job id of a local task of an array, which is not told by its process id."""
SEAL_VARIABLE = "FORGIA_SEAL"
"""SHA-256 of the task file, in the job's environment: kept by the scheduler, out of reach of who can write to disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProgram:
    """One rank of one attempt; leaves with the program's exit code."""

    run_dir: str
    program: str = PROGRAM

    def __call__(self) -> None:
        """Run the program. Raises: SystemExit — with its code, unless that is zero."""
        reset_signals()
        code = importlib.import_module(self.program).main(self.run_dir) or 0
        if code == ANOTHER_ATTEMPT:
            if rank() != 0:
                return  # rank 0 speaks for all, and leaves last
            folder = private_directory(RunPaths(Path(self.run_dir)).attempt(int(os.environ.get(ATTEMPT_VARIABLE, "1"))))
            (folder / MORE_WANTED).touch()
        if code:
            raise SystemExit(code)


MOST_ATTEMPTS = 100
"""A job that goes round more often than this makes no progress."""


def allowance_of(request: Mapping[str, Any]) -> int:
    """The attempts that a job may make without asking again: the first, and as many as its budgets let it go on."""
    budgets = request["resources"].get("attempts")
    return MOST_ATTEMPTS if budgets is None else 1 + sum(budgets.values())


def rank() -> int:
    """This process's rank, by SLURM's word or submitit's."""
    names = ("SLURM_PROCID", "SUBMITIT_LOCAL_GLOBALID")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def reset_signals() -> None:
    """Take back submitit's handlers, which ignore SIGTERM and let rank 0 alone requeue the job.

    The warning signal is ignored until the program has its own handler: a job is not killed while it still imports.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
