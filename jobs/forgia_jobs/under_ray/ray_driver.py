"""What asks ray for the ranks, beside the head.

Run as ``python -m forgia_jobs.under_ray.ray_driver RUN_DIR FOLDER``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

# Ray looks every 2 s whether its ranks still work unless it is told otherwise before it is imported.
SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Source: ray 2.60, train/v2/_internal/constants.py"""
os.environ.update(SETTINGS)

import ray  # noqa: E402
from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: E402
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError  # noqa: E402

from forgia import store  # noqa: E402
from forgia.paths import RunPaths  # noqa: E402
from forgia.schedulers.payload import ATTEMPT_VARIABLE  # noqa: E402
from forgia_jobs.meeting import placement  # noqa: E402
from forgia_jobs.under_ray import ray_cluster, ray_launch, ray_tune, ray_worker  # noqa: E402
from forgia_jobs.under_ray.ray_trainer import Trainer  # noqa: E402

RESTARTS = 3
"""So often the ranks are started again in one attempt after the death of one."""


def main(run_dir: str, folder: Path) -> int:
    """Train, or try the points of a sweep, and leave word of how it ended."""
    paths, number = RunPaths(Path(run_dir)), int(os.environ[ATTEMPT_VARIABLE])
    size = placement.discover().world_size
    connect(folder, size)
    is_sweep = "sweep" in store.read_json(paths.request)
    outcome = ray_tune.tune(run_dir, folder, size=size) if is_sweep else train(run_dir, paths.ray_notes(number), size)
    ray_cluster.write_private(folder / ray_launch.OUTCOME, json.dumps(outcome))
    return 0


def connect(folder: Path, size: int) -> None:
    """Wait for the head and for every node. Raises: SystemExit — some did not come."""
    deadline = time.monotonic() + ray_cluster.START_TIMEOUT_S
    place = folder / ray_cluster.OWN / ray_cluster.ADDRESS
    while not place.exists():
        time.sleep(ray_cluster.LOOK_EVERY_S)
    ray.init(address=place.read_text(encoding="utf-8").strip(), log_to_driver=False, logging_level="WARNING")
    while (found := sum(node["Alive"] for node in ray.nodes())) < size:
        if time.monotonic() > deadline:
            text = f"{found} of {size} nodes of ray came within {ray_cluster.START_TIMEOUT_S:.0f} s"
            ray_cluster.write_private(folder / ray_launch.OUTCOME, json.dumps({"error": text}))
            sys.exit(1)
        time.sleep(ray_cluster.LOOK_EVERY_S)


def train(run_dir: str, notes: Path, size: int) -> dict[str, Any]:
    """Start the ranks, one on each node, and again after the death of one; what became of them."""
    trainer = Trainer(
        ray_worker.train,
        train_loop_config={"run_dir": run_dir},
        scaling_config=ScalingConfig(
            num_workers=size, resources_per_worker={"CPU": 1}, placement_strategy="STRICT_SPREAD"
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(notes),
            failure_config=FailureConfig(max_failures=RESTARTS, controller_failure_limit=0),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        return {"error": "ranks died", "died": deaths(notes, error.worker_failures)}
    except TrainingFailedError as error:
        return {"error": " ".join(str(error).split())[:500]}
    return {}


def deaths(notes: Path, failures: dict[int, Exception]) -> dict[int, str]:
    """Our rank → how it ended, of those of ray's ranks that did not end by themselves the last time."""
    found = {}
    for number, error in failures.items():
        places = sorted(notes.glob(f"{ray_worker.RANKS.format(number)}.*"))
        told = re.search(r"ended by signal \d+", str(error))
        text = f"{told[0] if told else 'is gone without a word'}, and was so again after {RESTARTS} restarts by ray"
        if places:
            found[int(places[-1].read_text(encoding="utf-8"))] = text
    return found


if __name__ == "__main__":
    code = main(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(code)  # the cluster goes with the job; ray's own farewell takes seconds
