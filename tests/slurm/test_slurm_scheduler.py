"""What only a real SLURM can show: its refusals, its requeues, its lost nodes, its silence."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import SlurmLab
from lab_faults import frozen

from forgia.errors import ClusterError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import JobState, JobView
from forgia.schedulers.slurm import SlurmScheduler
from forgia.store import private_directory

PROGRAM = "lasting_program"


@pytest.fixture
def scheduler(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmScheduler:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / f"{PROGRAM}.py").write_text("import signal\ndef main(run_dir):\n    signal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(programs), os.environ["PYTHONPATH"]]))
    return SlurmScheduler({}, home=home, program=PROGRAM)


def request(resources: dict[str, Any] | None = None, **profile: Any) -> dict[str, Any]:
    wanted = {
        "nodes": 1,
        "tasks_per_node": 1,
        "gpus_per_node": 0,
        "cpus_per_task": 1,
        "memory_gb": 1,
        "walltime_s": 600,
    }
    chosen = {"name": "slurm-local", "partition": "main", "gpu": {"type": "fake"}, "python": sys.executable, **profile}
    return {"resources": {**wanted, **(resources or {})}, "profile": chosen}


def run_folder(home: HomePaths, run_id: str = "mill-1") -> RunPaths:
    paths = home.run(run_id)
    private_directory(paths.root)
    return paths


def until(condition: Callable[[], Any], timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def running(scheduler: SlurmScheduler, job_id: str) -> JobView | None:
    view = scheduler.states([job_id])[job_id]
    assert view.state is not JobState.ENDED, view
    return view if view.state is JobState.RUNNING else None


@pytest.mark.parametrize(
    ("resources", "profile", "words"),
    [
        ({}, {"account": "nobody"}, "sacctmgr show assoc"),
        ({}, {"partition": "nowhere"}, "sinfo --summarize"),
        ({}, {"qos": "golden"}, "choose a QOS"),
        ({"walltime_s": 40 * 86400}, {}, "resources.walltime"),
        ({"memory_gb": 900}, {}, "resources.memory_gb"),
        ({"gpus_per_node": 9}, {}, "so many cores or GPUs"),
        ({"cpus_per_task": 900}, {}, "so many cores or GPUs"),
        ({"gpus_per_node": 1}, {"gpu": {"type": "h900"}}, "so many cores or GPUs"),
    ],
)
def test_a_refusal_says_what_to_change(
    scheduler: SlurmScheduler, home: HomePaths, resources: dict[str, Any], profile: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClusterError) as caught:
        scheduler.submit(request(resources, **profile), run_folder(home))
    assert words in (caught.value.hint or "")
    assert not caught.value.transient
    left = scheduler.states(list(scheduler.find(["mill-1"]).values()))  # SLURM keeps a record of some refused jobs
    assert {view.state for view in left.values()} <= {JobState.ENDED}


def test_gpus_and_cores_arrive_in_every_request_style(
    scheduler: SlurmScheduler, home: HomePaths, slurm_lab: SlurmLab
) -> None:
    for style in ("gres", "gpus-per-node", "gpus"):
        paths = run_folder(home, f"mill-{style}")
        wanted = request({"nodes": 2, "gpus_per_node": 2}, gpu={"type": "fake", "request_style": style})
        job_id = scheduler.submit(wanted, paths)
        until(lambda job_id=job_id: running(scheduler, job_id))
        tres = slurm_lab.run("squeue", "-h", "-j", job_id, "-O", "tres-alloc:200")
        assert "gres/gpu=4" in tres
        scheduler.cancel([job_id])


def test_a_requeued_job_never_looks_ended(scheduler: SlurmScheduler, home: HomePaths, slurm_lab: SlurmLab) -> None:
    job_id = scheduler.submit(request(), run_folder(home))
    until(lambda: running(scheduler, job_id))
    slurm_lab.run("scontrol", "requeue", job_id)
    for _ in range(15):
        assert running(scheduler, job_id) or scheduler.states([job_id])[job_id].state is JobState.PENDING
        time.sleep(0.2)
    assert scheduler.find(["mill-1"]) == {"mill-1": job_id}


def test_a_job_on_a_node_that_lost_power_goes_back_to_the_queue(
    scheduler: SlurmScheduler, home: HomePaths, slurm_lab: SlurmLab
) -> None:
    job_id = scheduler.submit(request(extra_sbatch={"nodelist": "n3"}), run_folder(home))
    until(lambda: running(scheduler, job_id))
    slurm_lab.cut_power("n3")
    try:
        view = until(lambda: not running(scheduler, job_id) and scheduler.states([job_id])[job_id])
        assert view.state is JobState.PENDING
    finally:
        scheduler.cancel([job_id])
        slurm_lab.restore_power("n3")


def test_a_cancelled_job_says_so(scheduler: SlurmScheduler, home: HomePaths) -> None:
    job_id = scheduler.submit(request(), run_folder(home))
    until(lambda: running(scheduler, job_id))
    scheduler.cancel([job_id])
    view = until(lambda: ended(scheduler, job_id))
    assert view.word.startswith("CANCELLED")
    assert view.reason == "it was cancelled"


def ended(scheduler: SlurmScheduler, job_id: str) -> JobView | None:
    view = scheduler.states([job_id])[job_id]
    return view if view.state is JobState.ENDED else None


def test_a_waiting_job_says_why(scheduler: SlurmScheduler, home: HomePaths) -> None:
    job_id = scheduler.submit(request(extra_sbatch={"begin": "now+1hour"}), run_folder(home))
    view = until(lambda: scheduler.states([job_id])[job_id])
    assert (view.state, view.word) == (JobState.PENDING, "PENDING")
    assert view.reason


@pytest.mark.slow
def test_a_submission_whose_answer_is_lost_is_found_and_not_repeated(
    scheduler: SlurmScheduler, home: HomePaths, slurm_lab: SlurmLab
) -> None:
    with frozen(slurm_lab):
        with pytest.raises(ClusterError) as caught:
            scheduler.submit(request(), run_folder(home))
        with pytest.raises(ClusterError) as silent:
            scheduler.find(["mill-1"])
    assert caught.value.transient
    assert "may have been accepted" in (caught.value.hint or "")
    assert silent.value.transient
    job_id = until(lambda: scheduler.find(["mill-1"]).get("mill-1"))
    until(lambda: running(scheduler, job_id))


def test_any_number_of_jobs_costs_one_query_a_source(
    scheduler: SlurmScheduler, home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_ids = [scheduler.submit(request(), run_folder(home, f"mill-{index}")) for index in range(3)]
    scheduler.cancel(job_ids[:1])
    until(lambda: ended(scheduler, job_ids[0]))
    calls = counted(("squeue", "sacct", "scancel"), tmp_path, monkeypatch)
    scheduler.states([*job_ids, "123456"])
    assert sorted(calls.read_text().split()) == ["sacct", "squeue"]
    calls.write_text("")
    scheduler.find([*(f"mill-{index}" for index in range(3)), "other"])
    assert sorted(calls.read_text().split()) == ["sacct", "squeue"]
    calls.write_text("")
    scheduler.cancel(job_ids)
    assert calls.read_text().split() == ["scancel"]


def counted(programs: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs before SLURM's own that write their name into a file, then run the real ones."""
    shims, log = folder / "shims", folder / "calls"
    shims.mkdir()
    log.touch()
    for name in programs:
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (shims / name).write_text(f'#!/bin/sh\necho {name} >> "{log}"\nexec "{real}" "$@"\n')
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(shims), os.environ["PATH"]]))
    return log


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=60))
def test_sbatch_reads_back_every_text_as_it_was_given(tmp_path: Path, slurm_lab: SlurmLab, text: str) -> None:
    from forgia.schedulers import slurm_script

    if slurm_script.swallowed({"comment": text}):
        return
    script = tmp_path / "job.sh"
    line = slurm_script.flag_line("comment", text)
    script.write_text(f"#!/bin/bash\n{line}\n#SBATCH --hold\n#SBATCH --output=/dev/null\ntrue\n")
    job_id = slurm_lab.run("sbatch", "--parsable", str(script)).strip()
    assert slurm_lab.run("squeue", "-h", "-j", job_id, "-o", "%k").removesuffix("\n") == text
