"""Bad nodes, wrong worlds, shared nodes and packed environments, on a real SLURM."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab

from forgia import building, environment
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.schedulers import JobState
from forgia.schedulers.slurm import SlurmScheduler
from forgia.store import private_directory, write_json

PROGRAMS = {
    # A run whose only work is to look at its nodes; a file in its folder names the bad ones.
    "looking_program": """
        import json, pathlib
        from forgia.run import Journal, State
        from forgia.schedulers.payload import ANOTHER_ATTEMPT
        from forgia_jobs import attempt
        from forgia_jobs.meeting import preflight

        def main(folder):
            bad = json.loads(pathlib.Path(folder, "bad.json").read_text())
            preflight.CHECKS += (lambda asked: "its scratch is broken" if preflight.node_name() in bad else "",)
            def work(found):
                if found.world.leads:
                    found.journal.record(State.SUCCEEDED, by="job", attempt=found.number)
                return 0
            attempt.run = work
            return attempt.main(folder)
    """,
    # Ranks that meet, wait until the other job's have met too, and then add up numbers of their own job.
    "meeting_program": """
        import json, os, pathlib, time
        import torch
        from forgia.paths import RunPaths
        from forgia_jobs.meeting import placement, rendezvous

        def main(folder):
            paths, placed = RunPaths(pathlib.Path(folder)), placement.discover()
            world = rendezvous.join(placed, paths, device=torch.device("cpu"), nodes=2)
            number = json.loads((paths.root / "number.json").read_text())
            (paths.root / f"met-{world.rank}").touch()
            deadline = time.monotonic() + 60
            while len(list(paths.root.parent.glob("mill-*/met-*"))) < 4 and time.monotonic() < deadline:
                time.sleep(0.05)
            total = float(world.sum(torch.tensor([float(number)])))
            host = os.environ["SLURMD_NODENAME"]
            (paths.root / f"sum-{world.rank}.json").write_text(json.dumps([total, host]))
            rendezvous.leave(world)
    """,
}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]))


def until(condition: Callable[[], Any], paths: RunPaths, timeout_s: float = 240) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        logs = [f"{path}: {path.read_text()}" for path in paths.attempts.rglob("*") if path.is_file()]
        assert time.monotonic() < deadline, "\n".join([paths.journal.read_text(), *logs])
        time.sleep(0.2)
    return found


def request(nodes: int, *, tasks: int = 1, **changes: Any) -> dict[str, Any]:
    """As much of a request as the node's side reads before the training."""
    resources = {"nodes": nodes, "tasks_per_node": tasks, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
    profile = {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "python": sys.executable}
    facts = {"name": "mill", "version": "1.0.0", "digest": "sha256:0", "task": "task:Task"}
    rule = {"by": "group", "fractions": [0.7, 0.15, 0.15]}
    columns = {"numeric": [], "categorical": [], "target": "y"}
    return {
        "schema_version": 1,
        "recipe": facts,
        "data": {"mill": {"datasets": [], "columns": columns, "split": rule}},
        "params": {},
        "train": {},
        "evaluate": {"metrics": ["f1"], "primary": "f1"},
        "export": [],
        "resources": {**resources, "walltime_s": 600},
        "environment": {"kind": "current"},
        "profile": {**profile, "environment": {"OMP_NUM_THREADS": "1"}},
        **changes,
    }


def run_folder(home: HomePaths, run_id: str, wanted: dict[str, Any], **files: Any) -> RunPaths:
    paths = home.run(run_id)
    private_directory(paths.root)
    write_json(paths.request, wanted)
    for name, value in files.items():
        write_json(paths.root / f"{name}.json", value)
    return paths


def submit(home: HomePaths, paths: RunPaths, wanted: dict[str, Any], program: str) -> tuple[SlurmScheduler, str]:
    scheduler = SlurmScheduler(wanted["profile"], home=home, program=program)
    return scheduler, scheduler.submit(wanted, paths)


def ended(scheduler: SlurmScheduler, job_id: str) -> Any:
    view = scheduler.states([job_id])[job_id]
    return view if view.state is JobState.ENDED else None


def events(paths: RunPaths) -> list[dict[str, Any]]:
    return Journal(paths).read()


@pytest.mark.slow
def test_a_bad_node_is_named_left_out_and_the_job_goes_on_without_it(
    home: HomePaths, programs: None, slurm_lab: SlurmLab
) -> None:
    wanted = request(2, tasks=2)
    paths = run_folder(home, "mill-1", wanted, bad=["n1"])
    _, job_id = submit(home, paths, wanted, "looking_program")
    until(lambda: Journal(paths).status().state is State.SUCCEEDED, paths)
    stopped, running, note, _ = events(paths)
    assert (stopped["event"], stopped["attempt"], stopped["excluded"]) == ("checkpointed", 1, ["n1"])
    assert "preflight: node n1: its scratch is broken" in stopped["reason"]
    assert (running["event"], running["attempt"]) == ("running", 2)
    assert note["text"].startswith("preflight: all nodes are fit")
    assert note["preflight"]["bandwidth_gb_s"] > 0
    assert "ExcNodeList=n1" in slurm_lab.run("scontrol", "show", "job", job_id)


@pytest.mark.slow
def test_a_second_bad_node_ends_the_run_with_its_reason(home: HomePaths, programs: None) -> None:
    wanted = request(2)
    paths = run_folder(home, "mill-1", wanted, bad=["n1", "n2", "n3", "n4"])
    scheduler, job_id = submit(home, paths, wanted, "looking_program")
    until(lambda: ended(scheduler, job_id), paths)
    found = Journal(paths).status()
    assert (found.state, found.attempt) == (State.FAILED, 2)
    assert "node n3: its scratch is broken" in found.reason
    assert "node n1" not in found.reason


def test_a_wrong_number_of_processes_is_an_error_at_once(home: HomePaths, programs: None) -> None:
    wanted = request(2)
    paths = run_folder(home, "mill-1", {**wanted, "resources": {**wanted["resources"], "nodes": 3}}, bad=[])
    scheduler, job_id = submit(home, paths, wanted, "looking_program")
    until(lambda: ended(scheduler, job_id), paths, timeout_s=60)
    found = Journal(paths).status()
    assert found.state is State.FAILED
    assert "2 process(es) were launched together" in found.reason


@pytest.mark.slow
def test_two_jobs_on_the_same_nodes_at_once_meet_apart(home: HomePaths, programs: None) -> None:
    wanted = request(2)
    wanted["profile"]["extra_sbatch"] = {"nodelist": "n1,n2"}
    jobs = []
    for number in (1, 10):
        paths = run_folder(home, f"mill-{number}", wanted, number=number)
        jobs.append((paths, number, *submit(home, paths, wanted, "meeting_program")))
    for paths, number, scheduler, job_id in jobs:
        assert until(lambda s=scheduler, j=job_id: ended(s, j), paths).word == "COMPLETED"
        sums = [json.loads((paths.root / f"sum-{rank}.json").read_text()) for rank in range(2)]
        assert sums == [[2.0 * number, "n1"], [2.0 * number, "n2"]]


@pytest.mark.slow
def test_every_rank_of_a_job_runs_in_the_packed_environment(home: HomePaths, tmp_path: Path) -> None:
    recipe, node = tmp_path / "recipe", tmp_path / "node"
    for folder in (recipe, node):
        folder.mkdir()
    (recipe / "requirements.txt").write_text("submitit==1.5.4\ncloudpickle==3.1.1\ntyping_extensions==4.12.2\n")
    section = environment.requested("requirements.txt", root=recipe, python=None)
    building.build(home, section, root=recipe, python=None, tell=print)
    wanted = request(2, tasks=2, environment=section)
    wanted["profile"]["environment"] = {"TMPDIR": str(node)}
    paths = run_folder(home, "mill-1", wanted)
    environment.pin(paths, wanted, home=home)
    # No program of a test is in the environment; that this one has no main is told with the environment's own paths.
    scheduler, job_id = submit(home, paths, wanted, "this")
    view = until(lambda: ended(scheduler, job_id), paths)
    complaints = [paths.stderr(1, rank).read_text() for rank in range(4)]
    assert sum("unpacked in" in text for text in complaints) == 1, complaints
    assert all(f"{node}/forgia-{os.getuid()}" in text for text in complaints if "Traceback" in text), complaints
    assert all("module 'this' has no attribute 'main'" in text for text in complaints)
    assert view.word == "FAILED"
