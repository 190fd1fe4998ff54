"""What starts a rank: submitit's own entry, once the payload is known to be the one that was submitted.

Run as ``python -m forgia.schedulers.node submission`` in the run's folder. A pickle is code: nothing of it is loaded
before its digest is the one that travelled with the submission.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from forgia import digest
from forgia.errors import IntegrityError
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia.schedulers.payload import ATTEMPT_VARIABLE, SEAL_VARIABLE, TASK_FILE, rank


def main(arguments: list[str]) -> int:
    """Run one rank; 1 if its payload was altered, which the journal then says."""
    folder = Path(arguments[0]).absolute()
    try:
        verify(folder)
    except IntegrityError as error:
        print(f"forgia: {error}", file=sys.stderr)
        if rank() == 0:
            attempt = int(os.environ.get(ATTEMPT_VARIABLE, "1"))
            reason = f"{error}; nothing of it was loaded"
            Journal(RunPaths(folder.parent)).record(State.FAILED, by="job", attempt=attempt, reason=reason)
        return 1
    from submitit.core.submission import process_job

    process_job(folder)
    return 0


def verify(folder: Path) -> None:
    """Raises: IntegrityError — the payload is not the one that was submitted, or nobody says which one that was."""
    payload = folder / TASK_FILE
    expected = os.environ.get(SEAL_VARIABLE, "nothing")
    found = digest.hexadecimal(digest.of_file(payload)) if payload.is_file() else "no file"
    if found != expected:
        raise IntegrityError(f"the job's payload {payload}", expected=expected, found=found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
