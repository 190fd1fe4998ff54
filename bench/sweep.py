"""A sweep of many tiny tasks on a real SLURM: calls of sbatch, seconds, and whether every task's result is right.

    eval "$(python tests/slurm/lab.py up /tmp/lab)"; python bench/sweep.py [--tasks 500] [--parallel 8]

A task is bench/sweep_task.py, started as every run of forgia is: batch script, srun, payload, program.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from forgia import digest, sweeping
from forgia import sweep as sweeps
from forgia.fit import Cost
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.quota.reservation import UNCOUNTED
from forgia.run import State, holder_of, now
from forgia.schedulers.slurm import SlurmScheduler
from forgia.sweep import Sweep
from forgia.sweeping import SweepPlan

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from sweep_task import figure  # noqa: E402

PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol")
RESOURCES = {
    "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 600,
}  # fmt: skip


def plan_of(root: Path, point: int, python: str) -> Plan:
    """One point."""
    recipe = root / "recipe"
    if not recipe.is_dir():
        recipe.mkdir()
        (recipe / "recipe.yaml").write_text("name: tiny\n")
    request: dict[str, Any] = {
        "schema_version": 1,
        "recipe": {"name": "tiny", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {},
        "params": {"point": point},
        "resources": RESOURCES,
        "environment": {"kind": "current"},
        "profile": {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "python": python},
    }
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    return Plan(request=request, inputs={}, recipe_root=recipe, origins={}, cost=cost)


def sweep_of(home: HomePaths, root: Path, *, tasks: int, parallel: int) -> SweepPlan:
    """All points."""
    plans = tuple(plan_of(root, point, sys.executable) for point in range(tasks))
    members = tuple(sweeping.member_of(home, plan, {"params.point": point}) for point, plan in enumerate(plans))
    made = Sweep(
        id=sweeping.sweep_id("tiny", members),
        recipe="tiny",
        version="1.0.0",
        profile="slurm-local",
        scheduler="slurm",
        primary="f1",
        is_lower_better=False,
        members=members,
        created=now(),
        parallel=parallel,
        array_size=sweeping.DEFAULT_ARRAY_SIZE,
    )
    return SweepPlan(sweep=made, plans=plans)


def count_calls(folder: Path) -> Path:
    """Put programs before SLURM's own that write their name into a file; the file."""
    log, shims = folder / "calls", folder / "shims"
    shims.mkdir()
    log.touch()
    for name in PROGRAMS:
        real = shutil.which(name)
        (shims / name).write_text(f'#!/bin/sh\necho {name} >> "{log}"\nexec "{real}" "$@"\n')
        (shims / name).chmod(0o755)
    os.environ["PATH"] = os.pathsep.join([str(shims), os.environ["PATH"]])
    return log


def python_start_s() -> float:
    """CPU seconds of a task's interpreter with what every payload imports, and nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(5):
        subprocess.run([sys.executable, "-c", "import forgia.schedulers.node, submitit.core.submission"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 5


def wrong_results(home: HomePaths, sweep: Sweep) -> list[str]:
    """A sentence for each task whose result is not the one of its own point, or that did not run just once."""
    wrong = []
    for point, result in enumerate(sweeps.results(home, sweep)):
        holder = holder_of(home.run(result.run_id), 1)
        is_right = result.state is State.SUCCEEDED and result.test == figure(point) and holder.endswith(f"_{point}")
        lines = (home.run(result.run_id).metrics).read_text().count("\n") if is_right else 0
        if lines != 1:
            wrong.append(f"point {point}: {result.state}, {result.test} instead of {figure(point)}, by {holder}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=500)
    parser.add_argument("--parallel", type=int, default=8)
    asked = parser.parse_args()
    start_s = python_start_s()
    with tempfile.TemporaryDirectory(prefix="forgia-bench-sweep-") as place:
        home = HomePaths(Path(place) / "home")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        scheduler = SlurmScheduler({}, home=home, program="sweep_task")
        began = time.monotonic()
        plan = sweep_of(home, Path(place), tasks=asked.tasks, parallel=asked.parallel)
        planned = time.monotonic()
        calls = count_calls(Path(place))
        sweep = sweeping.start(home, plan, lambda _: scheduler)
        sent = time.monotonic()
        desk = sweeping.Desk(schedulers=lambda _: scheduler, budget=UNCOUNTED)
        for _ in sweeping.follow(home, sweep, desk, sleep=time.sleep, clock=time.monotonic):
            pass
        ended = time.monotonic()
        told = time.monotonic()
        wrong = wrong_results(home, sweep)
        shown = time.monotonic() - told
        made = calls.read_text().split()
    print(f"tasks {asked.tasks}, {asked.parallel} at once")
    print(f"calls of {', '.join(f'{name} {made.count(name)}' for name in PROGRAMS)} (scontrol: of the tasks too)")
    print(f"plan {planned - began:.1f} s, write and send {sent - planned:.1f} s, run {ended - sent:.1f} s")
    print(f"a task's interpreter and imports: {start_s:.2f} CPU-s, {start_s * asked.tasks:.0f} CPU-s for all")
    print(f"table of results read in {shown:.2f} s; wrong results: {len(wrong)}")
    print("\n".join(wrong[:10]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
