"""How processes co-operate: a name, and the module that is only imported when asked for."""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from forgia.errors import NotFound
from forgia_jobs.rendezvous import World
from forgia_jobs.task import Batch, TrainingTask

STRATEGIES = {"ddp": "forgia_jobs.strategies.ddp:DataParallel"}
"""Name → module:class."""


class Strategy(Protocol):
    """What the loop needs of a way to train; every method is called on every rank."""

    world: World
    model: nn.Module
    """The recipe's network, unwrapped."""
    optimizer: torch.optim.Optimizer

    def setup(self, *, precision: str, gradient_clip: float | None) -> None:
        """Take the settings of the run."""
        ...

    def wrap(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Take charge of the network, which is on its device, and of its optimizer."""
        ...

    def step(self, task: TrainingTask, batch: Batch, *, rows: int, global_rows: int) -> Tensor:
        """One optimizer step; returns this rank's part of the global mean loss (the parts add up to it)."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors of network and optimizer, whole, on the leader (collective)."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """The inverse of ``state`` (collective)."""
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
