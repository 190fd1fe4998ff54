"""What of a network and its optimizer a rank holds under DeepSpeed's ZeRO, and how it becomes whole again.

DeepSpeed keeps its own form: flat tensors of many parameters, padded and cut among the ranks. Its checkpoints need the
same number of ranks; whole tensors do not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Partitions:
    """Stages 1 and 2: parameters are whole on every rank, the optimizer's state is cut."""

    def __init__(self, engine: Any, model: nn.Module) -> None:
        self.zero = engine.optimizer
        self.base: torch.optim.Optimizer = engine.basic_optimizer
        self.model = model
        self.parameters: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))

    def held(self) -> dict[str, Tensor]:
        """This rank's part of each parameter and buffer itself, by name."""
        found: dict[str, Tensor] = self.model.state_dict()
        return found

    def whole(self, name: str, part: Tensor) -> Tensor:
        """A parameter or buffer put together from all ranks' parts (collective)."""
        return part

    def part(self, name: str, whole: Tensor) -> Tensor:
        """This rank's part of one."""
        return whole

    def flat(self, name: str) -> Tensor:
        """The tensor that the optimizer steps on, of which the parameter is a part."""
        found: Tensor = self.zero.single_partition_of_fp32_groups[self._group_of[id(self.parameters[name])]]
        return found

    @functools.cached_property
    def _group_of(self) -> dict[int, int]:
        return {id(member): index for index, group in enumerate(self.zero.bit16_groups) for member in group}

    def state(self, name: str) -> dict[str, Any]:
        """Quantity → what this rank has of it: numbers that all share, or the flat tensor of many parameters."""
        return dict(self.base.state.get(self.flat(name), {}))

    def is_number(self, name: str, value: Any) -> bool:
        """A tensor that is not laid out as the parameters are, such as a count of steps."""
        return isinstance(value, Tensor) and value.shape != self.flat(name).shape

    def quantity(self, name: str, quantity: str) -> Tensor:
        """One parameter's, put together (collective)."""
        from deepspeed.utils import safe_get_full_optimizer_state

        flat = self.flat(name)
        value: Tensor = self.base.state[flat][quantity]
        if self.is_number(name, value):
            return value
        self._link(name, flat)
        found: Tensor = safe_get_full_optimizer_state(self.parameters[name], quantity)
        return found

    def make_room(self, name: str, numbers: Mapping[str, Any], quantities: Iterable[str]) -> None:
        """Give the flat tensor what it will have after a first step, and tell DeepSpeed of it."""
        flat = self.flat(name)
        state = self.base.state[flat]
        state.update({quantity: self._number(value, flat) for quantity, value in numbers.items()})
        for quantity in quantities:
            if quantity not in state:
                state[quantity] = torch.zeros_like(flat)
        self._link(name, flat)

    def _number(self, value: Any, flat: Tensor) -> Any:
        """Counts are on the CPU, but for optimizers that run on the device alone."""
        is_on_device = any(group.get("fused") or group.get("capturable") for group in self.base.param_groups)
        return value.to(flat.device) if is_on_device and isinstance(value, Tensor) else value

    def _link(self, name: str, flat: Tensor) -> None:
        """DeepSpeed looks quantities up in a table of its own, which it makes once its first group has stepped: then it
        lacks those of the other groups."""
        if (mapping := self.parameters[name]._hp_mapping) is not None:
            mapping.set_optim_state_fragment(flat, self.base.state[flat])

    def take(self, name: str, quantity: str, whole: Tensor) -> None:
        """Keep this rank's part of one parameter's quantity."""
        from deepspeed.utils import safe_set_full_optimizer_state

        safe_set_full_optimizer_state(self.parameters[name], whole, quantity)


class CutParameters(Partitions):
    """Stage 3: parameters, too, are cut; each is flat, and padded so that all ranks hold equally much."""

    def held(self) -> dict[str, Tensor]:
        """Cut parameters, and buffers as they are."""
        cut = {name: parameter.ds_tensor for name, parameter in self.parameters.items()}
        return {name: cut.get(name, tensor) for name, tensor in self.model.state_dict().items()}

    def whole(self, name: str, part: Tensor) -> Tensor:
        """Not by DeepSpeed's own means, which may send bf16."""
        if (parameter := self.parameters.get(name)) is None:
            return part
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)[: parameter.ds_numel].view(parameter.ds_shape)

    def part(self, name: str, whole: Tensor) -> Tensor:
        """With zeros where it is padded."""
        if (parameter := self.parameters.get(name)) is None:
            return whole
        count = parameter.ds_tensor.numel()
        start = dist.get_rank() * count
        mine = whole.flatten()[start : start + count]
        return torch.cat([mine, mine.new_zeros(count - len(mine))])

    def flat(self, name: str) -> Tensor:
        """One of several of the parameter's group."""
        index, _, _ = self.zero.grad_position[self.zero.get_param_id(self.parameters[name])]
        found: Tensor = self.zero.fp32_partitioned_groups_flat[index]
        return found

    def _link(self, name: str, flat: Tensor) -> None:
        """It looks them up where they are."""

    def take(self, name: str, quantity: str, whole: Tensor) -> None:
        """DeepSpeed's own function for whole tensors does not pad."""
        from deepspeed.utils import safe_set_local_optimizer_state

        safe_set_local_optimizer_state(self.parameters[name], self.part(name, whole), quantity)


STAGES = {1: Partitions, 2: Partitions, 3: CutParameters}
