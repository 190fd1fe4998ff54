"""Data parallel: every rank holds the whole network and a share of each batch; a world of one is the same, alone."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from forgia.errors import UserError
from forgia_jobs import determinism
from forgia_jobs.checkpoints.pieces import Piece, State, StateReader
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import Train
from forgia_jobs.strategies import MakeOptimizer, Share, blocks, buffers, named
from forgia_jobs.task import TrainingTask

MODEL, BEST = "model/", "best/"


class DataParallel:
    """torch's DistributedDataParallel, with the gradients of the global batch however its rows are shared out."""

    unfit: ClassVar[Mapping[str, str]] = {}
    """Optimizers that a way to shard does not suit → what they would need."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.model: nn.Module
        self.optimizer: torch.optim.Optimizer
        self.train = Train()
        self._wrapped: nn.Module
        self._names: list[list[str]] = []
        self._kept: frozenset[str] = frozenset()
        self._is_settled = False

    def setup(self, train: Train) -> None:
        """Raises: UserError — bf16 on a CPU, where it is slower and coarser at once."""
        if train.precision == "bf16" and self.world.device.type != "cuda":
            raise UserError("train.precision = bf16 needs GPUs; use fp32 on CPUs")
        self.train = train

    def wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """Take charge of the network; every rank has drawn the same weights."""
        blocks.prepare(model, self.train)
        self._kept = buffers.kept(model) if self.world.size > 1 else frozenset()
        self.model, self._wrapped = model, self._spread(model)
        self.optimizer = self._made(make_optimizer, model)
        self._names = named.parameter_names(model, self.optimizer)

    def step(self, task: TrainingTask, shares: Sequence[Share], *, global_rows: int) -> Tensor:
        """Losses are scaled so that torch's mean over ranks is the mean over the global batch's rows.

        A rank without rows passes one row with factor 0: it has to take part in the reduction.
        """
        self._settle(task, shares[-1])
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.world.device)
        for index, share in enumerate(shares):
            with self._reducing(is_last=index == len(shares) - 1):
                total += self._backward(task, share, factor=share.rows / global_rows)
        if self.train.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.train.gradient_clip)
        self.optimizer.step()
        buffers.send(self.model, self._kept)
        return total

    def state(self) -> State:
        """The leader has all of it whole, where nothing is sharded."""
        state = named.state_by_name(self.optimizer, self._names)
        shapes = {name: parameter.shape for name, parameter in self.model.named_parameters()}
        scalars = named.scalars_of(self.optimizer.param_groups, self._names, state)
        optimizer = self._pieces("", named.tensors_of(state).items())
        return State(
            pieces=(*self._pieces(MODEL, self._held().items()), *optimizer),
            scalars={**scalars, "whole": named.whole_quantities(state, shapes)},
        )

    def load_state(self, source: StateReader) -> None:
        """Every rank reads what it holds."""
        self.restore(self._read(MODEL, source))
        parameters, whole = dict(self.model.named_parameters()), source.scalars["whole"]

        def stored(parameter: str, quantity: str) -> Tensor:
            like = None if quantity in whole else parameters[parameter]
            return self._tensor(source, named.tensor_name(parameter, quantity), like=like)

        tensors = {
            parameter: {quantity: stored(parameter, quantity) for quantity in quantities}
            for parameter, quantities in named.quantities(source.names()).items()
        }
        named.load(self.optimizer, self._names, source.scalars, tensors)

    def weights(self) -> dict[str, Tensor]:
        """Nothing needs to be sent, where nothing is sharded."""
        return {name: tensor.cpu() for name, tensor in self._held().items()} if self.world.leads else {}

    def snapshot(self) -> dict[str, Tensor]:
        """By the network's own names."""
        return {name: tensor.detach().clone() for name, tensor in self._held().items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """In place, so that the optimizer and the wrapper keep what they refer to."""
        self.model.load_state_dict(snapshot)

    def pieces_of(self, snapshot: Mapping[str, Tensor]) -> list[Piece]:
        """As ``state`` parts them."""
        return list(self._pieces(BEST, snapshot.items()))

    def snapshot_from(self, source: StateReader) -> dict[str, Tensor]:
        """What this rank holds of the weights that were the best."""
        return self._read(BEST, source)

    def gather_metrics(self, part: Tensor) -> Tensor:
        """Rows of all ranks."""
        return self.world.gather(part)

    def teardown(self) -> None:
        """The reducer's buffers go with the wrapper."""
        self._wrapped = self.model

    def _made(self, make_optimizer: MakeOptimizer, model: nn.Module) -> torch.optim.Optimizer:
        """Raises: UserError — an optimizer that would not do, sharded, what it does on one process."""
        found = make_optimizer(model)
        name = type(found).__name__
        if name in self.unfit:
            text = f"strategy {self.train.strategy} cannot train with {name}, which {self.unfit[name]}"
            raise UserError(text, hint="choose another optimizer in the recipe's task, or train with ddp")
        return found

    def _spread(self, model: nn.Module) -> nn.Module:
        """What the loss is computed with. Equal first weights are sent from rank 0 by torch's wrapper."""
        if self.world.size == 1:
            return model
        ids = [self.world.device] if self.world.device.type == "cuda" else None
        with warnings.catch_warnings():  # torch 2.13 announces another name, which 2.6 does not know
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True, broadcast_buffers=False)

    def _settle(self, task: TrainingTask, share: Share) -> None:
        """Once, before the first step: a backward pass that leaves no trace but torch's order of the gradients.

        Its reducer lays its buckets out anew by the order in which the gradients of its first pass came, and from three
        ranks on their sums round by their place in a bucket: a training that goes on would differ from one left alone.
        Source: torch 2.13, Reducer::rebuild_buckets
        """
        if self._is_settled or not isinstance(self._wrapped, DistributedDataParallel):
            return
        self._is_settled = True
        with determinism.rehearsing(self.model, self.world.device):
            self._backward(task, share, factor=0.0)

    def _backward(self, task: TrainingTask, share: Share, *, factor: float) -> Tensor:
        with self._autocast():
            loss = task.loss(self._wrapped, share.batch)
        torch.autograd.backward(loss * (factor * self.world.size))
        return loss.detach() * factor

    @contextlib.contextmanager
    def _reducing(self, *, is_last: bool) -> Iterator[None]:
        """Gradients are added up over the ranks once, with those of the last micro-batch."""
        wrapped = self._wrapped
        held = wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) and not is_last else None
        with held or contextlib.nullcontext():
            yield

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        is_bf16 = self.train.precision == "bf16"
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16) if is_bf16 else contextlib.nullcontext()

    def _held(self) -> dict[str, Tensor]:
        """This rank's parameters and buffers themselves, by name."""
        found: dict[str, Tensor] = self.model.state_dict()
        return found

    def _pieces(self, prefix: str, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[Piece]:
        """This rank's part of some tensors that it holds."""
        if self.world.leads:
            yield from (Piece(name=prefix + name, tensor=tensor.detach()) for name, tensor in tensors)

    def _read(self, prefix: str, source: StateReader) -> dict[str, Tensor]:
        """What this rank holds of the network, under a prefix."""
        return {name: self._tensor(source, prefix + name, like=tensor) for name, tensor in self._held().items()}

    def _tensor(self, source: StateReader, name: str, *, like: Tensor | None) -> Tensor:
        """One stored tensor, as this rank holds one ``like`` it; None: whole, on the CPU."""
        found = source.whole(name)
        return found.clone() if like is None else found.to(like.device, copy=True)
