"""Whose a job of the accounting is: by its name, which of forgia's jobs is the run's, and the hold of that run."""

from __future__ import annotations

import re

from forgia.grant import Usage
from forgia.paths import NAME
from forgia.quota.records import Hold, HoldMark

FIRST_ATTEMPT = 1
LATER_ATTEMPT = re.compile(r"^(?P<run>[^@]+)@(?P<attempt>[1-9]\d{0,5})$")
"""How jobs of a run's later submissions are called; the first bears the bare name of the run."""


def key_of_job(name: str) -> str | None:
    """The key of the hold under which a job of this name was submitted; None: no job of forgia's is called so.

    A job that SLURM requeues keeps its name, and with it the hold of the attempt that was submitted.
    """
    match = LATER_ATTEMPT.match(name)
    run, attempt = (match["run"], int(match["attempt"])) if match else (name, FIRST_ATTEMPT)
    return f"{run}@{attempt}" if NAME.fullmatch(run) else None


def why_not(usage: Usage, hold: Hold | HoldMark) -> str:
    """Why the job is not that hold's, whatever its name says; empty where nothing speaks against it.

    On an account of several firms anybody may give a job another's name.
    """
    user = str(hold.facts.get("user", ""))
    if user and usage.user and user != usage.user:
        return f"job {usage.job_id} of {usage.user} bears the name of {hold.key}, which {user} submitted"
    return ""
