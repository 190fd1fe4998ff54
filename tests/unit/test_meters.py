from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.spending.meters import Meter

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class Task:
    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        return model(batch["numeric"]).mean()


def batch(rows: int) -> dict[str, torch.Tensor]:
    return {"numeric": torch.randn(rows, 5), "target": torch.zeros(rows)}


def test_the_operations_of_a_layer_are_two_for_each_weight_on_each_of_its_ways() -> None:
    meter = Meter(world=ALONE)
    meter.count_flops(Task(), nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)), batch(8))  # type: ignore[arg-type]
    forward, weights, inputs = 2 * (35 + 21), 2 * (35 + 21), 2 * 21  # the first layer's inputs need no gradient
    assert meter.flops_per_sample == forward + weights + inputs


def test_counting_leaves_network_and_generator_as_they_were() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Dropout(0.5))
    before, rows = {name: tensor.clone() for name, tensor in model.state_dict().items()}, batch(8)
    state = torch.get_rng_state()
    Meter(world=ALONE).count_flops(Task(), model, rows)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_speed_is_told_of_what_is_known() -> None:
    meter = Meter(world=ALONE, samples=1000, seconds=2.0, waited_s=0.5, flops_per_sample=1e9, tokens_per_sample=64)
    assert meter.speed(precision="fp32") == {
        "samples_per_s": 500,
        "tokens_per_s": 32_000,
        "data_wait_share": 0.25,
        "tflops": pytest.approx(0.5),
    }
    assert Meter(world=ALONE).speed(precision="fp32") == {}


def test_steps_are_timed_with_their_waits() -> None:
    meter = Meter(world=ALONE)
    for _ in range(3):
        with meter.step(), meter.waiting():
            pass
    assert meter.steps == 3
    assert 0 <= meter.waited_s <= meter.seconds
