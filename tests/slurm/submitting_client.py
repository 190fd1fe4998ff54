"""Clients that submit and are killed: one order a line on stdin, the exit code of its process a line on stdout.

Each client is a process of its own, forked from this one, which has imported everything already.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from forgia import digest, status, submission
from forgia.errors import ClusterError
from forgia.fit import Cost
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.schedulers import executors
from forgia.schedulers.slurm import SlurmScheduler

PROGRAM = "one_line_program"
CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "close", "read", "stat", "symlink")
GAVE_UP = 5


def make_plan(root: Path, *, seed: int) -> Plan:
    """One CPU job of a moment; the seed tells one request from another."""
    recipe = root / "recipe"
    if not recipe.is_dir():
        recipe.mkdir(parents=True)
        (recipe / "recipe.yaml").write_text("name: once\n")
    request: dict[str, Any] = {
        "schema_version": 1,
        "recipe": {"name": "once", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {},
        "train": {"seed": seed},
        # Four of eight cores of four nodes: eight at a time on the two cores that are really there.
        "resources": {
            "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 4, "memory_gb": 1, "walltime_s": 600,
        },
        "profile": {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "python": sys.executable},
    }  # fmt: skip
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    return Plan(request=request, inputs={}, recipe_root=recipe, origins={}, cost=cost)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(number: int) -> None:
    """Arrange for the end of this process at its so many-th call of the operating system."""
    left = number

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                die()
            return function(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


class Deadly(SlurmScheduler):
    """Ends its process when sbatch has answered and nobody knows the answer yet."""

    def submit(self, *arguments: Any, **options: Any) -> str:
        super().submit(*arguments, **options)
        die()
        raise AssertionError


class Blind(SlurmScheduler):
    """Finds nothing, as where the queue is asked too early and the accounting is late."""

    def find(self, *_arguments: Any, **_options: Any) -> dict[str, str]:
        return {}


KINDS = {"answered": Deadly, "blind": Blind}


def obey(order: dict[str, Any]) -> int:
    """Submit, or die on the way."""
    home = HomePaths(Path(order["home"]))
    plan = make_plan(Path(order["root"]), seed=order["seed"])
    executors.SUBMIT_TIMEOUT_S = order.get("timeout_s", executors.SUBMIT_TIMEOUT_S)
    kind = KINDS.get(order["end"], SlurmScheduler)
    status.SUBMISSION_DEADLINE = status.timedelta(0)
    if order["end"] == "call":
        die_at_call(order["number"])
    try:
        submission.start(home, plan, lambda _: kind({}, home=home, program=PROGRAM))
    except ClusterError:
        return GAVE_UP
    return 0


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(obey(order))
        if "after_s" in order:
            time.sleep(order["after_s"])
            os.kill(pid, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
