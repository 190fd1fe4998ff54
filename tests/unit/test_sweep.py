"""Sweeps: points as arithmetic, members as ordinary runs, and one array for all of them, sent exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import digest, status, submission, sweeping
from forgia import sweep as sweeps
from forgia.client import Client
from forgia.errors import ClusterError, NotFound, UserError
from forgia.fit import Cost
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.quota.reservation import UNCOUNTED
from forgia.run import Journal, State
from forgia.schedulers import slurm_array
from forgia.schedulers.array import Place
from forgia.schedulers.protocol import Array
from forgia.store import append_line
from forgia.sweep import Result, Sweep
from forgia.sweeping import SweepPlan, Wanted
from forgia.testing import FakeScheduler

GOLDEN = Path(__file__).parent / "golden" / "arrays"


def test_a_point_is_the_very_run_that_its_flags_would_be(home: HomePaths) -> None:
    client = Client()
    wanted = Wanted(over=["width=8,16", "learning_rate=0.001,0.01"])
    plan = client.plan_sweep("predictive-maintenance", wanted=wanted, test=True, sets=["train.epochs=2"])
    flags = ["train.epochs=2", "width=16", "train.learning_rate=0.001"]
    alone = client.plan("predictive-maintenance", sets=flags, test=True)
    assert plan.plans[2].identity == plan.sweep.members[2].identity == alone.identity
    assert plan.sweep.members[2].run_id == submission.new_run_id(alone, taken=())
    assert plan.sweep.id.startswith("predictive-maintenance-sweep-")
    with pytest.raises(UserError) as caught:
        client.plan_sweep("predictive-maintenance", wanted=Wanted(over=["width=8,4096", "learning_rate=-1,0.1"]))
    assert "4096 is outside" in str(caught.value)
    with pytest.raises(UserError, match=r"learning_rate.*greater than 0"):
        client.plan_sweep("predictive-maintenance", wanted=Wanted(over=["learning_rate=-1,0.1"]))
    assert not home.runs.exists()


# Members


def make_sweep(root: Path, home: HomePaths, *, points: int = 4, **fields: Any) -> SweepPlan:
    recipe = root / "recipe"
    recipe.mkdir(parents=True, exist_ok=True)
    (recipe / "recipe.yaml").write_text("name: mill-failures\n")
    plans = tuple(point_plan(recipe, point) for point in range(points))
    members = tuple(sweeping.member_of(home, plan, {"params.point": point}) for point, plan in enumerate(plans))
    made = Sweep(
        id=sweeping.sweep_id("mill-failures", members), recipe="mill-failures", version="1.0.0", profile="fake",
        scheduler="fake", primary="f1", is_lower_better=False, members=members, created="2026-11-23T10:00:00.000Z",
        array_size=fields.pop("array_size", 1000), **fields,
    )  # fmt: skip
    return SweepPlan(sweep=made, plans=plans)


def point_plan(recipe: Path, point: int) -> Plan:
    request: dict[str, Any] = {
        "schema_version": 1,
        "recipe": {"name": "mill-failures", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {},
        "params": {"point": point},
        "resources": {
            "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 600,
        },
        "environment": {"kind": "current"},
        "profile": {"name": "fake", "scheduler": "fake"},
    }  # fmt: skip
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    return Plan(request=request, inputs={}, recipe_root=recipe, origins={}, cost=cost)


@pytest.fixture
def fake(home: HomePaths) -> FakeScheduler:
    return FakeScheduler(home=home)


def states(home: HomePaths, sweep: Sweep) -> list[State]:
    return [Journal(home.run(run_id)).status().state for run_id in sweep.run_ids]


def finish(home: HomePaths, run_id: str, *, figure: float, attempt: int = 1) -> None:
    """What a job would write."""
    paths = home.run(run_id)
    Journal(paths).record(State.RUNNING, by="job", attempt=attempt)
    model = {"validation": {"f1": figure}, "test": {"f1": figure - 0.1}}
    append_line(paths.metrics, {"kind": "evaluation", "model": model}, sync=False)
    Journal(paths).record(State.SUCCEEDED, by="job", attempt=attempt)


def test_all_members_are_sent_in_one_array_and_only_once(tmp_path: Path, home: HomePaths, fake: FakeScheduler) -> None:
    plan = make_sweep(tmp_path, home)
    for _ in range(2):
        sweep = sweeping.start(home, plan, lambda _: fake)
    assert fake.calls["submit_array"] == 1
    assert fake.calls["submit"] == 0
    found = [Journal(home.run(run_id)).status() for run_id in sweep.run_ids]
    assert [item.job_id for item in found] == [f"1001_{index}" for index in range(4)]
    assert {item.state for item in found} == {State.PENDING}
    assert sweeps.load(home, sweep.id) == sweep


def test_a_point_that_has_run_before_is_shown_and_not_sent(
    tmp_path: Path, home: HomePaths, fake: FakeScheduler
) -> None:
    first = make_sweep(tmp_path, home, points=2)
    sweeping.start(home, first, lambda _: fake)
    finish(home, first.sweep.run_ids[1], figure=0.5)
    wider = sweeping.start(home, make_sweep(tmp_path, home, points=3), lambda _: fake)
    assert wider.run_ids[:2] == first.sweep.run_ids
    assert fake.states(["1002_0"])["1002_0"].run_id == wider.run_ids[2]
    assert [result.test for result in sweeps.results(home, wider)] == [None, 0.4, None]


def test_a_sweep_larger_than_an_array_is_cut_and_shares_its_throttle(
    tmp_path: Path, home: HomePaths, fake: FakeScheduler
) -> None:
    sweep = sweeping.start(home, make_sweep(tmp_path, home, points=7, array_size=3, parallel=6), lambda _: fake)
    assert fake.calls["submit_array"] == 3
    lists = [home.sweep(sweep.id).array(number).members.read_text().count("\n") for number in (1, 2, 3)]
    assert lists == [3, 3, 1]


def test_what_finds_no_room_in_the_queue_is_sent_when_others_have_ended(
    tmp_path: Path, home: HomePaths, fake: FakeScheduler
) -> None:
    sweep = sweeping.start(home, make_sweep(tmp_path, home, points=5, most_open=2), lambda _: fake)
    assert sweeps.counts(states(home, sweep)) == {State.PLANNED: 3, State.PENDING: 2}
    time = iter(range(0, 1000, 20))

    def work(_: float) -> None:
        for run_id in sweep.run_ids:
            if Journal(home.run(run_id)).status().state is State.PENDING:
                finish(home, run_id, figure=0.5)

    desk = sweeping.Desk(schedulers=lambda _: fake, budget=UNCOUNTED)
    seen = list(sweeping.follow(home, sweep, desk, sleep=work, clock=lambda: float(next(time))))
    assert max(sum(status.is_open(item) for item in found) for found in seen) == 2
    assert {item.state for item in seen[-1]} == {State.SUCCEEDED}
    assert fake.calls["submit_array"] == 3


def test_only_the_failed_members_are_sent_again(tmp_path: Path, home: HomePaths, fake: FakeScheduler) -> None:
    sweep = sweeping.start(home, make_sweep(tmp_path, home, points=3), lambda _: fake)
    with pytest.raises(UserError, match="no member has failed"):
        sweeping.retry(home, sweep, lambda _: fake)
    for index in (0, 2):
        finish(home, sweep.run_ids[index], figure=0.5)
    Journal(home.run(sweep.run_ids[1])).record(State.FAILED, by="job", attempt=1, reason="it broke")
    assert sweeping.retry(home, sweep, lambda _: fake) == 1
    again = Journal(home.run(sweep.run_ids[1])).status()
    assert (again.attempt, again.state, again.job_id) == (2, State.PENDING, "1002_0")


def test_a_refusal_fails_every_member_of_the_array_and_a_lost_answer_none(
    tmp_path: Path, home: HomePaths, fake: FakeScheduler
) -> None:
    plan = make_sweep(tmp_path, home)
    fake.fail_next(ClusterError("Socket timed out", transient=True), accepted=True)
    with pytest.raises(ClusterError, match="timed out"):
        sweeping.start(home, plan, lambda _: fake)
    assert set(states(home, plan.sweep)) == {State.SUBMITTING}
    sweeping.start(home, plan, lambda _: fake)
    assert set(states(home, plan.sweep)) == {State.PENDING}
    assert fake.calls["submit_array"] == 1
    other = make_sweep(tmp_path / "other", home, points=6)
    fake.fail_next(ClusterError("Invalid account", transient=False), accepted=False)
    with pytest.raises(ClusterError, match="Invalid account"):
        sweeping.start(home, other, lambda _: fake)
    assert sweeps.counts(states(home, other.sweep)) == {State.PENDING: 4, State.FAILED: 2}


def test_cancelling_is_one_call_and_leaves_what_has_ended(tmp_path: Path, home: HomePaths, fake: FakeScheduler) -> None:
    sweep = sweeping.start(home, make_sweep(tmp_path, home), lambda _: fake)
    finish(home, sweep.run_ids[0], figure=0.5)
    found = sweeping.cancel(home, sweep, lambda _: fake)
    assert [item.state for item in found] == [State.SUCCEEDED, *[State.CANCELLED] * 3]
    assert fake.calls["cancel"] == 1
    assert sweeping.cancel(home, sweep, lambda _: fake) == found


CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "symlink")


def start_and_die(number: int, home: HomePaths, plan: SweepPlan) -> int:
    """A client of its own that is killed at its so many-th call of the operating system; how it ended."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = number

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    try:
        sweeping.start(home, plan, lambda _: FakeScheduler(home=home))
    finally:
        os._exit(0)


