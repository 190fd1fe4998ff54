"""What the jobs of the scheduler contract run: it does what a file in the run's folder says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


def main(folder: str) -> int:
    run_dir = Path(folder)
    order = json.loads((run_dir / "order.json").read_text())
    rank = os.environ.get("SLURM_PROCID", os.environ.get("SUBMITIT_LOCAL_GLOBALID"))
    attempt = int(os.environ["FORGIA_ATTEMPT"])
    (run_dir / f"seen-{attempt}-{rank}.json").write_text(json.dumps(dict(os.environ)))
    print(f"rank {rank} of attempt {attempt}", flush=True)
    if order.get("wait_for"):
        while not (run_dir / order["wait_for"]).exists():
            time.sleep(0.05)
    if str(rank) == str(order.get("failing_rank", rank)):
        return int(order["exit_codes"][min(attempt, len(order["exit_codes"])) - 1])
    if order.get("last_word"):
        time.sleep(1)
        (run_dir / order["last_word"]).touch()
    return 0
