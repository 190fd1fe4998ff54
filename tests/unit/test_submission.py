"""Exactly once: whatever instruction a crash falls on, the next command neither loses nor doubles the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forgia import digest, status, store, submission
from forgia.errors import ClusterError, UserError
from forgia.fit import Cost
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.run import NOBODY, Journal, State, bar, claim, holder_of, statuses
from forgia.schedulers.protocol import JobState, Scheduler
from forgia.schedulers.script import claim_lines
from forgia.testing import FakeScheduler


def make_plan(root: Path, *, seed: int = 0) -> Plan:
    recipe = root / "recipe"
    recipe.mkdir(parents=True, exist_ok=True)
    (recipe / "recipe.yaml").write_text("name: mill-failures\n")
    (recipe / "task.py").write_text("class Model: ...\n")
    request: dict[str, Any] = {
        "schema_version": 1,
        "recipe": {"name": "mill-failures", "version": "1.0.0", "digest": digest.of_tree(recipe)},
        "data": {},
        "train": {"seed": seed},
        "resources": {
            "nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 600,
        },
        "profile": {"name": "fake", "scheduler": "fake"},
    }  # fmt: skip
    cost = Cost(gpu_h=0, core_h=1, units=None, unit=None, kwh=None, eur=None)
    return Plan(request=request, inputs={}, recipe_root=recipe, origins={}, cost=cost)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(tmp_path)


@pytest.fixture
def fake(home: HomePaths) -> FakeScheduler:
    return FakeScheduler(home=home)


def jobs_of(home: HomePaths) -> dict[str, Any]:
    file = home.runs / ".fake-scheduler.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def test_the_same_request_asked_twice_is_one_run_with_one_job(home: HomePaths, plan: Plan, fake: FakeScheduler) -> None:
    first = submission.start(home, plan, lambda _: fake)
    second = submission.start(home, plan, lambda _: fake)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.run_id == second.run_id
    assert second.status.state is State.PENDING
    assert len(jobs_of(home)) == 1


def test_again_makes_a_run_of_its_own_and_the_newest_is_joined(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    first = submission.start(home, plan, lambda _: fake)
    other = submission.start(home, plan, lambda _: fake, again=True)
    assert other.run_id == f"{first.run_id}-2"
    assert submission.start(home, plan, lambda _: fake).run_id == other.run_id
    assert len(jobs_of(home)) == 2


def test_a_run_that_failed_gets_another_attempt_and_one_that_goes_on_does_not(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    run_id = submission.start(home, plan, lambda _: fake).run_id
    with pytest.raises(UserError, match="cancel it first"):
        submission.retry(home, run_id, lambda _: fake)
    Journal(home.run(run_id)).record(State.RUNNING, by="job", attempt=1)
    Journal(home.run(run_id)).record(State.FAILED, by="job", attempt=1, reason="it broke")
    again = submission.start(home, plan, lambda _: fake)
    assert (again.run_id, again.status.attempt, again.status.state) == (run_id, 2, State.PENDING)
    Journal(home.run(run_id)).record(State.SUCCEEDED, by="job", attempt=2)
    with pytest.raises(UserError, match="has succeeded"):
        submission.retry(home, run_id, lambda _: fake)


def test_a_refusal_is_recorded_and_the_next_start_tries_again(home: HomePaths, plan: Plan, fake: FakeScheduler) -> None:
    fake.fail_next(ClusterError("Invalid account", transient=False), accepted=False)
    with pytest.raises(ClusterError, match="Invalid account"):
        submission.start(home, plan, lambda _: fake)
    (found,) = statuses(home)
    assert (found.state, found.reason) == (State.FAILED, "the scheduler refused it: Invalid account")
    assert submission.start(home, plan, lambda _: fake).status.attempt == 2


@pytest.mark.parametrize("accepted", [True, False])
def test_a_lost_answer_is_looked_up_and_never_sent_again_blindly(
    home: HomePaths, plan: Plan, fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    fake.fail_next(ClusterError("Socket timed out", transient=True), accepted=accepted)
    with pytest.raises(ClusterError, match="timed out"):
        submission.start(home, plan, lambda _: fake)
    if accepted:
        assert submission.start(home, plan, lambda _: fake).status.state is State.PENDING
    else:
        with pytest.raises(ClusterError, match="is being submitted"):
            submission.start(home, plan, lambda _: fake)
        monkeypatch.setattr(status, "SUBMISSION_DEADLINE", status.timedelta(0))
        assert submission.start(home, plan, lambda _: fake).status.attempt == 2
    assert len(jobs_of(home)) == 1


def test_a_recipe_edited_while_it_is_submitted_is_told_and_leaves_nothing(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    (plan.recipe_root / "task.py").write_text("class Model: edited = True\n")
    with pytest.raises(UserError, match="changed while"):
        submission.start(home, plan, lambda _: fake)
    assert list(statuses(home)) == []


KILLED_CLIENT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from forgia.paths import HomePaths
from forgia.testing import FakeScheduler
from forgia import submission
import test_submission_program as program

home, left = HomePaths(Path(sys.argv[1])), int(sys.argv[3])
plan = program.make_plan(Path(sys.argv[2]))

def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
submission.start(home, plan, lambda name: FakeScheduler(home=home))
"""


