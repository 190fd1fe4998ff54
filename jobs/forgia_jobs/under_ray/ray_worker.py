"""What ray runs for each rank: the attempt, as a process of its own, and what became of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import ray.train
import ray.util

from forgia.logs import NOTICED, read_reason
from forgia.paths import RunPaths
from forgia.run import Journal
from forgia.schedulers.payload import ATTEMPT_VARIABLE
from forgia_jobs.meeting import placement
from forgia_jobs.under_ray import ray_cluster, ray_process

RANKS = "rank-of-{}"
"""In ray's notes: which of our ranks one of ray's is, and how often it was started."""


class RankDied(RuntimeError):
    """A rank's process was ended by a signal; ray starts all of them again."""


def train(config: dict[str, Any]) -> None:
    """Run the attempt of this task's rank, and leave its exit code with the task. Raises: RankDied."""
    folder = Path(os.environ[ray_cluster.FOLDER_VARIABLE])
    paths, number = RunPaths(Path(config["run_dir"])), int(os.environ[ATTEMPT_VARIABLE])
    begin(paths, number)
    code = attend(paths, folder)
    if code < 0 and not ray_process.signal_in(folder):
        raise RankDied(f"ended by signal {-code}")
    ray_cluster.write_private(folder / ray_cluster.CODE, str(code if code >= 0 else 1))


def begin(paths: RunPaths, number: int) -> None:
    """Forget what ranks said that only saw another die, now that ray has started them again."""
    rank = placement.discover().rank
    place = paths.ray_notes(number) / RANKS.format(ray.train.get_context().get_world_rank())
    restarts = len(list(place.parent.glob(f"{place.name}.*")))
    ray_cluster.write_private(place.with_name(f"{place.name}.{restarts}"), json.dumps(rank))
    if not restarts:
        return
    for reason in paths.reasons(number):
        if reason.exists() and read_reason(reason)["kind"] == NOTICED:
            reason.unlink(missing_ok=True)
    paths.last_word(number).unlink(missing_ok=True)
    if rank == 0:
        text = "a rank's process has died; ray has started the ranks again"
        Journal(paths).note(text, by="job", attempt=number, restart=restarts)


def attend(paths: RunPaths, folder: Path) -> int:
    """The attempt's exit code; what it prints goes where the task's output goes: a launcher keeps each rank's log."""
    group = ray.util.get_current_placement_group()
    launch = f"ray-{group.id.hex() if group else ''}"  # differs between two starts of the ranks
    task = os.environ[ray_cluster.TASK_VARIABLE]
    with Path(f"/proc/{task}/fd/1").open("ab") as output, Path(f"/proc/{task}/fd/2").open("ab") as complaints:
        arguments = [str(paths.root), signal.SIGKILL.name, launch]
        process = ray_process.start(arguments, output=output, complaints=complaints)
    for _ in ray_process.watch(process, folder):
        pass
    return process.wait()
