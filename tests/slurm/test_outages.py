"""Daemons away while jobs run: nothing hangs, nothing counts as lost, the exit code says that nobody could be asked.

The outages of a test last seconds; FORGIA_OUTAGE_S=60 makes them last a minute, as docs/log.md has it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lab_packages
import pytest
from lab import SlurmLab, free_port
from lab_faults import without_accounting, without_controller
from submitting_client import PROGRAM, make_plan

from forgia import submission
from forgia.paths import HomePaths
from forgia.run import Journal, RunStatus, State
from forgia.schedulers.slurm import SlurmScheduler

OUTAGE_S = float(os.environ.get("FORGIA_OUTAGE_S", "3"))
NODE_PROGRAM = """
import os, time
from pathlib import Path
from forgia.paths import RunPaths
from forgia.run import Journal, State

def main(run_dir):
    paths, attempt = RunPaths(Path(run_dir)), int(os.environ["FORGIA_ATTEMPT"])
    journal, hold = Journal(paths), paths.root.parent.parent / f"hold-{paths.root.name}"
    journal.record(State.RUNNING, by="job", attempt=attempt, job_id=os.environ["SLURM_JOB_ID"])
    while hold.exists():
        time.sleep(0.05)
    if (paths.root.parent.parent / "die").exists():
        os._exit(9)
    journal.record(State.SUCCEEDED, by="job", attempt=attempt)
"""
Forgia = Callable[..., Any]


class Runs:
    """Jobs of a home that last as long as we hold them."""

    def __init__(self, home: HomePaths, root: Path) -> None:
        self.home, self.root = home, root

    def start(self, seed: int) -> str:
        plan = make_plan(self.root, seed=seed)
        run_id = submission.new_run_id(plan, taken=())
        (self.home.root / f"hold-{run_id}").touch()
        schedulers = lambda _: SlurmScheduler({}, home=self.home, program=PROGRAM)  # noqa: E731
        submission.start(self.home, plan, schedulers)
        self.await_state(run_id, State.RUNNING)
        return run_id

    def let_go(self, run_id: str) -> None:
        (self.home.root / f"hold-{run_id}").unlink()

    def state(self, run_id: str) -> RunStatus:
        return Journal(self.home.run(run_id)).status()

    def await_state(self, run_id: str, wanted: State, timeout_s: float = 60) -> None:
        until(lambda: self.state(run_id).state is wanted, timeout_s)


def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.fixture
def runs(home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / f"{PROGRAM}.py").write_text(NODE_PROGRAM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(programs), os.environ["PYTHONPATH"]]))
    home.root.mkdir(mode=0o700)
    return Runs(home, tmp_path)


def states(forgia_command: Forgia) -> dict[str, str]:
    """What the list tells, asked again and again until SLURM has answered."""
    import json

    found = forgia_command("job", "list", "--json")
    assert found.exit_code in (0, 5), found.stderr
    return {run["run_id"]: run["state"] for run in json.loads(found.stdout)["runs"]}


def test_without_a_controller_states_keep_jobs_end_and_the_exit_code_is_5(
    runs: Runs, slurm_lab: SlurmLab, forgia_command: Forgia
) -> None:
    goes_on, ends = runs.start(1), runs.start(2)
    with without_controller(slurm_lab):
        begin = time.monotonic()
        listed = forgia_command("job", "list")
        assert listed.exit_code == 5 and "last known" in listed.stderr and listed.stdout.count("running") == 2
        runs.let_go(ends)
        runs.await_state(ends, State.SUCCEEDED)  # the job says so itself
        while time.monotonic() < begin + OUTAGE_S:
            assert states(forgia_command)[goes_on] == "running"
        cancelled = forgia_command("job", "cancel", goes_on)
        assert cancelled.exit_code == 5 and runs.state(goes_on).state is State.RUNNING
    assert forgia_command("job", "list").stdout.count("lost") == 0
    runs.let_go(goes_on)
    runs.await_state(goes_on, State.SUCCEEDED)
    sweep_completing(slurm_lab)


def sweep_completing(lab: SlurmLab) -> None:
    """SLURM takes a minute to hear of a job that ended while the controller was away; a power cut is quicker."""
    for node in set(lab.run("squeue", "--noheader", "--format=%N").split()):
        lab.cut_power(node)
        lab.restore_power(node)


def test_without_the_accounting_daemon_nothing_is_lost(runs: Runs, slurm_lab: SlurmLab, forgia_command: Forgia) -> None:
    goes_on, ends = runs.start(3), runs.start(4)
    with without_accounting(slurm_lab):
        begin = time.monotonic()
        runs.let_go(ends)
        runs.await_state(ends, State.SUCCEEDED)
        while time.monotonic() < begin + OUTAGE_S:
            listed = states(forgia_command)
            assert listed[goes_on] == "running" and listed[ends] == "succeeded"
    assert states(forgia_command)[goes_on] == "running"
    runs.let_go(goes_on)
    runs.await_state(goes_on, State.SUCCEEDED)


@pytest.fixture
def bare_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmLab]:
    """A cluster that keeps no accounts: sacct only says that it is disabled."""
    import pwd

    prefix = lab_packages.provide(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache")
    with tempfile.TemporaryDirectory(prefix="forgia-bare-", dir="/tmp") as folder:
        lab = SlurmLab(Path(folder) / "lab", port=free_port(2), nodes=2, accounting=False, prefix=prefix)
        lab.start()
        try:
            for key, value in lab.exports().items():
                monkeypatch.setenv(key, value)
            yield lab
        finally:
            lab.stop()


def test_on_a_cluster_without_accounting_every_end_is_told_right(
    runs: Runs, bare_lab: SlurmLab, forgia_command: Forgia
) -> None:
    ends, dies, is_cancelled = runs.start(5), runs.start(6), runs.start(7)
    runs.let_go(ends)
    runs.await_state(ends, State.SUCCEEDED)
    (runs.home.root / "die").touch()
    runs.let_go(dies)
    until(lambda: states(forgia_command)[dies] == "failed")
    assert forgia_command("job", "cancel", is_cancelled).exit_code == 0
    until(lambda: not bare_lab.run("squeue", "--noheader"))
    assert states(forgia_command) == {ends: "succeeded", dies: "failed", is_cancelled: "cancelled"}
    (runs.home.root / "die").unlink()
