"""One rank of small trainings under one strategy after the other; the leader writes what was found as one JSON object.

    python strategy_program.py FOLDER STOP KIND,KIND,...     with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set

Each training is also interrupted after STOP steps. Every kind loads the states in FOLDER/foreign and that of the kind
before it, and tells them again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from forgia_jobs import determinism
from forgia_jobs.checkpoints.pieces import Piece, State
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import DeepSpeed, Train
from forgia_jobs.samples import batches
from forgia_jobs.strategies import Share, Strategy, make

STEPS = 50
BATCHES = (24, 24, 17, 1)
"""Rows of the global batches in turn; under a batch of one, some ranks have nothing."""
FEATURES = 6


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, 7), nn.Linear(7, width)

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = hidden + self.outer(torch.tanh(self.inner(self.norm(hidden))))
        return found


class Network(nn.Module):
    """Odd sizes, so that rows do not divide evenly; a buffer; a parameter that is not trained."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((FEATURES,), 0.5))
        self.embed = nn.Linear(FEATURES, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.frozen = nn.Parameter(torch.ones(width), requires_grad=False)
        self.out = nn.Linear(width, 1)

    def forward(self, numeric: Tensor) -> Tensor:
        hidden = self.embed(numeric - self.mean) * self.frozen
        for block in self.blocks:
            hidden = block(hidden)
        found: Tensor = self.out(hidden).squeeze(1)
        return found


class Task:
    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        found = functional.mse_loss(model(batch["numeric"]), batch["target"], reduction="none")
        return (found * batch["weight"]).mean()


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Two groups, as a recipe's own hook may make them."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    rest = [parameter for parameter in trained if parameter.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": rest, "lr": 0.02}], lr=0.01)


class Stored:
    """A state in a folder, a file a rank."""

    def __init__(self, folder: Path) -> None:
        self.parts = [load_file(path) for path in sorted(folder.glob("rank-*.safetensors"))]
        described = [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]
        self.offsets = [found["offsets"] for found in described]
        assert all(found["scalars"] == described[0]["scalars"] for found in described), "scalars differ among ranks"
        self.scalars: dict[str, Any] = described[0]["scalars"]

    def names(self) -> Iterable[str]:
        return sorted({name for part in self.parts for name in part})

    def whole(self, name: str) -> Tensor:
        found = [
            (offset[name], part[name]) for offset, part in zip(self.offsets, self.parts, strict=True) if name in part
        ]
        found.sort(key=lambda pair: pair[0][0])
        (_, rows), first = found[0]
        if rows is None:
            assert len(found) == 1, f"{name} is whole on several ranks"
            return first
        ends = [offset + len(part) for (offset, _), part in found]
        assert [offset for (offset, _), _ in found] == [0, *ends[:-1]] and ends[-1] == rows, f"{name} has gaps"
        return torch.cat([part for _, part in found])

    def slice(self, name: str, start: int, stop: int) -> Tensor:
        return self.whole(name)[start:stop]

    def tensors(self) -> dict[str, Tensor]:
        return {name: self.whole(name) for name in self.names()}


def write(folder: Path, pieces: Iterable[Piece], scalars: Mapping[str, Any], world: World) -> Stored:
    """This rank's part of a state; what all have written is read again."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {piece.name: piece for piece in pieces}
    save_file({n: p.tensor.clone().contiguous() for n, p in kept.items()}, folder / f"rank-{world.rank}.safetensors")
    described = {"offsets": {n: [p.offset, p.rows] for n, p in kept.items()}, "scalars": scalars}
    (folder / f"rank-{world.rank}.json").write_text(json.dumps(described))
    world.barrier()
    return Stored(folder)


def data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    numeric = torch.randn(sum(BATCHES), FEATURES, generator=generator)
    target = numeric[:, 0] * numeric[:, 1] + numeric[:, 2]
    return {"numeric": numeric, "target": target, "weight": torch.rand(len(target), generator=generator) + 0.5}


def start(kind: str, world: World, **settings: Any) -> Strategy:
    name, stage = ("deepspeed", int(kind[-1])) if kind.startswith("zero") else (kind, 0)
    strategy = make(name, world)
    strategy.setup(Train(strategy=name, gradient_clip=0.5, deepspeed=DeepSpeed(stage=stage), **settings))
    torch.manual_seed(0)
    strategy.wrap(Network(), optimizer)
    strategy.model.train()
    return strategy


def steps(strategy: Strategy, *, first: int = 0, last: int = STEPS, accumulate: int = 1) -> list[float]:
    """The global losses of these steps."""
    world, columns, losses = strategy.world, data(), []
    starts = [sum(BATCHES[:number]) for number in range(len(BATCHES))]
    for step in range(first, last):
        number = step % len(BATCHES)
        rows = torch.arange(starts[number], starts[number] + BATCHES[number])
        mine = rows[batches.slice_of_rank(len(rows), rank=world.rank, world_size=world.size)]
        shares = []
        for part in torch.tensor_split(mine, accumulate):
            chosen = part if len(part) else rows[:1]
            shares.append(Share({name: column[chosen] for name, column in columns.items()}, len(part)))
        losses.append(strategy.step(Task(), shares, global_rows=len(rows)))
    return world.sum(torch.stack(losses)).tolist()


def furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference; infinite where names or shapes differ."""
    if one.keys() != other.keys() or any(one[name].shape != other[name].shape for name in one):
        return float("inf")
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def told(strategy: Strategy, folder: Path) -> Stored:
    state: State = strategy.state()
    return write(folder, state.pieces, state.scalars, strategy.world)


def explore(kind: str, folder: Path, world: World, *, stop: int) -> dict[str, Any]:
    """One training without a break, the same with one, one in micro-batches, and a snapshot."""
    strategy = start(kind, world)
    losses = steps(strategy, last=stop)
    snapshot = strategy.snapshot()
    stopped = told(strategy, folder / kind)
    best = write(folder / f"{kind}-best", strategy.pieces_of(snapshot), {}, world)
    losses += steps(strategy, first=stop)
    ended = told(strategy, folder / f"{kind}-ended").tensors()
    strategy.restore(strategy.snapshot_from(best))
    weights = strategy.weights()
    strategy.teardown()
    expected = {name: stopped.whole(f"model/{name}") for name in weights}

    again = start(kind, world)
    again.load_state(stopped)
    resumed_losses = steps(again, first=stop)
    resumed = told(again, folder / f"{kind}-resumed").tensors()
    again.teardown()
    accumulating = start(kind, world, accumulate=2, activation_checkpointing=True)
    accumulated = steps(accumulating, accumulate=2)
    accumulating.teardown()
    return {
        "losses": losses,
        "resumed_differs": furthest(ended, resumed),
        "resumed_losses_differ": max(abs(a - b) for a, b in zip(losses[stop:], resumed_losses, strict=True)),
        "accumulated": accumulated,
        "snapshot_differs": furthest(weights, expected) if world.leads else 0.0,
        "weights_elsewhere": 0 if world.leads else len(weights),
    }


def adopt(kind: str, source: Path, folder: Path, world: World) -> float:
    """How far what a strategy tells is from the foreign state it has loaded."""
    strategy = start(kind, world)
    foreign = Stored(source)
    strategy.load_state(foreign)
    found = told(strategy, folder)
    strategy.teardown()
    assert found.scalars == foreign.scalars, (found.scalars, foreign.scalars)
    return furthest(found.tensors(), foreign.tensors())


def main(folder: Path, stop: int, kinds: list[str]) -> None:
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    determinism.set_up(level="D1", seed=0, threads=1)
    if size > 1:
        dist.init_process_group("gloo")
    world = World(rank=rank, size=size, device=torch.device("cpu"))
    own, found = folder / f"world-{size}", {}
    for kind in kinds:
        found[kind] = explore(kind, own, world, stop=stop)
    for number, kind in enumerate(kinds):
        sources = [*sorted((folder / "foreign").iterdir()), own / kinds[number - 1]]
        found[kind]["adopted"] = {
            source.name: adopt(kind, source, folder / f"adopted-{size}" / f"{source.name}-by-{kind}", world)
            for source in sources
        }
    if world.leads:
        (folder / f"found-{size}.json").write_text(json.dumps(found))
    if size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))
