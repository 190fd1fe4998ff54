"""How processes co-operate: a name, and the module that is only imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from forgia.errors import NotFound
from forgia_jobs.checkpoints.pieces import Piece, State, StateReader
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import Train
from forgia_jobs.task import Batch, TrainingTask

STRATEGIES = {
    "ddp": "forgia_jobs.strategies.ddp:DataParallel",
    "fsdp": "forgia_jobs.strategies.fsdp:FullySharded",
    "deepspeed": "forgia_jobs.strategies.zero:ZeroRedundancy",
    "ray": "forgia_jobs.strategies.ddp:DataParallel",
    "private": "forgia_jobs.strategies.private:PrivateDataParallel",
}
"""Name → module:class; ``private`` is ddp where a recipe asks for privacy. Ray only starts the ranks (``ray_launch``);
what they do together is ddp."""

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]
"""Called once the network's parameters are those that will be trained: a strategy may replace them."""


class Share(NamedTuple):
    """This rank's rows of one micro-batch."""

    batch: Batch
    """At least one row, for every rank takes part in every micro-batch."""
    rows: int
    """Rows that count; 0: the one row is there for form's sake."""


class Strategy(Protocol):
    """What the loop needs of a way to train; every method is called on every rank, in the same order."""

    world: World
    model: nn.Module
    """The recipe's network, for predictions; its parameters may be shards."""
    optimizer: torch.optim.Optimizer

    def setup(self, train: Train) -> None:
        """Take the settings of the run. Raises: UserError — settings that this strategy cannot follow."""
        ...

    def wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """Take charge of the network, which is on its device, and have its optimizer made."""
        ...

    def step(self, task: TrainingTask, shares: Sequence[Share], *, global_rows: int) -> Tensor:
        """One optimizer step over all micro-batches; this rank's part of the global mean loss (the parts add up)."""
        ...

    def state(self) -> State:
        """Network and optimizer; tensors may be live, and are to be copied before the next step (collective)."""
        ...

    def load_state(self, source: StateReader) -> None:
        """The inverse of ``state``, whatever strategy and world the state came from (collective)."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """The whole network's ``state_dict`` on the leader's CPU; nothing on other ranks (collective)."""
        ...

    def snapshot(self) -> Any:
        """A copy of what this rank holds of the weights; only this strategy, in this world, knows its form."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Give the network a snapshot's weights, at the end of the training."""
        ...

    def pieces_of(self, snapshot: Any) -> list[Piece]:
        """A snapshot as ``best/...``, shared out as ``state`` is (collective)."""
        ...

    def snapshot_from(self, source: StateReader) -> Any:
        """The inverse of ``pieces_of``."""
        ...

    def gather_metrics(self, part: Tensor) -> Tensor:
        """All ranks' rows in the order of the ranks, on the CPU (collective)."""
        ...

    def teardown(self) -> None:
        """Let go of what ``setup`` and ``wrap`` took."""
        ...


def make(name: str, world: World) -> Strategy:
    """The strategy of this name. Raises: NotFound."""
    if name not in STRATEGIES:
        raise NotFound("strategy", name, known=STRATEGIES)
    module, _, class_name = STRATEGIES[name].partition(":")
    return cast(Strategy, getattr(importlib.import_module(module), class_name)(world))
