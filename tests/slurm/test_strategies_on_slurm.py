"""Sharded training over two nodes of a real SLURM, preempted half-way: the losses of one process left alone."""

from __future__ import annotations

from pathlib import Path

import lab_interruptions as interruptions
import pytest
from lab import SlurmLab
from lab_interruptions import PAIRS, provoke, settle, submit

from forgia.paths import RunPaths
from forgia.run import Journal
from forgia.store import read_lines

STEPS = 60
PAUSE_S = 0.2
TOLERANCE = 1e-5
"""Absolute, on losses near 0.1: sums over ranks come in another order."""
STRATEGIES = ("fsdp", "deepspeed")


@pytest.mark.slow
def test_two_nodes_learn_what_one_process_does_under_every_strategy_though_they_are_preempted(
    tmp_path: Path, slurm_lab: SlurmLab
) -> None:
    client = interruptions.home_of(tmp_path)
    source = client.catalogue.recipe("predictive-maintenance")
    slow, quick = (interruptions.recipe_with_pause(source, tmp_path, pause_s=pause_s) for pause_s in (PAUSE_S, 0.0))
    sent = [
        submit(client, slow, steps=STEPS, nodes=nodes, sets=(f"train.strategy={strategy}",))
        for strategy, nodes in zip(STRATEGIES, PAIRS, strict=True)
    ]
    for paths in sent:
        interruptions.await_progress(paths, 1)
    under_way = [provoke(slurm_lab, paths, "preemption") for paths in sent]
    outcomes = [settle(provoked) for provoked in under_way]
    assert all(outcome.is_as_promised for outcome in outcomes), outcomes
    for paths in sent:
        interruptions.tensors(client, paths)  # waits for its end
    alone = submit(client, quick, steps=STEPS, nodes=None, sets=("resources.nodes=1",))
    interruptions.tensors(client, alone)
    expected = losses(alone)
    assert len(expected) == STEPS
    for paths in sent:
        assert {line["world_size"] for line in interruptions.running(paths)} == {2}, Journal(paths).read()
        assert losses(paths) == pytest.approx(expected, abs=TOLERANCE)


def losses(paths: RunPaths) -> list[float]:
    """The loss of every step, once each."""
    return [line["loss"] for line in read_lines(paths.metrics) if line["kind"] == "step"]