def kill_at(number: int, home: HomePaths, root: Path, tmp_path: Path) -> int:
    helper = tmp_path / "program"
    helper.mkdir(exist_ok=True)
    (helper / "test_submission_program.py").write_text(Path(__file__).read_text())
    argv = [sys.executable, "-c", KILLED_CLIENT, str(home.root), str(root), str(number), str(helper)]
    return subprocess.run(argv, capture_output=True, check=False).returncode


def test_a_client_killed_at_any_system_call_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "SUBMISSION_DEADLINE", status.timedelta(0))
    plan = make_plan(tmp_path)
    killed = 0
    for number in range(1, 400, 2):
        home = HomePaths(tmp_path / f"home-{number}")
        code = kill_at(number, home, tmp_path, tmp_path)
        fake = FakeScheduler(home=home)
        schedulers = lambda name, fake=fake: fake  # noqa: E731
        outcome = submission.start(home, plan, schedulers).status
        assert outcome.state is State.PENDING, f"killed at call {number}"
        (found,) = statuses(home)
        open_jobs = [job for job, view in fake.states(list(jobs_of(home))).items() if view.state is not JobState.ENDED]
        assert open_jobs == [found.job_id], f"killed at call {number}"
        assert digest.of_tree(home.run(found.run_id).recipe) == plan.request["recipe"]["digest"]
        assert store.read_json(home.run(found.run_id).request) == plan.request
        if code != -signal.SIGKILL:
            assert code == 0
            break
        killed += 1
    else:
        pytest.fail("the program never came to its end")
    assert killed > 20


def test_two_clients_at_once_make_one_run_with_one_job(tmp_path: Path, plan: Plan) -> None:
    home = HomePaths(tmp_path / "both")
    program = KILLED_CLIENT.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")
    kill_at(10**9, HomePaths(tmp_path / "other"), tmp_path, tmp_path)  # writes the helper
    argv = [sys.executable, "-c", program, str(home.root), str(tmp_path), "0", str(tmp_path / "program")]
    clients = [subprocess.Popen(argv, stderr=subprocess.PIPE, env=dict(os.environ)) for _ in range(4)]
    for client in clients:
        client.communicate(timeout=60)
    assert len(jobs_of(home)) == 1
    (found,) = statuses(home)
    assert (found.state, found.attempt) == (State.PENDING, 1)


def test_cancel_is_one_call_for_many_and_leaves_finished_runs_alone(
    home: HomePaths, tmp_path: Path, fake: FakeScheduler
) -> None:
    ids = [submission.start(home, make_plan(tmp_path, seed=seed), lambda _: fake).run_id for seed in range(3)]
    Journal(home.run(ids[0])).record(State.RUNNING, by="job", attempt=1)
    Journal(home.run(ids[0])).record(State.SUCCEEDED, by="job", attempt=1)
    found = status.cancel(home, lambda _: fake, ids)
    assert [item.state for item in found] == [State.SUCCEEDED, State.CANCELLED, State.CANCELLED]
    assert fake.calls["cancel"] == 1
    assert status.cancel(home, lambda _: fake, ids) == found
    assert fake.calls["cancel"] == 1


def test_many_runs_are_asked_about_in_one_call_and_none_when_nothing_is_open(
    home: HomePaths, tmp_path: Path, fake: FakeScheduler
) -> None:
    ids = [submission.start(home, make_plan(tmp_path, seed=seed), lambda _: fake).run_id for seed in range(12)]
    fake.calls.clear()
    status.overview(home, lambda _: fake)
    assert dict(fake.calls) == {"states": 1}
    status.cancel(home, lambda _: fake, ids)
    fake.calls.clear()
    assert {item.state for item in status.overview(home, lambda _: fake).statuses} == {State.CANCELLED}
    assert not fake.calls


