"""A sweep inside one allocation: ray tries the points, so many at a time as there are tasks, and gives up poor ones.

A point is a run like any other, in a process of its own; what it says of each epoch is what decides. Runs that are done
are not repeated: their curves are told again, so that the others are judged by them, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forgia import store
from forgia.paths import RunPaths
from forgia.run import Journal, RunStatus, State, claim, holder_of
from forgia.schedulers.payload import ANOTHER_ATTEMPT, ATTEMPT_VARIABLE, LAST_ATTEMPT_VARIABLE
from forgia.sweep import GIVEN_UP
from forgia_jobs.meeting import placement
from forgia_jobs.under_ray import ray_cluster, ray_process

LOOK_EVERY_S = 0.2
FAREWELL_S = 120.0
"""For runs that were given up to write their checkpoints, or their releases where they were done all the same."""
FACTOR = 3
"""Of the runs that have come so far, one in so many goes on. Source: L. Li et al., arXiv:1810.05934, section 3.2"""
FIRST_LOOK = 9
"""A run is judged first after one part in so many of its epochs."""
WAITING = (State.PLANNED, State.HELD, State.SUBMITTING, State.PENDING)
LAUNCHERS = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SUBMITIT_LOCAL_", "RANK", "WORLD_SIZE", "RAY_")
"""Beginnings of variables that would make a run take its place among the tasks of the job."""


def tune(run_dir: str, folder: Path, *, size: int) -> dict[str, Any]:
    """Try every point that is not done, and say in the job's journal how it ended; the outcome for the task."""
    paths, number = RunPaths(Path(run_dir)), int(os.environ[ATTEMPT_VARIABLE])
    journal = Journal(paths)
    runs: list[str] = store.read_json(paths.request)["sweep"]["runs"]
    journal.record(State.RUNNING, by="job", attempt=number, world_size=size, job_id=holder_of(paths, number))
    points = [RunPaths(paths.root.parent / run_id) for run_id in runs]
    judged: dict[str, int] = {}
    if not all(Journal(point).status().state.is_final for point in points):
        judged = search(paths, number, runs, size=size, epochs=max(map(epochs_of, points)))
    stop = ray_process.signal_in(folder)
    left = [found for found in settle(points, judged, is_stopped=bool(stop)) if not found.state.is_final]
    if stop and left:
        reason = f"stopped by {stop}; {len(left)} of {len(runs)} points are not done, another attempt goes on with them"
        journal.record(State.CHECKPOINTED, by="job", attempt=number, reason=reason, signal=stop)
        return {"code": ANOTHER_ATTEMPT if stop == signal.SIGUSR2.name else 0}
    journal.record(State.SUCCEEDED, by="job", attempt=number)
    return {"code": 0}


def epochs_of(paths: RunPaths) -> int:
    """As many as a run may have."""
    return int(store.read_json(paths.request)["train"]["epochs"])


def search(paths: RunPaths, number: int, runs: Sequence[str], *, size: int, epochs: int) -> dict[str, int]:
    """Have ray try the points; each with the last epoch by which it was judged."""
    import ray.tune
    from ray.tune.schedulers import ASHAScheduler

    halving = ASHAScheduler(
        time_attr="epoch", max_t=epochs, grace_period=max(epochs // FIRST_LOOK, 1), reduction_factor=FACTOR
    )
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trial, {"CPU": 1}),
        param_space={"run": ray.tune.grid_search(list(runs)), "pool": str(paths.root), "attempt": number},
        tune_config=ray.tune.TuneConfig(
            metric="figure", mode="max", max_concurrent_trials=size, scheduler=halving, reuse_actors=False
        ),
        run_config=ray.tune.RunConfig(name="tune", storage_path=str(paths.ray_notes(number)), verbose=0),
    )
    results = tuner.fit()
    return {found.config["run"]: int(found.metrics["epoch"]) for found in results if "epoch" in (found.metrics or {})}


def settle(points: Sequence[RunPaths], judged: Mapping[str, int], *, is_stopped: bool) -> Iterator[RunStatus]:
    """Where the points stand; one that ray gave up is over, when it has written its checkpoint or its release.

    Args: judged — point → the last epoch by which it was.
    """
    deadline = time.monotonic() + FAREWELL_S
    for paths in points:
        journal, epoch = Journal(paths), judged.get(paths.root.name)
        while not is_stopped and is_at_work(journal) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        found = journal.status()
        if not is_stopped and epoch is not None and found.state in (State.RUNNING, State.CHECKPOINTED):
            text = f"{GIVEN_UP} after epoch {epoch}: others were better by then"
            journal.record(State.CANCELLED, by="job", attempt=found.attempt, reason=text)
        yield journal.status()


