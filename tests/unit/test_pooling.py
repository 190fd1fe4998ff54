"""Sweeps in one job: the points stay ordinary runs, the job is sent once, and only what is left goes out again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forgia import collection, digest, status, sweeping
from forgia import sweep as sweeps
from forgia.client import Client
from forgia.errors import NotFound, UserError
from forgia.fit import Cost
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.run import Journal, State
from forgia.sweep import Sweep
from forgia.sweeping import SweepPlan, Wanted
from forgia.testing import FakeScheduler

OVER = ["learning_rate=0.001,0.01,0.1", "width=8,16"]


def point_plan(recipe: Path, point: int) -> Plan:
    request: dict[str, Any] = {
        "schema_version": 1,
        "recipe": {"name": "mill-failures", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {}, "params": {"point": point}, "environment": {"kind": "current"},
        "resources": {
            "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 600,
        },
        "profile": {"name": "fake", "scheduler": "fake"},
    }  # fmt: skip
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    return Plan(request=request, inputs={}, recipe_root=recipe, origins={}, cost=cost)


@pytest.fixture
def plan(tmp_path: Path, home: HomePaths) -> SweepPlan:
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "recipe.yaml").write_text("name: mill-failures\n")
    plans = tuple(point_plan(recipe, point) for point in range(3))
    members = tuple(sweeping.member_of(home, plan, {"params.point": point}) for point, plan in enumerate(plans))
    made = Sweep(
        id=sweeping.sweep_id("mill-failures", members), recipe="mill-failures", version="1.0.0", profile="fake",
        scheduler="fake", primary="f1", is_lower_better=False, members=members, created="2026-11-23T10:00:00.000Z",
        array_size=1000,
    )  # fmt: skip
    return sweeping.in_one_job(SweepPlan(sweep=made, plans=plans), point_plan(recipe, 99))


@pytest.fixture
def fake(home: HomePaths) -> FakeScheduler:
    return FakeScheduler(home=home)


def states(home: HomePaths, sweep: Sweep) -> list[State]:
    return [Journal(home.run(run_id)).status().state for run_id in (*sweep.run_ids, sweep.job)]


def test_one_job_is_sent_for_all_points_and_only_once(plan: SweepPlan, home: HomePaths, fake: FakeScheduler) -> None:
    for _ in range(2):
        sweep = sweeping.start(home, plan, lambda _: fake)
    assert (fake.calls["submit"], fake.calls["submit_array"]) == (1, 0)
    assert set(states(home, sweep)) == {State.PENDING}
    request = json.loads(home.run(sweep.job).request.read_bytes())
    assert request["sweep"] == {"id": sweep.id, "runs": sweep.run_ids}
    view = status.overview(home, lambda _: fake)
    assert {found.job_id for found in view.statuses} == {"1001"}, "the job is the points' own"
    assert {found.state for found in view.statuses} == {State.PENDING}
    assert sweeps.load(home, sweep.id) == sweep
    with pytest.raises(NotFound):
        collection.collect(home, "firm", sweep.job)
    assert sweeps.unregistered(home) >= {sweep.job}


def test_a_command_that_died_behind_the_submission_is_finished_by_the_next(
    plan: SweepPlan, home: HomePaths, fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("forgia.pooling.announce", die)
        sweeping.start(home, plan, lambda _: fake)
    assert states(home, plan.sweep)[:3] == [State.PLANNED] * 3
    fake.start("1001")
    Journal(home.run(plan.sweep.run_ids[0])).record(State.RUNNING, by="job", attempt=1)
    sweep = sweeping.start(home, plan, lambda _: fake)
    assert fake.calls["submit"] == 1
    assert states(home, sweep) == [State.RUNNING, State.PENDING, State.PENDING, State.PENDING]


def test_what_failed_goes_out_again_and_what_was_given_up_does_not(
    plan: SweepPlan, home: HomePaths, fake: FakeScheduler
) -> None:
    sweep = sweeping.start(home, plan, lambda _: fake)
    fake.start("1001")
    good, poor, failed = (Journal(home.run(run_id)) for run_id in sweep.run_ids)
    good.record(State.SUCCEEDED, by="job", attempt=1)
    poor.record(State.CANCELLED, by="job", attempt=1, reason=f"{sweeps.GIVEN_UP} after epoch 3")
    failed.record(State.RUNNING, by="job", attempt=1)
    Journal(home.run(sweep.job)).record(State.SUCCEEDED, by="job", attempt=1)
    fake.end("1001")
    sweeping.stand(home, sweep, lambda _: fake)
    assert states(home, sweep) == [State.SUCCEEDED, State.CANCELLED, State.FAILED, State.SUCCEEDED]
    assert sweeping.retry(home, sweep, lambda _: fake) == 1
    assert fake.calls["submit"] == 2
    assert [journal.status().attempt for journal in (good, poor, failed)] == [1, 1, 2]
    assert (failed.status().state, failed.status().job_id) == (State.PENDING, "1002")
    again = sweeping.start(home, replace(plan, sweep=sweep), lambda _: fake)
    assert (fake.calls["submit"], again.job) == (2, sweep.job)


def test_cancelling_ends_the_points_and_their_job(plan: SweepPlan, home: HomePaths, fake: FakeScheduler) -> None:
    sweep = sweeping.start(home, plan, lambda _: fake)
    told = sweeping.cancel(home, sweep, lambda _: fake)
    assert [item.run_id for item in told] == sweep.run_ids
    assert set(states(home, sweep)) == {State.CANCELLED}
    assert fake.calls["cancel"] == 1


def test_the_job_has_room_for_the_points_that_run_at_once(home: HomePaths) -> None:
    asked = Wanted(over=OVER, parallel=4, with_ray=True)
    sets = ["resources.memory_gb=2", "resources.walltime=00:10:00"]
    plan = Client().plan_sweep("predictive-maintenance", wanted=asked, test=True, sets=sets)
    alone = Client().plan_sweep("predictive-maintenance", wanted=replace(asked, with_ray=False), test=True, sets=sets)
    assert plan.plans == alone.plans, "the points are the same runs"
    assert plan.job is not None
    resources = plan.job.request["resources"]
    assert (resources["nodes"], resources["tasks_per_node"], resources["memory_gb"]) == (1, 4, 8)
    assert resources["walltime_total_s"] == 1200, "two rounds for six points, four at once"
    for wrong in ("resources.tasks_per_node=2", "train.strategy=ray"):
        with pytest.raises(UserError, match="one process"):
            Client().plan_sweep("predictive-maintenance", wanted=asked, test=True, sets=[wrong])
