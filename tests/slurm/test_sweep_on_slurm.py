"""A sweep as one array of a real SLURM: every task its own run, failures alone again, killed clients, cancel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab

from forgia import digest, samples, status, sweeping
from forgia import sweep as sweeps
from forgia.catalogue import Catalogue
from forgia.fit import Cost
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.quota.reservation import UNCOUNTED
from forgia.run import Journal, RunStatus, State, holder_of
from forgia.schedulers.slurm import SlurmScheduler
from forgia.sweep import Sweep
from forgia.sweeping import SweepPlan

PROGRAM = "sweep_point_program"
NODE_PROGRAM = """
import json, os, time
from pathlib import Path
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia.store import append_line

def main(run_dir):
    paths = RunPaths(Path(run_dir))
    home, attempt = paths.root.parent.parent, int(os.environ["FORGIA_ATTEMPT"])
    point = json.loads(paths.request.read_bytes())["params"]["point"]
    journal = Journal(paths)
    journal.record(State.RUNNING, by="job", attempt=attempt)
    descriptor = os.open(home / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{point} {attempt}\\n".encode())
    while (home / "hold").exists():
        time.sleep(0.05)
    if (home / f"fail-{point}").exists():
        journal.record(State.FAILED, by="job", attempt=attempt, reason="it was told to fail")
        return 1
    figures = {"validation": {"f1": point / 10}, "test": {"f1": point / 10}}
    append_line(paths.metrics, {"kind": "evaluation", "model": figures}, sync=False)
    journal.record(State.SUCCEEDED, by="job", attempt=attempt)
    return 0
"""
KILLED_CLIENT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from forgia import sweeping
from forgia.paths import HomePaths
import test_sweep_on_slurm as program

class Deadly(program.SlurmScheduler):
    def submit_array(self, array):
        super().submit_array(array)
        os.kill(os.getpid(), signal.SIGKILL)

home = HomePaths(Path(sys.argv[2]))
plan = program.make_sweep(home, Path(sys.argv[3]), points=int(sys.argv[4]))
sweeping.start(home, plan, lambda _: Deadly({}, home=home, program=program.PROGRAM))
"""


def make_sweep(home: HomePaths, root: Path, *, points: int, **fields: Any) -> SweepPlan:
    """Tiny tasks; each knows only its own point."""
    recipe = root / "recipe"
    recipe.mkdir(exist_ok=True)
    (recipe / "recipe.yaml").write_text("name: tiny\n")
    wanted = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
    request = {
        "schema_version": 1,
        "recipe": {"name": "tiny", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {},
        "resources": {**wanted, "walltime_s": 600},
        "environment": {"kind": "current"},
        "profile": {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "python": sys.executable},
    }
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    plans = tuple(
        Plan(request={**request, "params": {"point": point}}, inputs={}, recipe_root=recipe, origins={}, cost=cost)
        for point in range(points)
    )
    members = tuple(sweeping.member_of(home, plan, {"params.point": point}) for point, plan in enumerate(plans))
    made = Sweep(
        id=sweeping.sweep_id("tiny", members), recipe="tiny", version="1.0.0", profile="slurm-local",
        scheduler="slurm", primary="f1", is_lower_better=False, members=members, created="2026-11-23T10:00:00.000Z",
        array_size=1000, **fields,
    )  # fmt: skip
    return SweepPlan(sweep=made, plans=plans)


class Place:
    """One home, and what sends sweeps from it."""

    def __init__(self, home: HomePaths, root: Path) -> None:
        self.home, self.root = home, root

    def schedulers(self, _name: str) -> SlurmScheduler:
        return SlurmScheduler({}, home=self.home, program=PROGRAM)

    def start(self, **fields: Any) -> Sweep:
        return sweeping.start(self.home, make_sweep(self.home, self.root, **fields), self.schedulers)

    def follow(self, sweep: Sweep) -> list[RunStatus]:
        desk = sweeping.Desk(schedulers=self.schedulers, budget=UNCOUNTED)
        found = sweeping.follow(self.home, sweep, desk, sleep=time.sleep, clock=time.monotonic)
        return list(found)[-1]

    def tell(self, name: str, *, to: bool = True) -> None:
        """Put up a sign that the tasks look for, or take it away."""
        (self.home.root / name).touch() if to else (self.home.root / name).unlink()

    def ran(self) -> list[tuple[int, int]]:
        """Point and attempt of every program that began, by point."""
        lines = (self.home.root / "ran").read_text().splitlines() if (self.home.root / "ran").exists() else []
        return sorted((int(line.split()[0]), int(line.split()[1])) for line in lines)


@pytest.fixture
def place(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / f"{PROGRAM}.py").write_text(NODE_PROGRAM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(programs), os.environ["PYTHONPATH"]]))
    home.root.mkdir()
    return Place(home, tmp_path)


def until(condition: Callable[[], Any], timeout_s: float = 90) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def counted_calls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Count the calls of SLURM's programs from here on."""
    shims, log = folder / "shims", folder / "calls"
    shims.mkdir()
    log.touch()
    for name in ("sbatch", "squeue", "sacct", "scancel"):
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (shims / name).write_text(f'#!/bin/sh\necho {name} >> "{log}"\nexec "{real}" "$@"\n')
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(shims), os.environ["PATH"]]))
    return lambda: log.read_text().split()