def is_at_work(journal: Journal) -> bool:
    """A run is under way, as far as can be seen from here: on this node, its process is there."""
    begun = [line for line in journal.read() if line.get("event") == State.RUNNING and "pid" in line]
    if journal.status().state is not State.RUNNING:
        return False
    is_here = bool(begun) and begun[-1].get("host") == socket.gethostname()
    return not is_here or Path(f"/proc/{begun[-1]['pid']}").exists()


# In ray's process


def trial(config: dict[str, Any]) -> None:
    """One point: its run as a process, told of epoch by epoch; or its curve once more, where it is done."""
    pool = RunPaths(Path(config["pool"]))
    paths = RunPaths(pool.root.parent / config["run"])
    curve, folder, last = Curve(paths.metrics), Path(os.environ[ray_cluster.FOLDER_VARIABLE]), epochs_of(paths)
    if not Journal(paths).status().state.is_final and not ray_process.signal_in(folder):
        for _ in follow(paths, pool, int(config["attempt"]), folder):
            report(curve, last=last)
    report(curve, last=last)


def follow(paths: RunPaths, pool: RunPaths, pool_attempt: int, folder: Path) -> Iterator[None]:
    """Run a point, and come back now and then until it has ended."""
    journal = Journal(paths)
    found = journal.status()
    number = found.attempt if found.state in WAITING else found.attempt + 1
    if not claim(paths, number, job_id=holder_of(pool, pool_attempt), restart=pool_attempt):
        return
    process = start(paths, number)
    yield from ray_process.watch(process, folder)
    if process.returncode < 0 and not ray_process.signal_in(folder):
        reason = f"its process ended by signal {-process.returncode}"
        journal.record(State.FAILED, by="job", attempt=number, reason=reason)


class Curve:
    """The epochs that a run tells of, each once, also where the run goes back to a checkpoint."""

    def __init__(self, place: Path) -> None:
        self.place, self.offset, self.epoch = place, 0, 0

    def news(self) -> list[dict[str, Any]]:
        """What was not told of before."""
        found = []
        for line in self._lines():
            if line.get("kind") == "epoch" and line["epoch"] > self.epoch:
                self.epoch = line["epoch"]
                found.append(line)
        return found

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.place.exists():
            return
        with self.place.open("rb") as file:
            self.offset = min(self.offset, file.seek(0, os.SEEK_END))
            file.seek(self.offset)
            whole, sign, _ = file.read().rpartition(b"\n")
        self.offset += len(whole) + len(sign)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):  # the file was cut where this look began
                yield json.loads(line)


def report(curve: Curve, *, last: int) -> None:
    """Tell ray of the epochs that it has not heard of; the greater a figure, the better.

    Of the last one nothing is told: a training that is done is not to be given up.
    """
    import ray.tune

    from forgia_jobs.judging import scores

    for line in (line for line in curve.news() if line["epoch"] < last):
        name, figure = next(iter(line["validation"].items()))
        sign = 1 if scores.is_better(name, 1.0, 0.0) else -1
        ray.tune.report({"epoch": line["epoch"], "figure": sign * figure})


def start(paths: RunPaths, number: int) -> subprocess.Popen[bytes]:
    """The process of a run that is alone in its world, asked to stop when ray gives it up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
    kept.pop(LAST_ATTEMPT_VARIABLE, None)
    store.private_directory(paths.attempt(number))
    with paths.stdout(number, 0).open("ab") as output, paths.stderr(number, 0).open("ab") as complaints:
        return ray_process.start(
            [str(paths.root), signal.SIGTERM.name],
            output=output,
            complaints=complaints,
            environment={**kept, **own_gpus(paths), ATTEMPT_VARIABLE: str(number)},
        )


def own_gpus(paths: RunPaths, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The GPUs of this task's place on the node, where the scheduler shows it those of all tasks."""
    wanted = int(store.read_json(paths.request)["resources"]["gpus_per_node"])
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return {}
    every = environment["CUDA_VISIBLE_DEVICES"].split(",")
    if len(every) <= wanted:
        return {}
    place = placement.discover(environment).local_rank
    return {"CUDA_VISIBLE_DEVICES": ",".join(every[place * wanted : (place + 1) * wanted])}
