"""Why a run stands where it stands, when SLURM knows: each failure made to happen on a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab import SlurmLab

from forgia import causes
from forgia.causes import Explanation
from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.schedulers.slurm import SlurmScheduler
from forgia.store import private_directory, write_json

PROGRAM = "failing_program"
SOURCE = """
import json, os, signal, time
from pathlib import Path
from forgia.paths import RunPaths
from forgia.run import Journal, State

def main(run_dir):
    paths, rank = RunPaths(Path(run_dir)), int(os.environ["SLURM_PROCID"])
    order = json.loads((paths.root / "order.json").read_text())
    if rank == 0:
        job = os.environ["SLURM_JOB_ID"]
        Journal(paths).record(State.RUNNING, by="job", attempt=int(os.environ["FORGIA_ATTEMPT"]), job_id=job)
    if rank == order.get("killed_rank"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "killed_rank" in order:
        time.sleep(1)
        return 1
    signal.pause()
"""


@pytest.fixture
def scheduler(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmScheduler:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / f"{PROGRAM}.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(programs), os.environ["PYTHONPATH"]]))
    return SlurmScheduler({}, home=home, program=PROGRAM)


@pytest.fixture
def why(home: HomePaths, scheduler: SlurmScheduler) -> Callable[..., Explanation]:
    return lambda run_id="mill-1": causes.explain(home, run_id, lambda _: scheduler)


Why = Callable[..., Explanation]


def send(scheduler: SlurmScheduler, run_id: str = "mill-1", *, nodes: int = 1, **profile: Any) -> RunPaths:
    """Submit a run as the library does; ``order``: what its program is to do."""
    paths = scheduler.home.run(run_id)
    private_directory(paths.root)
    order = profile.pop("order", {})
    wanted = {"nodes": nodes, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
    chosen = {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "python": sys.executable, **profile}
    request = {"recipe": {"name": "mill"}, "resources": {**wanted, "walltime_s": 600}, "profile": chosen}
    write_json(paths.request, request)
    write_json(paths.root / "order.json", order)
    journal = Journal(paths)
    journal.record(State.SUBMITTING, by="submitter", attempt=1, scheduler="slurm", profile="slurm-local")
    try:
        job_id = scheduler.submit(request, paths)
    except ClusterError as error:
        journal.record(State.FAILED, by="submitter", attempt=1, reason=f"the scheduler refused it: {error.message}")
    else:
        journal.record(State.PENDING, by="submitter", attempt=1, job_id=job_id)
    return paths


def until(condition: Callable[[], Any], timeout_s: float = 120) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def job_of(paths: RunPaths) -> str:
    return str(Journal(paths).status().job_id)


def running(paths: RunPaths) -> str:
    """The job, once it runs."""
    until(lambda: Journal(paths).status().state is State.RUNNING)
    return job_of(paths)


def ended(why: Why) -> Explanation:
    """The explanation, once the run has failed."""
    return until(lambda: found if (found := why()).state in ("failed", "cancelled") else None)  # type: ignore[no-any-return]


@contextmanager
def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """SLURM's commands write their names into a file before they run."""
    shims, calls = private_directory(folder / "shims"), folder / "calls"
    calls.touch()
    for name in ("squeue", "sacct", "scontrol"):
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (shims / name).write_text(f'#!/bin/sh\necho {name} >> "{calls}"\nexec "{real}" "$@"\n')
        (shims / name).chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(shims), os.environ["PATH"]]))
        yield calls


def test_an_account_that_is_none_is_told_with_the_command_that_lists_them(scheduler: SlurmScheduler, why: Why) -> None:
    send(scheduler, account="nobody")
    found = why()
    assert found.cause == "bad-account"
    assert "'nobody'" in found.sentence
    assert "sacctmgr show assoc" in found.next


def test_of_two_nodes_the_one_whose_rank_was_killed_is_named(scheduler: SlurmScheduler, why: Why) -> None:
    paths = send(scheduler, nodes=2, order={"killed_rank": 1})
    found = ended(why)
    assert (found.cause, found.rank) == ("killed", 1)
    assert found.node in ("n2", "n3", "n4", os.uname().nodename)
    assert any(line.file == str(paths.batch_log(1)) and "task 1: Killed" in line.text for line in found.evidence)


