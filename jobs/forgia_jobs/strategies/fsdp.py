"""Fully sharded: each rank holds its rows of every parameter, and gathers a block's weights while it computes there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from forgia.errors import UserError
from forgia_jobs.checkpoints.pieces import Piece, StateReader
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.strategies import blocks
from forgia_jobs.strategies.ddp import DataParallel

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class FullySharded(DataParallel):
    """torch's ``fully_shard`` on each block and on the rest; a world of one has nothing to share out.

    Gradients are cut and added up after each micro-batch: held back, they would be whole on every rank.
    """

    unfit: ClassVar[Mapping[str, str]] = {"Adafactor": "sums over whole matrices in ways that torch 2.13 cannot shard"}

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._mesh: DeviceMesh

    def weights(self) -> dict[str, Tensor]:
        """Gathered tensor by tensor, so that no device holds the network whole."""
        found = {}
        for name, tensor in self.model.state_dict().items():
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self.world.leads:
                found[name] = whole.cpu()
        return found

    def _spread(self, model: nn.Module) -> nn.Module:
        """Raises: UserError — a parameter that cannot be cut into rows."""
        if self.world.size == 1:
            return model
        if scalars := [name for name, parameter in model.named_parameters() if parameter.dim() == 0]:
            text = f"strategy fsdp cuts parameters into rows, but {', '.join(scalars)} is a single number"
            raise UserError(text, hint="give it the shape (1,), or train with ddp")
        if self.train.precision == "bf16":  # predictions, too, meet weights that are gathered in bf16
            model.forward = torch.autocast(self.world.device.type, dtype=torch.bfloat16)(model.forward)
        self._mesh = init_device_mesh(self.world.device.type, (self.world.size,))
        for part in [*_batch_norms(model), *blocks.with_own_parameters(model)]:
            part.register_forward_hook(_owned)
            fully_shard(part, mesh=self._mesh, mp_policy=self._policy(part))
        model.register_forward_hook(_owned)
        fully_shard(model, mesh=self._mesh, mp_policy=self._policy(model, output=torch.float32))
        return model

    def _policy(self, module: nn.Module, *, output: torch.dtype | None = None) -> MixedPrecisionPolicy:
        """bf16 weights while computing, sums over ranks in fp32; inputs stay as they are, and autocast meets them."""
        if self.train.precision != "bf16" or isinstance(module, BATCH_NORMS):
            return MixedPrecisionPolicy(cast_forward_inputs=False)
        return MixedPrecisionPolicy(torch.bfloat16, torch.float32, output, cast_forward_inputs=False)

    def _pieces(self, prefix: str, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[Piece]:
        for name, tensor in tensors:
            if not isinstance(tensor, DTensor):
                yield from super()._pieces(prefix, [(name, tensor)])
            elif len(local := tensor.to_local().detach()):
                offset = self._rows_of(tensor).start
                yield Piece(name=prefix + name, tensor=local, offset=offset, rows=tensor.shape[0])

    def _tensor(self, source: StateReader, name: str, *, like: Tensor | None) -> Tensor:
        if not isinstance(like, DTensor):
            return super()._tensor(source, name, like=like)
        rows = self._rows_of(like)
        has_some = rows.start < rows.stop
        found = source.slice(name, rows.start, rows.stop) if has_some else torch.empty(like.to_local().shape)
        local = found.to(like.device, copy=True)
        return DTensor.from_local(
            local, self._mesh, [Shard(0)], run_check=False, shape=like.shape, stride=like.stride()
        )

    def _rows_of(self, tensor: Tensor) -> slice:
        """This rank's rows, cut as ``torch.chunk`` does: equal shares rounded up, the last ones shorter or empty."""
        count = tensor.shape[0]
        each = -(-count // self.world.size)
        start = min(self.world.rank * each, count)
        return slice(start, min(start + each, count))


def _owned(_module: nn.Module, _inputs: object, output: object) -> object:
    """An output that is a view of another tensor, as a tensor of its own: sharding hooks onto it, and torch drops the
    hooks of a view that is written to."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def _batch_norms(model: nn.Module) -> list[nn.Module]:
    """They take no bf16 weights beside fp32 statistics, so each is gathered by itself."""
    return [module for module in model.modules() if isinstance(module, BATCH_NORMS) and module.affine]