@pytest.mark.slow
def test_eight_points_are_one_array_and_a_failed_one_is_sent_again_alone(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted_calls(tmp_path, monkeypatch)
    place.tell("fail-3")
    sweep = place.start(points=8, parallel=4)
    assert calls() == ["sbatch"]
    found = place.follow(sweep)
    assert [item.state for item in found] == [State.FAILED if n == 3 else State.SUCCEEDED for n in range(8)]
    assert found[3].reason == "it was told to fail"
    array = str(found[0].job_id).partition("_")[0]
    assert [holder_of(place.home.run(run_id), 1) for run_id in sweep.run_ids] == [f"{array}_{n}" for n in range(8)]
    assert [result.test for result in sweeps.results(place.home, sweep)] == [
        None if n == 3 else n / 10 for n in range(8)
    ]
    place.tell("fail-3", to=False)
    assert sweeping.retry(place.home, sweep, place.schedulers) == 1
    assert {item.state for item in place.follow(sweep)} == {State.SUCCEEDED}
    assert place.ran() == sorted([*((n, 1) for n in range(8)), (3, 2)])
    winner = sweeps.best(sweeps.results(place.home, sweep), is_lower_better=False)
    assert winner
    assert winner.values == {"params.point": 7}
    assert calls().count("sbatch") == 2
    log = (
        place.home.run(sweep.run_ids[3]).stderr(2, 0).read_text() + place.home.sweep(sweep.id).array(1).log.read_text()
    )
    assert "forgia:" not in log


@pytest.mark.slow
def test_a_client_killed_after_sbatch_has_its_array_found_and_nothing_doubled(place: Place) -> None:
    place.tell("hold")
    argv = [sys.executable, "-c", KILLED_CLIENT, str(Path(__file__).parent), str(place.home.root), str(place.root), "4"]
    client = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert client.returncode == -signal.SIGKILL, client.stderr
    (sweep_id,) = sweeps.sweep_ids(place.home)
    sweep = sweeps.load(place.home, sweep_id)
    assert len(sweep.members) == 4
    again = place.start(points=4)
    assert again.id == sweep_id
    found = [Journal(place.home.run(run_id)).status() for run_id in sweep.run_ids]
    assert {item.state for item in found} <= {State.PENDING, State.RUNNING}
    place.tell("hold", to=False)
    assert {item.state for item in place.follow(sweep)} == {State.SUCCEEDED}
    assert place.ran() == [(n, 1) for n in range(4)]


@pytest.mark.slow
def test_cancelling_a_sweep_is_one_call_and_reaches_what_runs_and_what_waits(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm_lab: SlurmLab
) -> None:
    place.tell("hold")
    sweep = place.start(points=6, parallel=2)
    until(lambda: len(place.ran()) == 2)
    calls = counted_calls(tmp_path, monkeypatch)
    found = sweeping.cancel(place.home, sweep, place.schedulers)
    assert {item.state for item in found} == {State.CANCELLED}
    assert calls().count("scancel") == 1
    assert calls().count("squeue") == 1
    until(lambda: not slurm_lab.run("squeue", "--me", "--noheader").strip())
    assert place.ran() == [(0, 1), (1, 1)]


@pytest.mark.slow
def test_a_requeued_task_goes_on_as_its_next_attempt_and_the_others_are_left_alone(
    place: Place, slurm_lab: SlurmLab
) -> None:
    place.tell("hold")
    sweep = place.start(points=2)
    until(lambda: len(place.ran()) == 2)
    last = str(Journal(place.home.run(sweep.run_ids[1])).status().job_id)
    slurm_lab.run("scontrol", "requeue", last)
    until(lambda: (1, 2) in place.ran())
    view = status.overview(place.home, place.schedulers, only=sweep.run_ids)
    assert {item.state for item in view.statuses} == {State.RUNNING}
    place.tell("hold", to=False)
    assert {item.state for item in place.follow(sweep)} == {State.SUCCEEDED}
    assert place.ran() == [(0, 1), (1, 1), (1, 2)]


@pytest.mark.slow
def test_three_trainings_are_swept_and_the_best_is_registered(
    tmp_path: Path, home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = samples.generate(Catalogue().generator("three-firms"), tmp_path / "exports")

    def forgia(*arguments: str | Path) -> str:
        argv = [sys.executable, "-m", "forgia_cli.main", *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=400)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    forgia("dataset", "add", "alfa", next(path for path in files if "alfa" in path.name))
    forgia("init", "mine", "--from", "predictive-maintenance", "--data", "alfa")
    over = ("--over", "learning_rate=0.002..0.02:3:log", "--set", "train.epochs=2")
    out = forgia("sweep", "--test", *over, "--parallel", "2", "--profile", "slurm-local")
    assert out.splitlines()[-1].startswith("mine@1.0.0  sha256:")
    shown = json.loads(forgia("sweep", "show", "last", "--json"))
    assert sorted(point["state"] for point in shown["points"]) == ["collected", "succeeded", "succeeded"]
    figures = [point["chosen_by"] for point in shown["points"]]
    assert shown["best"]["chosen_by"] == max(figures)
    assert [point["values"] for point in shown["points"]] == [
        {"train.learning_rate": rate} for rate in (0.002, 0.00632456, 0.02)
    ]
    assert forgia("model", "list").count("mine") == 1
