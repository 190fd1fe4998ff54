"""The main job on the laptop: from exports to a registered model and its scores, and what may go wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from forgia.paths import HomePaths
from forgia.run import Journal, State, statuses

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("--test",)
"""Enough training to have something to register."""


@pytest.mark.slow
def test_from_three_exports_to_scores_of_new_data(mine: Command, exports: dict[str, Path], tmp_path: Path) -> None:
    assert "ready for laptop" in mine("check").stdout
    plan = json.loads(mine("plan", *SMALL, "--json").stdout)
    assert plan["identity"].startswith("sha256:")
    assert plan["script"].startswith("#!/bin/bash")
    ref, digest = mine("run", *SMALL).stdout.split()
    assert ref == "mine@1.0.0"
    shown = json.loads(mine("model", "show", ref, "--json").stdout)
    assert digest in json.dumps(shown)
    assert "average_precision" in json.dumps(shown)
    again = mine("run", *SMALL)
    assert again.stdout.split() == [ref, digest]
    assert "has been asked before" in again.stderr
    mine("predict", ref, exports["gamma"], "-o", tmp_path / "scored.parquet")
    scored = pq.read_table(tmp_path / "scored.parquet")
    assert scored.num_rows == 4000
    assert scored["prediction"].null_count == 0
    assert "verified" in mine("model", "verify", ref).stdout
    mine("model", "pull", ref, "--to", tmp_path / "handover")
    assert (tmp_path / "handover" / "README.md").read_text().startswith("---")
    jobs = json.loads(mine("job", "list", "--json").stdout)["runs"]
    assert [(job["state"], job["version"]) for job in jobs] == [("collected", "1.0.0")]


@pytest.mark.slow
def test_a_model_altered_by_one_byte_is_neither_verified_nor_used(
    mine: Command, exports: dict[str, Path], home: HomePaths, tmp_path: Path
) -> None:
    ref = mine("run", *SMALL).stdout.split()[0]
    blobs = (home.repository("local", "model", "mine") / "blobs" / "sha256").iterdir()
    largest = max(blobs, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(data)
    scored = tmp_path / "scored.parquet"
    for arguments in (["model", "verify", ref], ["predict", ref, exports["alfa"], "-o", scored]):
        done = mine(*arguments, check=False)
        assert done.returncode == 1
        assert "is not what its digest says" in done.stderr
    assert not scored.exists()


@pytest.mark.slow
def test_two_runs_of_one_recipe_at_once_are_one_run(mine: Command, home: HomePaths) -> None:
    argv = [sys.executable, "-m", "forgia_cli.main", "run", *SMALL]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    (found,) = statuses(home)
    assert (found.state, found.attempt, found.version) == (State.COLLECTED, 1, "1.0.0")


@pytest.mark.slow
def test_ctrl_c_leaves_the_run_going_and_wait_comes_back(mine: Command, home: HomePaths) -> None:
    argv = [sys.executable, "-m", "forgia_cli.main", "run", *SMALL]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    told = ""
    while "pending" not in told:
        told = process.stderr.readline()
        assert told or process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on; come back with: forgia job wait" in rest
    assert mine("job", "wait", "last").stdout.startswith("mine@1.0.0")


@pytest.mark.slow
def test_a_cancelled_run_is_cancelled_and_the_same_command_goes_on_with_it(mine: Command, home: HomePaths) -> None:
    run_id = mine(
        "submit", "-q", "--test", "--set", "train.epochs=500", "--set", "train.checkpoint_every=5"
    ).stdout.strip()
    journal = Journal(home.run(run_id))
    deadline = time.monotonic() + 60
    while not any(home.run(run_id).checkpoints.glob("[!.]*")):
        assert time.monotonic() < deadline, mine("job", "logs", run_id).stdout
        time.sleep(0.1)
    assert mine("job", "cancel", run_id).stdout.split() == [f"{run_id}:", "cancelled"]
    assert mine("job", "cancel", run_id).stdout.split() == [f"{run_id}:", "cancelled"]
    assert mine("job", "wait", run_id, check=False).returncode == 6
    assert "attempt 2" in mine("job", "retry", run_id).stdout
    mine("job", "cancel", run_id)
    assert journal.status().attempt == 2


def test_a_recipe_that_breaks_while_it_trains_fails_with_its_reason_and_exit_code(mine: Command) -> None:
    task = Path("mine/task.py")
    task.write_text(task.read_text().replace("def loss(", "def loss_was(", 1))
    done = mine("run", *SMALL, check=False)
    assert done.returncode == 6
    assert "loss" in done.stderr
    assert "forgia job why" in done.stderr
