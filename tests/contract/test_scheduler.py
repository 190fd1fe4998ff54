"""The contract of every scheduler: one suite over the fake, this machine, and a real SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import JobState, JobView, Scheduler, open_scheduler
from forgia.schedulers.local import LocalScheduler
from forgia.schedulers.protocol import Array, member_id
from forgia.schedulers.slurm import SlurmScheduler
from forgia.store import private_directory, write_json
from forgia.testing import FakeScheduler

HERE = Path(__file__).parent
PROGRAM = "scheduler_contract_program"
KINDS = ("fake", "local", pytest.param("slurm", marks=pytest.mark.slurm))
PROFILES: dict[str, dict[str, Any]] = {
    "fake": {"name": "fake", "scheduler": "fake"},
    "local": {"name": "laptop", "scheduler": "local"},
    "slurm": {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "gpu": {"type": "fake"}},
}


@dataclass
class Case:
    """One scheduler, and the little that differs in how a test drives it."""

    kind: str
    home: HomePaths
    scheduler: Scheduler
    started: list[str] = field(default_factory=list)

    def request(self, **resources: int) -> dict[str, Any]:
        wanted = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
        profile = {**PROFILES[self.kind], "python": sys.executable}
        return {"resources": {**wanted, "walltime_s": 600, **resources}, "profile": profile}

    def run_folder(self, run_id: str = "mill-1", **order: Any) -> RunPaths:
        paths = self.home.run(run_id)
        private_directory(paths.root)
        write_json(paths.root / "order.json", {"exit_codes": [0], **order})
        return paths

    def submit(self, paths: RunPaths, request: dict[str, Any] | None = None, **options: int) -> str:
        job_id = self.scheduler.submit(request or self.request(), paths, **options)
        self.started.append(job_id)
        return job_id

    def await_state(self, job_id: str, wanted: JobState, *, paths: RunPaths | None = None) -> JobView:
        """Wait for a state; the fake is told to reach it. No state on the way may contradict it."""
        if isinstance(self.scheduler, FakeScheduler):
            order = json.loads((paths.root / "order.json").read_text()) if paths else {"exit_codes": [0]}
            if wanted is JobState.RUNNING:
                self.scheduler.start(job_id)
            elif self.scheduler.states([job_id])[job_id].state is not JobState.ENDED:
                self.scheduler.end(job_id, exit_code=order["exit_codes"][-1])
        return await_condition(lambda: self.view_if(job_id, wanted), what=f"{job_id} to be {wanted}", log=paths)

    def view_if(self, job_id: str, wanted: JobState) -> JobView | None:
        view = self.scheduler.states([job_id])[job_id]
        assert wanted is JobState.ENDED or view.state is not JobState.ENDED, view
        return view if view.state is wanted else None


def await_condition(
    condition: Callable[[], Any], *, what: str, log: RunPaths | None = None, timeout_s: float = 60
) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            files = sorted(log.attempts.rglob("*")) if log else []
            texts = [f"{path}: {path.read_text()}" for path in files if path.is_file()]
            pytest.fail("\n".join([f"waited {timeout_s:.0f} s for {what}", *texts]))
        time.sleep(0.05)
    return found


@pytest.fixture(params=KINDS)
def case(
    request: pytest.FixtureRequest, home: HomePaths, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> Iterator[Case]:
    kind = str(request.param)
    root = HERE.parents[1]
    places = [HERE / "programs", *(root / place for place in ("src", "cli", "jobs"))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
    lab = None
    if kind == "slurm":
        monkeypatch.syspath_prepend(str(root / "tests/slurm"))
        import lab_session

        lab = lab_session.shared_lab(pytestconfig)
        for key, value in lab.exports().items():
            monkeypatch.setenv(key, value)
    made: dict[str, Callable[[], Scheduler]] = {
        "fake": lambda: FakeScheduler(home=home),
        "local": lambda: LocalScheduler(PROFILES["local"], home=home, program=PROGRAM),
        "slurm": lambda: SlurmScheduler(PROFILES["slurm"], home=home, program=PROGRAM),
    }
    case = Case(kind, home, made[kind]())
    yield case
    case.scheduler.cancel(case.started)
    if lab:
        lab.cancel_all()
    for job_id in case.started if kind == "local" else []:
        await_condition(lambda job_id=job_id: case.view_if(job_id, JobState.ENDED), what=f"{job_id} to be swept")


def test_a_submitted_job_is_known_until_it_has_ended(case: Case) -> None:
    paths = case.run_folder(wait_for="go")
    job_id = case.submit(paths)
    assert job_id
    case.await_state(job_id, JobState.RUNNING, paths=paths)
    (paths.root / "go").touch()
    view = case.await_state(job_id, JobState.ENDED, paths=paths)
    assert view.job_id == job_id
    assert view.reason == ""


def test_the_exit_code_of_the_program_is_told(case: Case) -> None:
    paths = case.run_folder(exit_codes=[3])
    job_id = case.submit(paths)
    case.await_state(job_id, JobState.ENDED, paths=paths)
    view = await_condition(lambda: has_exit(case.scheduler.states([job_id])[job_id]), what="the exit code")
    assert view.exit_code == 3


def has_exit(view: JobView) -> JobView | None:
    return view if view.exit_code is not None else None


def test_a_job_nobody_submitted_is_unknown_and_never_ended(case: Case) -> None:
    strange = ["999999999", "4000000-123", "", "not an id", "1;rm -rf x"]
    assert {view.state for view in case.scheduler.states(strange).values()} == {JobState.UNKNOWN}
    assert set(case.scheduler.states(strange)) == set(strange)
    assert case.scheduler.states([]) == {}


def test_a_job_is_found_by_its_run_as_after_a_crash_of_the_client(case: Case) -> None:
    paths = case.run_folder("mill-1", wait_for="never")
    job_id = case.submit(paths)
    assert case.scheduler.find(["mill-1", "mill-2", "mill"]) == {"mill-1": job_id}
    assert case.scheduler.find([]) == {}


def test_a_job_that_has_ended_is_still_found(case: Case) -> None:
    paths = case.run_folder()
    job_id = case.submit(paths)
    case.await_state(job_id, JobState.ENDED, paths=paths)
    assert case.scheduler.find(["mill-1"]) == {"mill-1": job_id}


def test_of_two_attempts_the_newer_is_found(case: Case) -> None:
    paths = case.run_folder()
    first = case.submit(paths)
    case.await_state(first, JobState.ENDED, paths=paths)
    second = case.submit(paths, attempt=2)
    assert second != first
    assert case.scheduler.find(["mill-1"]) == {"mill-1": second}
    assert case.scheduler.find(["mill-1"], attempts={"mill-1": 1}) == {"mill-1": first}
    assert case.scheduler.find(["mill-1"], attempts={"mill-1": 3}) == {}


def test_cancelling_many_is_one_call_and_can_be_repeated(case: Case) -> None:
    runs = [case.run_folder(f"mill-{index}", wait_for="never") for index in range(2)]
    job_ids = [case.submit(paths) for paths in runs]
    for _ in range(2):
        case.scheduler.cancel([*job_ids, "999999999", "not an id"])
    for job_id in job_ids:
        case.await_state(job_id, JobState.ENDED)
    case.scheduler.cancel(job_ids)
    assert {view.state for view in case.scheduler.states(job_ids).values()} == {JobState.ENDED}
    case.scheduler.cancel([])


def test_one_job_is_explained_as_it_waits_runs_and_ends(case: Case) -> None:
    paths = case.run_folder(wait_for="go", exit_codes=[3])
    job_id = case.submit(paths)
    case.await_state(job_id, JobState.RUNNING, paths=paths)
    running = case.scheduler.explain(job_id)
    assert (running.view.job_id, running.view.state, running.waiting) == (job_id, JobState.RUNNING, "")
    (paths.root / "go").touch()
    case.await_state(job_id, JobState.ENDED, paths=paths)
    ended = await_condition(lambda: has_exit(case.scheduler.explain(job_id).view), what="the exit code")
    assert (ended.state, ended.exit_code) == (JobState.ENDED, 3)
    for strange in ("999999999", "4000000-123", "", "not an id", "1;rm -rf x"):
        assert case.scheduler.explain(strange).view.state is JobState.UNKNOWN


def test_what_is_rendered_is_what_runs(case: Case) -> None:
    paths = case.run_folder()
    request = case.request(tasks_per_node=2)
    text = case.scheduler.render(request, paths)
    assert text == case.scheduler.render(request, paths), "the same request gives the same bytes"
    assert not paths.submission.exists(), "rendering touches nothing"
    if case.kind == "fake":
        return
    job_id = case.submit(paths, request)
    case.await_state(job_id, JobState.ENDED, paths=paths)
    assert (paths.submission / "job-1.sh").read_text() == text
    assert [f"rank {rank} of attempt 1" in paths.stdout(1, rank).read_text() for rank in range(2)] == [True, True]


@pytest.mark.parametrize(
    "name", ["with space", "l'età dell'acqua", 'quo"te', "$(touch hurt)", "`touch hurt`", "a;touch hurt;#&"]
)
def test_a_home_with_a_hostile_name_is_only_a_name(case: Case, name: str) -> None:
    case.home = HomePaths(case.home.root / name)
    case.scheduler.home = case.home  # type: ignore[attr-defined]
    paths = case.run_folder()
    job_id = case.submit(paths)
    view = case.await_state(job_id, JobState.ENDED, paths=paths)
    assert list(case.home.root.parent.parent.rglob("hurt")) == []
    if case.kind != "fake":
        assert view.word == "COMPLETED"
        assert "rank 0 of attempt 1" in paths.stdout(1, 0).read_text()


def test_logs_and_pickles_are_private(case: Case) -> None:
    paths = case.run_folder()
    case.await_state(case.submit(paths), JobState.ENDED, paths=paths)
    assert [oct(path.stat().st_mode) for path in paths.root.rglob("*") if path.stat().st_mode & 0o077] == []


def test_a_known_name_opens_its_scheduler(case: Case) -> None:
    assert open_scheduler(case.kind, PROFILES[case.kind], home=case.home).name == case.kind


# Arrays: many runs as one job


def array_of(case: Case, runs: Sequence[RunPaths], *, parallel: int | None = None, **options: Any) -> Array:
    return Array(
        sweep_id="mill-sweep-1",
        number=options.get("number", 1),
        paths=case.home.sweep("mill-sweep-1").array(options.get("number", 1)),
        request=case.request(),
        members=[(paths, options.get("attempt", 1)) for paths in runs],
        parallel=parallel,
    )


def submit_array(case: Case, runs: Sequence[RunPaths], **options: Any) -> list[str]:
    job_id = case.scheduler.submit_array(array_of(case, runs, **options))
    found = [member_id(job_id, index) for index in range(len(runs))]
    case.started += found
    return found


def test_every_run_of_an_array_does_its_own_work_in_its_own_folder(case: Case) -> None:
    runs = [case.run_folder(f"mill-{index}", exit_codes=[3 if index == 1 else 0]) for index in range(3)]
    job_ids = submit_array(case, runs, parallel=2)
    for job_id, paths in zip(job_ids, runs, strict=True):
        view = case.await_state(job_id, JobState.ENDED, paths=paths)
        assert view.job_id == job_id
        assert view.run_id in ("", paths.root.name)
    assert case.scheduler.find([paths.root.name for paths in runs]) == {
        paths.root.name: job_id for paths, job_id in zip(runs, job_ids, strict=True)
    }
    if case.kind == "fake":
        return
    assert [paths.claim(1).readlink().name.partition(".")[0] for paths in runs] == [f"job-{i}" for i in job_ids]
    assert ["rank 0 of attempt 1" in paths.stdout(1, 0).read_text() for paths in runs] == [True] * 3
    codes = [await_condition(lambda i=i: has_exit(case.scheduler.states([i])[i]), what="the code") for i in job_ids]
    assert [view.exit_code for view in codes] == [0, 3, 0]


def test_runs_of_an_array_wait_their_turn_and_are_known_meanwhile(case: Case) -> None:
    runs = [case.run_folder(f"mill-{index}", wait_for="go") for index in range(3)]
    job_ids = submit_array(case, runs, parallel=1)
    case.await_state(job_ids[0], JobState.RUNNING, paths=runs[0])
    assert {case.scheduler.states(job_ids)[job_id].state for job_id in job_ids[1:]} == {JobState.PENDING}
    wanted = {paths.root.name: job_id for paths, job_id in zip(runs, job_ids, strict=True)}
    assert case.scheduler.find(list(wanted), attempts=dict.fromkeys(wanted, 1)) == wanted
    assert case.scheduler.find(list(wanted), attempts=dict.fromkeys(wanted, 2)) == {}
    for paths in runs:
        (paths.root / "go").touch()
    for job_id, paths in zip(job_ids, runs, strict=True):
        case.await_state(job_id, JobState.ENDED, paths=paths)


def test_one_run_of_an_array_is_cancelled_without_the_others(case: Case) -> None:
    runs = [case.run_folder(f"mill-{index}", wait_for="go") for index in range(4)]
    job_ids = submit_array(case, runs, parallel=2)
    for index in (0, 1):
        case.await_state(job_ids[index], JobState.RUNNING, paths=runs[index])
    case.scheduler.cancel([job_ids[0], job_ids[3], f"{job_ids[0]}0"])
    for index in (0, 3):
        view = case.await_state(job_ids[index], JobState.ENDED)
        assert view.word.startswith("CANCELLED")
    assert case.scheduler.states(job_ids)[job_ids[1]].state is JobState.RUNNING
    for paths in runs:
        (paths.root / "go").touch()
    for index in (1, 2):
        assert case.await_state(job_ids[index], JobState.ENDED, paths=runs[index]).word == "COMPLETED"


def test_a_run_is_sent_again_in_an_array_of_those_that_failed(case: Case) -> None:
    runs = [case.run_folder(f"mill-{index}", exit_codes=[3, 0]) for index in range(2)]
    first = submit_array(case, runs)
    for job_id, paths in zip(first, runs, strict=True):
        case.await_state(job_id, JobState.ENDED, paths=paths)
    (second,) = submit_array(case, runs[1:], number=2, attempt=2)
    case.await_state(second, JobState.ENDED, paths=runs[1])
    assert case.scheduler.find(["mill-0", "mill-1"]) == {"mill-0": first[0], "mill-1": second}
    assert case.scheduler.find(["mill-1"], attempts={"mill-1": 1}) == {"mill-1": first[1]}


def test_an_array_and_a_single_run_do_not_know_each_others_jobs(case: Case) -> None:
    alone = case.run_folder("mill-9", wait_for="never")
    single = case.submit(alone)
    (member,) = submit_array(case, [case.run_folder("mill-0", wait_for="never")])
    case.scheduler.cancel([member])
    assert case.await_state(member, JobState.ENDED).word.startswith("CANCELLED")
    assert case.scheduler.states([single])[single].state is not JobState.ENDED
    strange = [member_id(single, 0), member_id(member, 1), "1_", "_1", "7_x"]
    assert {view.state for view in case.scheduler.states(strange).values()} == {JobState.UNKNOWN}


# What only those that run something can show


RUNNING = pytest.mark.parametrize("case", [kind for kind in KINDS if kind != "fake"], indirect=True)


@RUNNING
def test_a_secret_and_an_outer_jobs_variables_stay_behind(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "secret")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("PLAIN", "it's kept")
    paths = case.run_folder()
    case.await_state(case.submit(paths), JobState.ENDED, paths=paths)
    seen = json.loads((paths.root / "seen-1-0.json").read_text())
    assert seen["PLAIN"] == "it's kept"
    assert "MY_API_TOKEN" not in seen
    assert seen.get("SLURM_JOB_ID") != "1"


@RUNNING
def test_a_rank_that_fails_makes_the_job_fail_but_lets_the_others_speak(case: Case) -> None:
    paths = case.run_folder(failing_rank=1, exit_codes=[4], last_word="said")
    job_id = case.submit(paths, case.request(tasks_per_node=2))
    view = case.await_state(job_id, JobState.ENDED, paths=paths)
    assert view.word == "FAILED"
    assert (paths.root / "said").exists()


@pytest.mark.slow
@RUNNING
def test_a_program_that_asks_for_another_attempt_gets_it(case: Case) -> None:
    paths = case.run_folder(exit_codes=[75, 0])
    job_id = case.submit(paths, case.request(tasks_per_node=2))
    await_condition((paths.root / "seen-2-1.json").exists, what="the second attempt", log=paths, timeout_s=90)
    view = case.await_state(job_id, JobState.ENDED, paths=paths)
    assert view.word == "COMPLETED"
    assert "rank 0 of attempt 2" in paths.stdout(2, 0).read_text()


@RUNNING
def test_a_job_outlives_the_client_that_submitted_it(case: Case) -> None:
    paths = case.run_folder(wait_for="go")
    script = (
        "import json, os, signal, sys\n"
        "from forgia.paths import HomePaths\n"
        "from forgia.schedulers import open_scheduler\n"
        "from pathlib import Path\n"
        "kind, place, program, request = sys.argv[1:]\n"
        "home = HomePaths(Path(place))\n"
        "scheduler = open_scheduler(kind, {}, home=home)\n"
        "scheduler.program = program\n"
        "scheduler.submit(json.loads(request), home.run('mill-1'))\n"
        "os.killpg(os.getpid(), signal.SIGKILL)\n"
    )
    arguments = [case.kind, str(case.home.root), PROGRAM, json.dumps(case.request())]
    client = subprocess.run([sys.executable, "-c", script, *arguments], start_new_session=True, check=False)
    assert client.returncode == -9
    job_id = case.scheduler.find(["mill-1"])["mill-1"]
    case.started.append(job_id)
    case.await_state(job_id, JobState.RUNNING, paths=paths)
    (paths.root / "go").touch()
    assert case.await_state(job_id, JobState.ENDED, paths=paths).word == "COMPLETED"
