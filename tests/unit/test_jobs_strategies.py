"""What strategies share: a network's blocks, an optimizer's state by name, DeepSpeed's settings from the recipe's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from forgia.errors import IntegrityError, UserError
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import DeepSpeed, Train
from forgia_jobs.strategies import blocks, make, named
from forgia_jobs.strategies.zero import config_of

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class Tower(nn.Module):
    """Blocks in a list, one with a list of its own; head and embedding share a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        inner = nn.Module()
        inner.layers = nn.ModuleList([nn.Linear(4, 4), nn.Sequential(nn.ModuleList([nn.Linear(4, 4)]), nn.Dropout())])
        self.inner = inner
        self.heads = nn.ModuleList([nn.Linear(4, 7, bias=False), nn.Identity()])
        self.heads[0].weight = self.embedding.weight


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)) for _ in range(2))

    def forward(self, values: Tensor) -> Tensor:
        for block in self.blocks:
            values = block(values)
        return values


def test_blocks_are_the_members_of_the_outermost_lists() -> None:
    tower = Tower()
    assert blocks.of(tower) == [*tower.inner.layers, *tower.heads]
    assert blocks.with_own_parameters(tower) == [*tower.inner.layers]
    assert blocks.of(nn.Linear(2, 2)) == []


def test_compiled_code_is_kept_where_nobody_else_can_put_any(tmp_path: Path) -> None:
    place = blocks.compiled_code(str(tmp_path))
    assert place == blocks.compiled_code(str(tmp_path))
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o770)
    another = blocks.compiled_code(str(tmp_path))
    assert another != place
    assert another.stat().st_mode & 0o777 == 0o700
    place.rmdir()
    place.symlink_to(another)
    assert blocks.compiled_code(str(tmp_path)) not in (place, another)


def test_recomputing_counts_no_batch_twice() -> None:
    buffers = []
    for is_recomputed in (False, True):
        torch.manual_seed(5)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        blocks.prepare(model, Train(activation_checkpointing=is_recomputed))
        for _ in range(3):
            model(torch.randn(6, 3)).square().sum().backward()
        assert model[1].momentum == 0.1
        buffers.append(dict(model.named_buffers()))
    assert int(buffers[1]["1.num_batches_tracked"]) == 3
    assert all(torch.equal(buffers[0][name], buffers[1][name]) for name in buffers[0])


@pytest.mark.parametrize("network", [Wide, lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))])
def test_recomputing_changes_neither_names_nor_gradients(network: type[nn.Module]) -> None:
    gradients = []
    for is_recomputed in (False, True):
        torch.manual_seed(5)
        model = network()
        names = [*model.state_dict()]
        blocks.prepare(model, Train(activation_checkpointing=is_recomputed))
        assert [*model.state_dict()] == names
        model(torch.ones(6, 3)).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def trained(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW([{"params": [model.weight], "betas": (0.8, 0.9)}, {"params": [model.bias]}], lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_an_optimizers_state_is_told_by_name_and_its_scalars_are_json() -> None:
    model = nn.Linear(3, 2)
    optimizer = trained(model)
    names = named.parameter_names(model, optimizer)
    state = named.state_by_name(optimizer, names)
    scalars = named.scalars_of(optimizer.param_groups, names, state)
    assert [group["names"] for group in scalars["groups"]] == [["weight"], ["bias"]]
    assert named.whole_quantities(state, {"weight": (2, 3), "bias": (2,)}) == ["step"]
    assert named.quantities(named.tensors_of(state)) == {
        "weight": ["step", "exp_avg", "exp_avg_sq"],
        "bias": ["step", "exp_avg", "exp_avg_sq"],
    }

    other = torch.optim.AdamW([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.5)
    kept = json.loads(json.dumps(scalars))
    tensors = {name: {q: v for q, v in found.items() if isinstance(v, Tensor)} for name, found in state.items()}
    named.load(other, names, kept, tensors)
    assert other.param_groups[0]["betas"] == (0.8, 0.9)
    assert other.param_groups[1]["lr"] == 0.1
    assert torch.equal(other.state[model.bias]["exp_avg"], optimizer.state[model.bias]["exp_avg"])


def test_a_state_of_other_parameters_is_refused() -> None:
    model = nn.Linear(3, 2)
    optimizer = trained(model)
    names = named.parameter_names(model, optimizer)
    scalars = named.scalars_of(optimizer.param_groups, names, {})
    with pytest.raises(IntegrityError, match="the parameters of this network"):
        named.load(optimizer, [["weight", "bias"], []], scalars, {})


def test_deepspeed_is_told_nothing_that_the_recipe_does_not_say() -> None:
    train = Train(
        batch_size=33, accumulate=4, gradient_clip=0.7, precision="bf16", deepspeed=DeepSpeed(stage=3, offload=True)
    )
    found = config_of(train, world_size=2, parameters=1000)
    assert found["train_micro_batch_size_per_gpu"] == 5
    assert found["gradient_accumulation_steps"] == 4
    assert found["gradient_clipping"] == 0.7
    assert found["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert (found["zero_optimization"]["stage"], found["zero_optimization"]["reduce_bucket_size"]) == (3, 1000)
    assert found["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert "optimizer" not in found
    assert config_of(Train(), world_size=1, parameters=1)["gradient_clipping"] == 0.0


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed"])
def test_no_strategy_trains_in_bf16_on_a_cpu(name: str) -> None:
    with pytest.raises(UserError, match="needs GPUs"):
        make(name, ALONE).setup(Train(strategy=name, precision="bf16"))


def test_an_optimizer_that_sharding_would_change_is_refused_with_the_reason() -> None:
    strategy = make("fsdp", ALONE)
    strategy.setup(Train(strategy="fsdp"))
    with pytest.raises(UserError, match="cannot train with Adafactor, which sums over whole matrices"):
        strategy.wrap(nn.Linear(2, 2), lambda model: torch.optim.Adafactor(model.parameters()))