def test_a_client_killed_at_any_system_call_loses_and_doubles_no_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "SUBMISSION_DEADLINE", status.timedelta(0))
    killed = 0
    for number in range(1, 2000, 7):
        home = HomePaths(tmp_path / f"home-{number}")
        code = start_and_die(number, home, make_sweep(tmp_path, home, points=2))
        fake = FakeScheduler(home=home)
        sweep = sweeping.start(home, make_sweep(tmp_path, home, points=2), lambda _, fake=fake: fake)
        found = [Journal(home.run(run_id)).status() for run_id in sweep.run_ids]
        assert {item.state for item in found} == {State.PENDING}, f"killed at call {number}"
        jobs = json.loads(home.fake_jobs.read_text())
        assert sorted(jobs) == sorted(str(item.job_id) for item in found), f"killed at call {number}"
        if code != -signal.SIGKILL:
            assert code == 0
            break
        killed += 1
    else:
        pytest.fail("the program never came to its end")
    assert killed > 10


# The table


def test_the_best_is_chosen_on_the_validation_part_in_the_metrics_direction() -> None:
    made = Result(values={"a": 1}, state=State.SUCCEEDED, chosen_by=0.5, test=0.9, run_id="first")
    others = [
        replace(made, chosen_by=0.7, test=0.1, run_id="second"),
        replace(made, chosen_by=0.9, state=State.FAILED, run_id="failed at its gate"),
        replace(made, chosen_by=None, run_id="nothing measured"),
    ]
    for is_lower_better, wanted in ((False, "second"), (True, "first")):
        winner = sweeps.best([made, *others], is_lower_better=is_lower_better)
        assert winner
        assert winner.run_id == wanted
    assert sweeps.best(others[1:], is_lower_better=False) is None
    assert sweeps.number(float("nan")) is None


