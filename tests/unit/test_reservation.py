"""Submissions and budgets: held before anything is sent, refused with the arithmetic, given back where nothing ran."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from forgia import digest, status, store, submission
from forgia.errors import ClusterError, Refused, UserError
from forgia.fit import Cost, Tariff
from forgia.grant import Holder, QuotaExceeded, Terms
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.quota.access import system_user
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.office import holder_of
from forgia.quota.reservation import UNCOUNTED, Reservations
from forgia.run import Journal, State
from forgia.settings import Settings
from forgia.testing import FakeScheduler

SITE = "leonardo"
ONE_RUN = 8 * (600 + 300)
"""Rate 8 for 600 s and the margin."""


def make_plan(root: Path, *, seed: int = 0, rate: int | None = 8, site: str = SITE) -> Plan:
    recipe = root / "recipe"
    recipe.mkdir(parents=True, exist_ok=True)
    (recipe / "recipe.yaml").write_text("name: mill-failures\n")
    request: dict[str, Any] = {
        "schema_version": 1,
        "recipe": {"name": "mill-failures", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {},
        "train": {"seed": seed},
        "resources": {
            "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 1, "cpus_per_task": 8, "memory_gb": 1, "walltime_s": 600,
        },
        "environment": {"kind": "current"},
        "profile": {"name": "fake", "scheduler": "fake"},
    }  # fmt: skip
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    tariff = Tariff(site=site, account="aifac", resource="gpu", rate=rate, gpus=1, walltime_s=600, attempts=1)
    return Plan(request=request, inputs={}, recipe_root=recipe, origins={}, cost=cost, tariff=tariff)


class Desk:
    """One home with a ledger, a fake scheduler, and a budget."""

    def __init__(self, home: HomePaths) -> None:
        self.home = home
        self.fake = FakeScheduler(home=home)
        self.settings = Settings(home=home, organisation="acme")
        self.budget = Reservations(self.settings)
        self.holder = holder_of(self.settings, SITE)
        store.private_directory(home.quota)
        self.ledger: Ledger = open_ledger(home.ledger)
        self.me = self.ledger.actor_of()

    def grant(self, amount: int, holder: str = f"{SITE}/acme") -> None:
        now = datetime.now(UTC)
        span = {"valid_from": now - timedelta(days=1), "valid_until": now + timedelta(days=90)}
        terms = Terms(holder=Holder.parse(holder), amount=amount, **span)  # type: ignore[arg-type]
        self.ledger.grant(terms, by=self.me, reason="for the test")

    def start(self, plan: Plan, **options: Any) -> submission.Started:
        return submission.start(self.home, plan, lambda _: self.fake, budget=self.budget, **options)

    def held(self) -> int:
        return self.ledger.balance(Holder.parse(SITE), by=self.me).held

    def open_keys(self) -> list[str]:
        return [hold.key for hold in self.ledger.holds(by=self.me)]


@pytest.fixture
def desk(home: HomePaths) -> Any:
    made = Desk(home)
    yield made
    made.ledger.close_connections()


def test_the_worst_case_is_held_before_the_job_is_sent(desk: Desk, tmp_path: Path) -> None:
    desk.grant(10 * ONE_RUN)
    started = desk.start(make_plan(tmp_path))
    assert desk.open_keys() == [f"{started.run_id}@1"]
    assert desk.held() == ONE_RUN
    events = [line["event"] for line in Journal(desk.home.run(started.run_id)).read()]
    assert events == ["planned", "held", "submitting", "pending"]
    hold = desk.ledger.find_hold(f"{started.run_id}@1", by=desk.me)
    assert hold is not None
    assert (hold.holder, hold.facts["user"]) == (desk.holder, system_user())


def test_a_refusal_sends_nothing_and_shows_the_arithmetic(desk: Desk, tmp_path: Path) -> None:
    desk.grant(ONE_RUN // 2)
    plan = make_plan(tmp_path)
    with pytest.raises(QuotaExceeded) as refused:
        desk.start(plan)
    assert "8 billing × (600 s + 300 s) × 1 attempt × 1 task = 7,200" in refused.value.message
    assert "would fit" in refused.value.message
    assert desk.fake.calls["submit"] == 0
    found = Journal(desk.home.run(submission.new_run_id(plan, taken=()))).status()
    assert (found.state, found.attempt) == (State.PLANNED, 1)
    desk.grant(ONE_RUN)  # and when there is more, the same command goes through
    assert desk.start(plan).status.state is State.PENDING


def test_without_a_ledger_or_a_grant_for_the_site_nothing_is_held(home: HomePaths, tmp_path: Path) -> None:
    fake = FakeScheduler(home=home)
    budget = Reservations(Settings(home=home))
    plan = make_plan(tmp_path)
    assert submission.start(home, plan, lambda _: fake, budget=budget).status.state is State.PENDING
    assert not home.ledger.exists()
    desk = Desk(home)
    desk.grant(ONE_RUN, holder="lumi/acme")
    assert desk.start(make_plan(tmp_path, seed=1)).status.state is State.PENDING
    assert desk.held() == 0
    desk.ledger.close_connections()


def test_where_another_firm_has_a_budget_and_we_have_none_nothing_goes_uncounted(desk: Desk, tmp_path: Path) -> None:
    desk.grant(10 * ONE_RUN, holder=f"{SITE}/beta")
    with pytest.raises(QuotaExceeded):
        desk.start(make_plan(tmp_path))


def test_a_profile_that_tells_no_price_is_refused_where_budgets_are_kept(desk: Desk, tmp_path: Path) -> None:
    desk.grant(10 * ONE_RUN)
    with pytest.raises(UserError, match="does not say how it bills"):
        desk.start(make_plan(tmp_path, rate=None))


def test_what_the_scheduler_refuses_is_given_back_and_an_answer_that_is_missing_is_not(
    desk: Desk, tmp_path: Path
) -> None:
    desk.grant(10 * ONE_RUN)
    desk.fake.fail_next(ClusterError("Invalid account", transient=False), accepted=False)
    with pytest.raises(ClusterError):
        desk.start(make_plan(tmp_path))
    assert desk.held() == 0
    desk.fake.fail_next(ClusterError("Socket timed out", transient=True), accepted=True)
    with pytest.raises(ClusterError):
        desk.start(make_plan(tmp_path, seed=1))
    assert desk.held() == ONE_RUN


def test_an_attempt_that_never_began_gives_way_to_the_next_ones_hold(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.grant(ONE_RUN)  # for one run alone
    desk.fake.fail_next(ClusterError("Socket timed out", transient=True), accepted=False)
    plan = make_plan(tmp_path)
    with pytest.raises(ClusterError):
        desk.start(plan)
    monkeypatch.setattr(status, "SUBMISSION_DEADLINE", timedelta(0))
    started = desk.start(plan)
    assert (started.status.state, started.status.attempt) == (State.PENDING, 2)
    assert desk.open_keys() == [f"{started.run_id}@2"]


def test_another_attempt_asks_again(desk: Desk, tmp_path: Path) -> None:
    desk.grant(2 * ONE_RUN)
    started = desk.start(make_plan(tmp_path))
    journal = Journal(desk.home.run(started.run_id))
    for attempt, is_enough in ((1, True), (2, False)):
        desk.fake.end(str(journal.status().job_id))
        journal.record(State.RUNNING, by="job", attempt=attempt)
        journal.record(State.CHECKPOINTED, by="job", attempt=attempt, reason="stopped")
        (desk.home.run(started.run_id).attempt(attempt)).mkdir(parents=True, exist_ok=True)
        if is_enough:
            found = submission.retry(desk.home, started.run_id, lambda _: desk.fake, budget=desk.budget)
            assert (found.state, found.attempt) == (State.PENDING, 2)
        else:
            with pytest.raises(QuotaExceeded):
                submission.retry(desk.home, started.run_id, lambda _: desk.fake, budget=desk.budget)
    assert desk.held() == 2 * ONE_RUN


def test_nobody_without_a_role_holds_anything(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.grant(10 * ONE_RUN)
    monkeypatch.setattr("forgia.quota.access.system_user", lambda: "stranger")
    with pytest.raises(Refused):
        desk.start(make_plan(tmp_path))
    assert desk.fake.calls["submit"] == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from forgia import submission
from forgia.paths import HomePaths
sys.path.insert(0, sys.argv[4])
import test_reservation as here

home, step = HomePaths(Path(sys.argv[1])), int(sys.argv[3])
desk = here.Desk(home)
left = step

def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("fsync", "replace", "open", "write", "symlink"):
    setattr(os, name, counted(getattr(os, name)))
desk.start(here.make_plan(Path(sys.argv[2])))
"""


