"""The local scheduler when things go wrong: killed controllers, failing set-up, numbers given out again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import JobState
from forgia.schedulers.local import LocalScheduler
from forgia.store import private_directory

PROGRAM = "patient_program"


@pytest.fixture
def scheduler(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalScheduler]:
    place = tmp_path / "programs"
    place.mkdir()
    text = "import pathlib, signal\ndef main(run_dir):\n    pathlib.Path(run_dir, 'up').touch()\n    signal.pause()\n"
    (place / f"{PROGRAM}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), os.environ["PYTHONPATH"]]))
    scheduler = LocalScheduler({}, home=home, program=PROGRAM)
    yield scheduler
    job_ids = list(scheduler.find(["mill-1"]).values())
    scheduler.cancel(job_ids)
    until(lambda: all(view.state is JobState.ENDED for view in scheduler.states(job_ids).values()))


@pytest.fixture
def paths(home: HomePaths) -> RunPaths:
    paths = home.run("mill-1")
    private_directory(paths.root)
    return paths


def request(**profile: Any) -> dict[str, Any]:
    wanted = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 60}
    return {"resources": wanted, "profile": {"name": "laptop", "python": sys.executable, **profile}}


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_tasks_of_a_killed_controller_are_seen_and_can_be_cancelled(scheduler: LocalScheduler, paths: RunPaths) -> None:
    job_id = scheduler.submit(request(), paths)
    until((paths.root / "up").exists)
    os.kill(int(job_id.partition("-")[0]), signal.SIGKILL)
    view = until(lambda: (found := scheduler.states([job_id])[job_id]).word == "ORPHANED" and found)
    assert view.state is JobState.RUNNING
    scheduler.cancel([job_id])
    view = until(lambda: (found := scheduler.states([job_id])[job_id]).state is JobState.ENDED and found)
    assert "without a word" in view.reason


def test_a_cancelled_job_ends_by_the_signal_it_was_sent(scheduler: LocalScheduler, paths: RunPaths) -> None:
    job_id = scheduler.submit(request(), paths)
    until((paths.root / "up").exists)
    scheduler.cancel([job_id])
    view = until(lambda: (found := scheduler.states([job_id])[job_id]).state is JobState.ENDED and found)
    assert (view.word, view.reason) == ("CANCELLED", "it was cancelled")


def test_a_setup_line_that_fails_ends_the_job_and_is_named_in_its_log(
    scheduler: LocalScheduler, paths: RunPaths
) -> None:
    job_id = scheduler.submit(request(setup=["sleep 0.2", "false"]), paths)
    until(lambda: scheduler.states([job_id])[job_id].state is JobState.ENDED)
    assert "of the batch script failed: false" in (paths.attempt(1) / "batch.log").read_text()
    assert not (paths.root / "up").exists()


def test_a_process_number_given_out_again_is_not_the_job(scheduler: LocalScheduler) -> None:
    stranger = f"{os.getpid()}-1"
    assert scheduler.states([stranger])[stranger].state is JobState.UNKNOWN
    scheduler.cancel([stranger])


def test_asking_for_jobs_does_not_import_submitit() -> None:
    code = (
        "import sys; from pathlib import Path; from forgia.paths import HomePaths; from forgia.schedulers import *\n"
        "from forgia.schedulers import open_scheduler\n"
        "open_scheduler('local', home=HomePaths(Path('/nowhere'))).states(['1-1'])\n"
        "open_scheduler('slurm', home=HomePaths(Path('/nowhere'))).states([])\n"
        "print([name for name in ('submitit', 'cloudpickle', 'numpy', 'pydantic', 'yaml') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
