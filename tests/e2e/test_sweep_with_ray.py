"""A sweep as one job: ray tries the points, and what comes of them is told as an array's is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgia.paths import HomePaths
from forgia.run import State, statuses
from forgia.sweep import GIVEN_UP

SMALL = (
    *("--test", "--set", "train.epochs=40", "--set", "train.patience=0", "--set", "evaluate.gate=null"),
    *("--set", "evaluate.baseline=null"),
)
OVER = ("--over", "learning_rate=0.01,0.02,0.000001,0.000002", "--parallel", "2")


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for temporary files where the paths of sockets are short enough."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        yield Path(place)


@pytest.mark.slow
def test_one_job_tries_all_points_and_gives_up_the_poor_ones(
    mine: Callable[..., Any], home: HomePaths, short_tmp: Path
) -> None:
    done = mine("sweep", *SMALL, *OVER, "--with", "ray")
    header, *points, last = done.stdout.splitlines()
    assert header.split() == [
        *("point", "train.learning_rate", "f1", "(validation)", "f1", "(test)", "state", "run"),
    ], "as of an array"  # fmt: skip
    assert last.startswith("mine@1.0.0  sha256:")
    shown = json.loads(mine("sweep", "show", "--json").stdout)
    states = [point["state"] for point in shown["points"]]
    assert states[:2].count("collected") == 1
    assert set(states[2:]) == {"cancelled"}, points
    assert all(point["reason"].startswith(GIVEN_UP) for point in shown["points"][2:])
    (job,) = [item for item in statuses(home) if item.run_id == shown["sweep"]["job"]]
    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)
    refused = mine("sweep", "retry", check=False)
    assert (refused.returncode, "no member has failed" in refused.stderr) == (2, True), "a poor point stays given up"
    again = mine("sweep", *SMALL, *OVER, "--with", "ray")
    assert "4 of which ran" in again.stderr
    assert {item.attempt for item in statuses(home)} == {1}
    assert not list(short_tmp.glob("forgia-ray-*"))