def test_a_submitter_killed_at_any_step_neither_loses_nor_doubles_a_hold(tmp_path: Path) -> None:
    steps = [1, 4, 8, 12, 16, 20, 24, 28, 34, 40]
    for step in steps:
        home = HomePaths(tmp_path / f"home-{step}")
        desk = Desk(home)
        desk.grant(ONE_RUN)
        argv = [sys.executable, "-c", KILLED, str(home.root), str(tmp_path), str(step), str(Path(__file__).parent)]
        done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        plan = make_plan(tmp_path)
        run_id = submission.new_run_id(plan, taken=())
        found = Journal(home.run(run_id)).status() if home.run(run_id).journal.exists() else None
        if found and found.state is State.SUBMITTING and not desk.fake.find([run_id]):
            Journal(home.run(run_id)).record(State.FAILED, by="submitter", attempt=1, reason="given up")
            submission.bar(home.run(run_id), 1)
        started = desk.start(plan)
        assert started.status.state is State.PENDING, step
        assert desk.held() == ONE_RUN, step
        assert len(desk.open_keys()) == 1, step
        assert not desk.ledger.verify(), step
        desk.ledger.close_connections()


def test_a_submission_that_nobody_counts_is_the_same_as_ever(desk: Desk, tmp_path: Path) -> None:
    plan = replace(make_plan(tmp_path), tariff=None)
    desk.grant(ONE_RUN)
    assert desk.start(plan).status.state is State.PENDING
    assert desk.held() == 0
    assert UNCOUNTED.reserve(desk.home.run("none"), {}, key="none@1") is None