def test_a_sweep_is_opened_by_the_beginning_of_its_name(tmp_path: Path, home: HomePaths, fake: FakeScheduler) -> None:
    with pytest.raises(NotFound):
        sweeps.open_sweep(home, "last")
    sweep = sweeping.start(home, make_sweep(tmp_path, home), lambda _: fake)
    assert sweeps.open_sweep(home, "last") == sweeps.open_sweep(home, sweep.id[:20]) == sweep
    with pytest.raises(NotFound):
        sweeps.open_sweep(home, "other")
    assert oct(home.sweep(sweep.id).root.stat().st_mode)[-3:] == "700"


# The script


def array_of(home: HomePaths, *, tasks: int) -> Array:
    python = "/opt/forgia/bin/python"
    profile = {"name": "slurm-local", "scheduler": "slurm", "partition": "main", "python": python}
    resources = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
    return Array(
        sweep_id="mill-sweep-0f3a9c11d2",
        number=2,
        paths=home.sweep("mill-sweep-0f3a9c11d2").array(2),
        request={"profile": profile, "resources": {**resources, "walltime_s": 600}},
        members=[(home.run(f"mill-{index}"), 1) for index in range(tasks)],
        parallel=8,
    )


def test_the_script_of_an_array_is_the_golden_one(request: pytest.FixtureRequest) -> None:
    text = slurm_array.render(array_of(HomePaths(Path("/home/anna/.forgia")), tasks=500))
    place = GOLDEN / "slurm-local-array.sbatch"
    if request.config.getoption("--update-golden", default=False):
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    assert text == place.read_text(), "rendered text changed; if that is meant: pytest --update-golden"
    assert "#SBATCH --array=0-499%8" in text
    assert "SLURM_JOB_ID" not in text, "in the last task that is the id of the whole array"
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_list_that_was_altered_after_it_was_sent_starts_nothing(home: HomePaths) -> None:
    from forgia.schedulers import array as arrays

    array = array_of(home, tasks=12)
    for paths, _ in array.members:
        paths.root.mkdir(parents=True)
    seal = arrays.write(array, ["0" * 64] * len(array.members))
    lines = "\n".join([*slurm_array.member_lines(array), 'echo "$run $first $FORGIA_SEAL $member" >&3'])
    variables = {
        "FORGIA_SEAL": seal,
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "11",
        "PATH": os.environ["PATH"],
    }

    def run() -> subprocess.CompletedProcess[str]:
        argv = ["bash", "-c", f"exec 3>&1\n{lines}"]
        return subprocess.run(argv, cwd=array.paths.root, env=variables, capture_output=True, text=True, check=False)

    assert run().stdout.split() == ["mill-11", "1", "0" * 64, "7_11"]
    batch_log = array.members[11][0].batch_log(1)
    assert not batch_log.read_text()
    variables["SLURM_RESTART_COUNT"] = "2"
    assert run().returncode == 0
    assert batch_log.read_text() == "forgia: start 3 of job 7_11\n"
    array.paths.members.write_text(array.paths.members.read_text().replace("mill-11", "mill-0"))
    done = run()
    assert done.returncode == 1
    assert "altered" in done.stderr
    assert done.stdout == ""


@given(st.sets(st.integers(0, 3000), min_size=1, max_size=200))
def test_tasks_put_together_come_apart_as_they_were(numbers_: set[int]) -> None:
    (text,) = slurm_array.condensed(f"7_{number}" for number in numbers_)
    assert slurm_array.expanded(text) == [f"7_{number}" for number in sorted(numbers_)]
    assert slurm_array.expanded(text.replace("]", "%4]")) == [f"7_{number}" for number in sorted(numbers_)]


@given(number=st.integers(1, 999), index=st.integers(0, 99_999))
def test_a_place_in_an_array_reads_back_from_its_text(number: int, index: int) -> None:
    place = Place("mill-failures_2-sweep-0f3a9c11d2", number, index)
    assert Place.parse(str(place)) == place
    assert Place.parse("None_0") is None


def test_a_task_of_an_array_names_its_job_as_its_submitter_does() -> None:
    from forgia_jobs.meeting import placement

    step = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_ID": "12"}
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    assert placement.discover(step).job_id == "12"
    assert placement.discover({**step, **array}).job_id == "7_3"
