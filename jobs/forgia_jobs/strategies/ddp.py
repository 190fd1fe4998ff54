"""Data parallel: every rank holds the whole network and a share of each batch; a world of one is the same, alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from forgia.errors import UserError
from forgia_jobs.rendezvous import World
from forgia_jobs.task import Batch, TrainingTask


class DataParallel:
    """torch's DistributedDataParallel, with the gradients of the global batch however its rows are shared out."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.model: nn.Module
        self.optimizer: torch.optim.Optimizer
        self._wrapped: nn.Module
        self._gradient_clip: float | None = None
        self._is_bf16 = False

    def setup(self, *, precision: str, gradient_clip: float | None) -> None:
        """Raises: UserError — bf16 on a CPU, where it is slower and coarser at once."""
        if precision == "bf16" and self.world.device.type != "cuda":
            raise UserError("train.precision = bf16 needs GPUs; use fp32 on CPUs")
        self._is_bf16 = precision == "bf16"
        self._gradient_clip = gradient_clip

    def wrap(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Equal first weights are sent from rank 0 by torch's wrapper."""
        self.model, self.optimizer = model, optimizer
        if self.world.size == 1:
            self._wrapped = model
            return
        ids = [self.world.device] if self.world.device.type == "cuda" else None
        self._wrapped = DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def step(self, task: TrainingTask, batch: Batch, *, rows: int, global_rows: int) -> Tensor:
        """Losses are scaled so that torch's mean over ranks is the mean over the global batch's rows.

        A rank without rows passes one row with factor 0: it has to take part in the reduction.
        """
        share = rows / global_rows
        with self._autocast():
            loss = task.loss(self._wrapped, batch)
        self.optimizer.zero_grad(set_to_none=True)
        scaled: Tensor = loss * (share * self.world.size) if self.world.size > 1 else loss
        torch.autograd.backward(scaled)
        if self._gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._gradient_clip)
        self.optimizer.step()
        return loss.detach() * share

    def state(self) -> dict[str, Any]:
        """Every rank has it whole; nothing needs to be sent."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Every rank reads the same files."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def gather_metrics(self, part: Tensor) -> Tensor:
        """Rows of all ranks."""
        return self.world.gather(part)

    def teardown(self) -> None:
        """The reducer's buffers go with the wrapper."""
        self._wrapped = self.model

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        if not self._is_bf16:
            yield
            return
        with torch.autocast("cuda", dtype=torch.bfloat16):
            yield
