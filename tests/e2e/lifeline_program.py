"""One rank that computes for a minute and hears nothing, as while it waits for a GPU; the last one ends as it is told.

python lifeline_program.py FOLDER killed|failed|well      with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from forgia.paths import RunPaths
from forgia_jobs import attempt
from forgia_jobs.meeting import lookout
from forgia_jobs.meeting.rendezvous import World

lookout.GRACE_S, lookout.LOOK_EVERY_S = 1.0, 0.5


def main(paths: RunPaths, end: str) -> None:
    world = World(rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]), device=torch.device("cpu"))
    dist.init_process_group("gloo")

    def leave(error: Exception) -> None:
        attempt.leave_reason(paths, number=1, rank=world.rank, error=error)

    with lookout.watching(paths, 1, world, tell=leave):
        time.sleep(1.0)
        if world.rank == world.size - 1:
            if end == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if end == "failed":
                leave(ValueError("one of its own"))
                os._exit(1)
        elif end != "well":
            time.sleep(60.0)
        elif world.leads:
            time.sleep(3.0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(RunPaths(Path(sys.argv[1])), sys.argv[2])
