"""Checkpoints of real trainings: under another number of ranks, and on a disk that fills up meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_training import TASK, Change, evaluation, make_run, start, steps, train, train_here, wait_for

from forgia import digest
from forgia.paths import RunPaths
from forgia.run import Journal, State
from forgia_jobs.checkpoints import checkpoint, checkpoint_manifest

LOSS = "        answers = model(batch["
FILL = """
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == 20:
            try:
                with open({junk!r}, "xb", buffering=0) as file:
                    while True:
                        file.write(bytes(1 << 12))
            except OSError:  # the disk is full, or was once
                pass
"""


def identity(paths: RunPaths) -> str:
    return digest.of_json(json.loads(paths.request.read_text()))


def train_all(paths: RunPaths, world_size: int) -> list[int]:
    """A single rank needs no process of its own."""
    return [train_here(paths)] if world_size == 1 else train(paths, world_size=world_size)


def hand_over(given: RunPaths, taking: RunPaths) -> int:
    """Give a run the oldest checkpoint of another, as if it had asked for the same; the step."""
    oldest = list(checkpoint.newest_first(given.checkpoints))[-1]
    place = taking.checkpoints / oldest.name
    shutil.copytree(oldest, place)
    manifest = checkpoint_manifest.read(place)
    checkpoint_manifest.write(place, replace(manifest, request=identity(taking)))
    shutil.copyfile(given.metrics, taking.metrics)
    return manifest.step


@pytest.mark.parametrize(("before", "after"), [(("fsdp", 2), ("ddp", 1)), (("ddp", 1), ("ddp", 2))])
def test_a_training_goes_on_with_another_strategy_or_number_of_ranks(
    before: tuple[str, int], after: tuple[str, int], tmp_path: Path
) -> None:
    """Without dropout the same rows give the same losses, but for the order of sums."""
    asked: Change = {"batch_size": 33, "epochs": 7, "max_steps": 50, "checkpoint_every": 12, "keep_checkpoints": 3}
    given, taking = (
        make_run(tmp_path, train={**asked, "strategy": name, "preflight": False}, resources={"tasks_per_node": size})
        for name, size in (before, after)
    )
    assert train_all(given, before[1]) == [0] * before[1]
    step = hand_over(given, taking)
    assert step == 36
    assert train_all(taking, after[1]) == [0] * after[1]
    notes = [line["text"] for line in Journal(taking).read() if line["event"] == "note"]
    assert notes == ["resumed at step 36"]
    first, second = ([line["loss"] for line in steps(paths)] for paths in (given, taking))
    assert second == pytest.approx(first, abs=1e-5)
    manifest = checkpoint_manifest.read(next(checkpoint.newest_first(taking.checkpoints)))
    assert (manifest.strategy, manifest.world_size) == after


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_two_ranks_of_which_one_is_killed_and_resumed_equal_two_that_were_not(victim: int, tmp_path: Path) -> None:
    """With dropout: every rank's generators go on where they were."""
    asked: dict[str, Change] = {
        "params": {"dropout": 0.2},
        "train": {"strategy": "fsdp", "epochs": 4, "preflight": False},
        "resources": {"tasks_per_node": 2},
    }
    whole, killed = make_run(tmp_path, **asked), make_run(tmp_path, **asked)
    assert train(whole, world_size=2) == [0, 0]
    ranks = [start(killed, rank=rank, world_size=2) for rank in range(2)]
    wait_for(lambda: len(steps(killed)) >= 17, ranks[victim])
    ranks[victim].kill()
    for rank in ranks:
        rank.communicate(timeout=120)
    assert Journal(killed).status().state is not State.SUCCEEDED
    assert train(killed, world_size=2) == [0, 0]
    notes = [line["step"] for line in Journal(killed).read() if line.get("resumed")]
    assert len(notes) == 1
    assert notes[0] >= 7
    assert steps(killed) == steps(whole)
    assert evaluation(killed)["tensors_digest"] == evaluation(whole)["tensors_digest"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[RunPaths]:
    """A run whose checkpoints lie on a disk of a megabyte, which its 20th step fills."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    paths = make_run(tmp_path)
    text = TASK.replace(LOSS, FILL.format(junk=str(paths.checkpoints / "junk")) + LOSS, 1)
    (paths.recipe / "task.py").write_text(text)
    value = json.loads(paths.request.read_text())
    value["recipe"]["digest"] = digest.of_tree(paths.recipe)
    paths.request.write_text(json.dumps(value))
    paths.checkpoints.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(paths.checkpoints)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    try:
        yield paths
    finally:
        subprocess.run(["umount", str(paths.checkpoints)], check=True)


def test_a_disk_that_fills_up_ends_the_training_with_its_last_checkpoint_intact(small_disk: RunPaths) -> None:
    paths = small_disk
    assert train_here(paths) == 1
    status = Journal(paths).status()
    assert status.state is State.FAILED
    assert "cannot be written: [Errno 28] No space left on device" in status.reason
    assert "forgia job retry" in status.reason
    kept = [place.name for place in paths.checkpoints.iterdir() if place.is_dir()]
    assert kept
    assert all(name.startswith("step-") for name in kept), "nothing half written is left"
    for name in kept:
        checkpoint_manifest.verify(paths.checkpoints / name, identity=identity(paths))
    os.truncate(paths.checkpoints / "junk", 0)
    assert train_here(paths) == 0
    assert Journal(paths).status().state is State.SUCCEEDED
