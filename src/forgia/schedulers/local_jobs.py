"""What is on record of local jobs: one small file each, empty while the job runs, then how it ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from forgia.paths import HomePaths

ARRAY_CONTROLLER = "forgia.schedulers.local_array"
"""The program behind an array; its task is told by the number after its id."""
VANISHED = "its processes are gone without a word: killed, or the machine restarted"


class LocalJob(NamedTuple):
    """Which run and attempt a controller works for."""

    run_id: str
    attempt: int
    job_id: str

    def is_of(self, attempt: int | None) -> bool:
        """It is of this attempt; None: of any."""
        return attempt in (None, self.attempt)


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
