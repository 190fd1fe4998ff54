"""A training that was stopped goes on under another strategy, as somebody asks for it on the command line."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from forgia.paths import HomePaths
from forgia.run import Journal

from .conftest import Command

LONG = (
    *("--test", "--set", "train.epochs=400", "--set", "train.patience=0", "--set", "train.checkpoint_every=5"),
    *("--set", "evaluate.gate=null", "--set", "evaluate.baseline=null", "--set", "train.max_steps=400"),
)


@pytest.mark.slow
def test_a_cancelled_run_goes_on_sharded_over_two_processes(mine: Command, home: HomePaths) -> None:
    first = mine("submit", "mine", *LONG, "-q").stdout.strip()
    paths = home.run(first)
    deadline = time.monotonic() + 120
    while not list(paths.checkpoints.glob("step-*/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    going = mine("check", "mine", *LONG, "--go-on-from", first, check=False)
    assert (going.returncode, "may write another checkpoint" in going.stderr) == (2, True)
    mine("job", "cancel", first)
    mine("job", "wait", first, check=False)
    strange = mine("check", "mine", *LONG, "--go-on-from", first, "--set", "train.learning_rate=0.5", check=False)
    assert (strange.returncode, "train.learning_rate differ(s)" in strange.stderr) == (2, True)
    sharded = ("--set", "train.strategy=fsdp", "--set", "resources.tasks_per_node=2")
    mine("run", "mine", *LONG, "--go-on-from", first, *sharded)
    (second,) = [path for path in home.runs.iterdir() if (path / "request.json").is_file() and path.name != first]
    given = json.loads((second / "request.json").read_text())["goes_on_from"]
    notes = [line["text"] for line in Journal(home.run(second.name)).read() if line["event"] == "note"]
    assert f"goes on from step {given['step']} of run {first}" in notes
    lines = [json.loads(line) for line in (second / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert (steps[0], steps[-1]) == (1, 400)
    assert all(later == step + 1 for step, later in pairwise(steps)), "the first run's steps, and those after them"
    assert 0 < given["step"] < 400
    mine("model", "pull", "mine", "--to", "out")
    cards = "".join(path.read_text() for path in Path("out").rglob("README.md"))
    assert f"from step {given['step']} of run {first} on" in cards