def test_a_limit_of_the_qos_is_told_and_a_running_run_says_where_it_runs(
    scheduler: SlurmScheduler, why: Why, slurm_lab: SlurmLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = slurm_lab.layout.user
    slurm_lab.run("sacctmgr", "-iQ", "add", "qos", "tiny", "MaxJobsPerUser=1")
    slurm_lab.run("sacctmgr", "-iQ", "modify", "user", user, "set", "qos+=tiny")
    try:
        first = send(scheduler, qos="tiny")
        running(first)
        second = send(scheduler, "mill-2", qos="tiny")
        until(lambda: why("mill-2").cause == "held-by-limit")
        with counted(tmp_path, monkeypatch) as calls:
            waits, runs = why("mill-2"), why("mill-1")
            assert calls.read_text().split() == ["squeue", "sacct", "squeue"]
        assert "as many jobs as the QOS gives one user" in waits.sentence
        assert "QOSMaxJobsPerUserLimit" in waits.evidence[0].text
        assert runs.cause == "running"
        assert runs.node.startswith("n")
        scheduler.cancel([job_of(first), job_of(second)])
        until(lambda: not slurm_lab.run("squeue", "--noheader"))
    finally:
        slurm_lab.cancel_all()
        slurm_lab.run("sacctmgr", "-iQ", "modify", "user", user, "set", "qos-=tiny")
        slurm_lab.run("sacctmgr", "-iQ", "delete", "qos", "tiny")


def test_a_job_that_is_held_is_told_with_the_command_that_lets_it_go(
    scheduler: SlurmScheduler, why: Why, slurm_lab: SlurmLab
) -> None:
    paths = send(scheduler, extra_sbatch={"hold": True})
    found = why()
    assert (found.cause, found.next) == ("held", f"scontrol release {job_of(paths)}")


def test_a_job_cancelled_by_hand_names_who_did_it(scheduler: SlurmScheduler, why: Why, slurm_lab: SlurmLab) -> None:
    job_id = running(send(scheduler))
    slurm_lab.run("scancel", job_id)
    found = until(lambda: told if (told := ended(why)).is_clear else None)  # the accounting lags
    assert found.cause == "cancelled"
    assert slurm_lab.layout.user in found.sentence


@pytest.mark.slow
def test_a_time_limit_is_told_and_no_rank_is_blamed(scheduler: SlurmScheduler, why: Why, slurm_lab: SlurmLab) -> None:
    job_id = running(send(scheduler, extra_sbatch={"nodelist": "n1"}))
    slurm_lab.run("scontrol", "update", f"jobid={job_id}", "EndTime=now+2")
    found = ended(why)
    assert (found.cause, found.rank) == ("time-limit", None)
    assert "00:10:00" in found.sentence


@pytest.mark.slow
def test_a_node_that_lost_power_and_a_job_of_higher_priority_are_told_while_the_run_waits_again(
    scheduler: SlurmScheduler, why: Why, slurm_lab: SlurmLab
) -> None:
    lost = send(scheduler, "mill-1", extra_sbatch={"nodelist": "n3"})
    displaced = send(scheduler, "mill-2", partition="low", extra_sbatch={"nodelist": "n2", "exclusive": True})
    running(lost), running(displaced)
    slurm_lab.run("sbatch", "--exclusive", "--nodelist=n2", "--output=/dev/null", "--wrap", "sleep 60")
    slurm_lab.cut_power("n3")
    try:
        failed = until(lambda: found if (found := why("mill-1")).cause == "node-failure" else None)
        assert "a node failed under it, so it is back in the queue" in failed.sentence
        preempted = until(lambda: found if (found := why("mill-2")).cause == "preempted" else None)
        assert "another job took its place" in preempted.sentence
        assert any("PREEMPTED" in line.text for line in preempted.evidence)
    finally:
        scheduler.cancel([job_of(lost), job_of(displaced)])
        slurm_lab.restore_power("n3")


def test_an_environment_that_cannot_be_read_is_told(scheduler: SlurmScheduler, why: Why) -> None:
    send(scheduler, python="/nowhere/python")
    found = ended(why)
    assert found.cause == "environment"
    assert "/nowhere/python" in json.dumps(found.to_json())
