"""A training that goes on as another run: which checkpoint it is given, and what may differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forgia import handover
from forgia.errors import UserError
from forgia.paths import RunPaths
from forgia.run import Journal, State

REQUEST: dict[str, Any] = {
    "recipe": {"name": "mill", "digest": "sha256:1"},
    "params": {"width": 8},
    "train": {"strategy": "ddp", "epochs": 5, "deepspeed": None, "seed": 0},
    "resources": {"nodes": 1, "tasks_per_node": 1},
    "profile": {"name": "laptop"},
}


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return {**REQUEST, **{name: {**REQUEST.get(name, {}), **value} for name, value in sections.items()}}


def test_only_how_the_training_is_done_may_differ() -> None:
    free = changed(
        train={"strategy": "deepspeed", "deepspeed": {"stage": 3}, "preflight": False, "checkpoint_every": 9},
        resources={"nodes": 4},
        profile={"name": "leonardo-booster"},
        goes_on_from={"run": "mill-0"},
    )
    assert list(handover.differences(REQUEST, free)) == []
    strange = changed(
        train={"epochs": 9, "privacy": {"kind": "dp"}}, params={"width": 9}, recipe={"digest": "sha256:2"}
    )
    told = ["params.width", "recipe.digest", "train.epochs", "train.privacy"]
    assert list(handover.differences(REQUEST, strange)) == told


def test_the_newest_checkpoint_of_a_run_that_has_ended_is_given(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "mill-1")
    paths.root.mkdir()
    journal = Journal(paths)
    journal.record(State.RUNNING, by="job", attempt=1)
    for step in (9, 10, 3):
        place = paths.checkpoints / f"step-{step:09d}"
        place.mkdir(parents=True)
        (place / "manifest.json").write_text(json.dumps({"digest": f"sha256:{step}", "step": step}))
    (paths.checkpoints / "step-000000011").mkdir()
    with pytest.raises(UserError, match="may write another checkpoint"):
        handover.given(paths)
    journal.record(State.CANCELLED, by="job", attempt=1)
    found = handover.given(paths)
    assert found.to_json() == {"run": "mill-1", "step": 10, "digest": "sha256:10"}
    assert found.place == paths.checkpoints / "step-000000010"


def test_a_run_without_a_checkpoint_has_none_to_give(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "mill-1")
    paths.root.mkdir()
    Journal(paths).record(State.FAILED, by="job", attempt=1)
    with pytest.raises(UserError, match="no checkpoint to go on from"):
        handover.given(paths)


def test_what_is_no_manifest_is_told(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "mill-1")
    place = paths.checkpoints / "step-000000001"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text("{}")
    Journal(paths).record(State.FAILED, by="job", attempt=1)
    with pytest.raises(UserError, match="not the manifest of a checkpoint"):
        handover.given(paths)
