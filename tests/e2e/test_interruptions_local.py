"""``forgia run --interrupt-at``: what a cluster does to a job now and then, tried out on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from forgia.paths import HomePaths
from forgia.run import Journal, State, statuses

SMALL = ("--test", "--set", "train.epochs=3", "--set", "evaluate.gate=null", "--set", "evaluate.baseline=null")


def events(home: HomePaths, run_id: str, field: str) -> list[Any]:
    lines = Journal(home.run(run_id)).read()
    return [line[field] for line in lines if line["event"] == "note" and field in line]


@pytest.mark.slow
def test_a_run_that_is_interrupted_on_purpose_learns_the_same(mine: Callable[..., Any], home: HomePaths) -> None:
    refs = [
        mine("run", *SMALL).stdout.split()[0],
        mine("run", "--again", *SMALL, "--interrupt-at", "1s,2s:preempt").stdout.split()[0],
    ]
    tensors = [json.loads(mine("model", "show", ref, "--json").stdout)["tensors"] for ref in refs]
    assert tensors[0] == tensors[1] != ""
    first, second = sorted(statuses(home), key=lambda status: status.planned)
    assert (first.attempt, second.attempt) == (1, 3)
    assert second.run_id == f"{first.run_id}-2", "the interruptions are no part of the request"
    assert events(home, second.run_id, "cause") == ["time_limit", "preemption"]
    deadline = time.monotonic() + 30
    while home.run(second.run_id).interruptions.exists():  # its controller ends a moment after the job
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_job_makes_no_more_attempts_than_its_budgets_allow(mine: Callable[..., Any], home: HomePaths) -> None:
    never = ("--set", "resources.attempts.node_failure=0")
    done = mine("run", *SMALL, *never, "--interrupt-at", "1s:kill", check=False)
    assert done.returncode == 6
    assert "lost a node, which resources.attempts.node_failure lets happen never" in done.stderr
    (status,) = statuses(home)
    assert status.state is State.FAILED
    mine("job", "retry", status.run_id)
    mine("job", "wait", status.run_id)
    assert Journal(home.run(status.run_id)).status().state.is_success


def test_interruptions_that_mean_nothing_are_refused_before_anything_is_sent(
    mine: Callable[..., Any], home: HomePaths
) -> None:
    wrong = mine("run", *SMALL, "--interrupt-at", "soon,5s:explode", check=False)
    assert wrong.returncode == 2
    assert "soon" in wrong.stderr
    assert "'explode' is none of limit, preempt, kill" in wrong.stderr
    cluster = mine("run", *SMALL, "--interrupt-at", "5s", "--profile", "slurm-local", check=False)
    assert cluster.returncode == 2
    assert "which brings its own" in cluster.stderr
    assert list(statuses(home)) == []
