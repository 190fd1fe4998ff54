"""Ray inside an allocation of a real SLURM: one node of it for each task, a notice that reaches the ranks, no trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab

from forgia.client import Client
from forgia.paths import HomePaths
from forgia.run import Journal, State

pytest.importorskip("ray")
SETS = (
    *("evaluate.gate=null", "evaluate.baseline=null", "train.strategy=ray", "train.patience=0", "train.epochs=900"),
    *("resources.nodes=2", "resources.tasks_per_node=1", "resources.cpus_per_task=1"),
)
PATIENCE_S = 180.0


def until(condition: Callable[[], Any], *, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def processes_of(job_id: str) -> list[Path]:
    """Every process of ray, and below it, that the job has."""
    wanted, found = (f"SLURM_JOB_ID={job_id}\0", "FORGIA_RAY_FOLDER="), []
    for process in Path("/proc").iterdir():
        try:
            text = (process / "environ").read_text(errors="replace") if process.name.isdecimal() else ""
        except OSError:
            continue
        found += [process] if all(word in text for word in wanted) else []
    return found


def folders_of(processes: list[Path]) -> set[Path]:
    words = {word for process in processes for word in (process / "environ").read_text(errors="replace").split("\0")}
    return {Path(word.partition("=")[2]) for word in words if word.startswith("FORGIA_RAY_FOLDER=")}


@pytest.mark.slow
def test_a_notice_to_every_process_of_two_nodes_ends_in_a_checkpoint(slurm_lab: SlurmLab, home: HomePaths) -> None:
    client = Client()
    plan = client.plan("predictive-maintenance", profile="slurm-local", sets=SETS, test=True)
    paths = home.run(client.start(plan).run_id)
    journal = Journal(paths)

    def told(event: str) -> dict[str, Any]:
        return next((line for line in journal.read() if line["event"] == event), {})

    assert until(lambda: told("running"), what=f"not running: {journal.read()}")["world_size"] == 2
    until(lambda: paths.metrics.exists() and paths.metrics.read_text().count('"step"') > 20, what="no steps")
    job_id = str(journal.status().job_id)
    folders = folders_of(processes_of(job_id))
    assert len(folders) == 2
    slurm_lab.run("scancel", "--signal=TERM", job_id)
    stopped = until(lambda: told("checkpointed"), what=f"no checkpoint: {journal.read()}")
    assert (stopped["signal"], stopped["step"] > 0) == ("SIGTERM", True)
    until(lambda: not processes_of(job_id), what="a process is left")
    assert not any(folder.exists() for folder in folders)
    until(lambda: client.scheduler("slurm").states([job_id])[job_id].word == "COMPLETED", what="the job goes on")
    assert journal.status().state is State.CHECKPOINTED