def test_a_job_that_ended_without_a_word_failed_and_one_nobody_knows_is_not_called_ended(
    home: HomePaths, plan: Plan, fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = submission.start(home, plan, lambda _: fake).run_id
    (job_id,) = jobs_of(home)
    fake.forget(job_id)
    assert status.refresh(home, run_id, lambda _: fake).state is State.PENDING
    monkeypatch.setattr(status, "ABSENCE_DEADLINE", status.timedelta(seconds=-1))
    assert status.refresh(home, run_id, lambda _: fake).state is State.LOST
    Journal(home.run(run_id)).record(State.SUCCEEDED, by="job", attempt=1)
    assert status.refresh(home, run_id, lambda _: fake).state is State.SUCCEEDED


def test_one_answer_after_a_long_silence_makes_no_run_lost(home: HomePaths, plan: Plan, fake: FakeScheduler) -> None:
    started = submission.start(home, plan, lambda _: fake)
    journal = home.run(started.run_id).journal
    fake.forget(str(started.status.job_id))
    os.utime(journal, (0, 0))
    assert status.refresh(home, started.run_id, lambda _: fake).state is State.PENDING
    fake._change(lambda jobs: jobs.update({str(started.status.job_id): {"state": "pending", "run_id": started.run_id}}))
    os.utime(journal, (0, 0))
    assert status.refresh(home, started.run_id, lambda _: fake).state is State.PENDING
    fake.forget(str(started.status.job_id))
    os.utime(journal, (0, 0))
    assert status.refresh(home, started.run_id, lambda _: fake).state is State.PENDING
    os.utime(journal, (0, 0))
    assert status.refresh(home, started.run_id, lambda _: fake).state is State.LOST


def test_a_lost_run_whose_job_is_known_again_is_not_sent_again(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    started = submission.start(home, plan, lambda _: fake)
    Journal(home.run(started.run_id)).record(State.LOST, by="submitter", attempt=1, reason="nobody knew it")
    assert submission.start(home, plan, lambda _: fake).status.state is State.PENDING
    fake.end(str(started.status.job_id), exit_code=1)
    assert submission.start(home, plan, lambda _: fake).status.attempt == 2


def test_a_client_killed_in_a_later_attempt_is_given_the_job_of_that_attempt(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    first = submission.start(home, plan, lambda _: fake)
    fake.end(str(first.status.job_id), exit_code=1)
    fake.fail_next(ClusterError("Socket timed out", transient=True), accepted=True)
    with pytest.raises(ClusterError):
        submission.start(home, plan, lambda _: fake)
    found = submission.start(home, plan, lambda _: fake).status
    assert (found.state, found.attempt, len(jobs_of(home))) == (State.PENDING, 2, 2)
    assert found.job_id != first.status.job_id


def test_the_job_of_what_looked_like_a_refusal_does_not_begin(home: HomePaths, plan: Plan, fake: FakeScheduler) -> None:
    fake.fail_next(ClusterError("something new", transient=False), accepted=True)
    with pytest.raises(ClusterError):
        submission.start(home, plan, lambda _: fake)
    (found,) = statuses(home)
    assert found.state is State.FAILED
    assert not claim(home.run(found.run_id), 1, job_id="1001")


class Eager(FakeScheduler):
    """Its jobs begin before it has answered."""

    def _take(self, run_id: str, attempt: int) -> str:
        job_id = super()._take(run_id, attempt)
        assert claim(self.home.run(run_id), attempt, job_id=job_id)
        return job_id


def test_what_looked_like_a_refusal_of_a_job_that_runs_is_none(home: HomePaths, plan: Plan) -> None:
    eager = Eager(home=home)
    eager.fail_next(ClusterError("something new", transient=False), accepted=True)
    with pytest.raises(ClusterError):
        submission.start(home, plan, lambda _: eager)
    found = submission.start(home, plan, lambda _: eager).status
    assert (found.state, found.attempt, len(jobs_of(home))) == (State.PENDING, 1, 1)


def test_of_all_who_want_an_attempt_one_has_it_and_may_take_it_again(home: HomePaths) -> None:
    paths = home.run("mill-1")
    assert holder_of(paths, 1) == ""
    assert claim(paths, 1, job_id="7-123")
    assert not claim(paths, 1, job_id="8-123")
    assert not bar(paths, 1)
    assert claim(paths, 1, job_id="7-123", restart=1)
    assert holder_of(paths, 1) == "7-123"
    assert bar(paths, 2)
    assert bar(paths, 2)
    assert not claim(paths, 2, job_id="7-123")
    assert holder_of(paths, 2) == NOBODY


def test_a_batch_script_takes_an_attempt_by_the_same_rules(home: HomePaths) -> None:
    paths = home.run("mill-1")
    store.private_directory(paths.attempt(1))
    lines = ["set -e", f"logs={paths.attempt(1)}", *claim_lines("$JOB.${RESTART:-0}"), "echo began"]

    def begins(**environment: str) -> bool:
        argv, variables = ["bash", "-c", "\n".join(lines)], {"FORGIA_ATTEMPT": "1", "PATH": os.environ["PATH"]}
        done = subprocess.run(argv, capture_output=True, text=True, env={**variables, **environment}, check=True)
        return done.stdout == "began\n"

    assert [begins(JOB="7"), begins(JOB="8"), begins(JOB="7", RESTART="1"), begins(JOB="70")] == [
        True,
        False,
        True,
        False,
    ]
    assert holder_of(paths, 1) == "7"
    assert not bar(paths, 1)


def test_an_answer_about_an_earlier_attempt_does_not_end_the_next_one(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    started = submission.start(home, plan, lambda _: fake)
    fake.end(str(started.status.job_id), exit_code=1)
    (late,) = fake.states([str(started.status.job_id)]).values()
    assert submission.start(home, plan, lambda _: fake).status.attempt == 2
    found = status.reconcile(home.run(started.run_id), started.status, late.job_id, late)
    assert (found.state, found.attempt) == (State.PENDING, 2)


def test_a_run_at_a_checkpoint_whose_job_somebody_cancelled_does_not_wait_for_another_start(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    started = submission.start(home, plan, lambda _: fake)
    journal = Journal(home.run(started.run_id))
    journal.record(State.CHECKPOINTED, by="job", attempt=1, reason="stopped by SIGTERM; the next attempt goes on")
    fake.cancel([str(started.status.job_id)])
    found = status.refresh(home, started.run_id, lambda _: fake)
    assert found.state is State.CANCELLED
    assert "it was cancelled" in found.reason
    assert submission.start(home, plan, lambda _: fake).status.attempt == 2


def test_a_run_whose_job_went_back_to_the_queue_without_a_word_is_shown_as_waiting(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    started = submission.start(home, plan, lambda _: fake)
    journal = Journal(home.run(started.run_id))
    journal.record(State.RUNNING, by="job", attempt=1)
    fake.requeue(str(started.status.job_id))
    assert status.refresh(home, started.run_id, lambda _: fake).state is State.PENDING
    fake.start(str(started.status.job_id))
    assert status.refresh(home, started.run_id, lambda _: fake).state is State.RUNNING


def test_a_job_that_begins_while_its_scheduler_is_asked_is_not_taken_back(
    home: HomePaths, plan: Plan, fake: FakeScheduler
) -> None:
    started = submission.start(home, plan, lambda _: fake)
    job_id, paths = str(started.status.job_id), home.run(started.run_id)
    waits = fake.states([job_id])[job_id]
    Journal(paths).record(State.RUNNING, by="job", attempt=1)
    assert status.reconcile(paths, started.status, job_id, waits).state is State.RUNNING


def test_a_state_that_cannot_be_written_down_is_told_and_the_others_are_listed(
    home: HomePaths, tmp_path: Path, fake: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (submission.start(home, make_plan(tmp_path, seed=seed), lambda _: fake) for seed in range(2))
    for started in (first, second):
        fake.end(str(started.status.job_id), exit_code=1)
    record = Journal.record

    def refuse(journal: Journal, *arguments: Any, **fields: Any) -> None:
        if journal.paths.root.name == first.run_id:
            raise OSError(28, "No space left on device")
        record(journal, *arguments, **fields)

    monkeypatch.setattr(Journal, "record", refuse)
    view = status.overview(home, lambda _: fake)
    states = {item.run_id: item.state for item in view.statuses}
    assert states == {first.run_id: State.PENDING, second.run_id: State.FAILED}
    assert view.unanswered == (f"run {first.run_id}: its state could not be written down: No space left on device",)


def test_a_silent_end_takes_the_schedulers_reason(home: HomePaths, plan: Plan, fake: FakeScheduler) -> None:
    run_id = submission.start(home, plan, lambda _: fake).run_id
    (job_id,) = jobs_of(home)
    fake.end(job_id, exit_code=9, reason="out of memory on n3")
    found = status.refresh(home, run_id, lambda _: fake)
    assert (found.state, found.reason) == (State.FAILED, "the job ended without a word of its own: out of memory on n3")


def test_a_scheduler_that_does_not_answer_changes_nothing(home: HomePaths, plan: Plan, fake: FakeScheduler) -> None:
    run_id = submission.start(home, plan, lambda _: fake).run_id

    def dead(_: str) -> Scheduler:
        raise ClusterError("slurmctld does not answer", transient=True)

    view = status.overview(home, dead)
    assert view.statuses[0].state is State.PENDING
    assert "does not answer" in view.unanswered[0]
    with pytest.raises(ClusterError) as caught:
        status.refresh(home, run_id, dead)
    assert caught.value.transient
    assert [item.state for item in status.wait(home, run_id, dead, sleep=FakeTime(home, run_id))][-1] is State.FAILED


class FakeTime:
    """Time in which the job, after some turns, says that it failed."""

    def __init__(self, home: HomePaths, run_id: str) -> None:
        self.journal, self.turns = Journal(home.run(run_id)), 0

    def __call__(self, seconds: float) -> None:
        self.turns += 1
        if self.turns == 50:
            self.journal.record(State.FAILED, by="job", attempt=1, reason="at last")
