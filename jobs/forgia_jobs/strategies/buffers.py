"""A network's buffers, which no strategy shards: equal on all ranks, since a checkpoint holds the leader's."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn


def kept(model: nn.Module) -> frozenset[str]:
    """Names of the buffers that belong to the network's state."""
    return frozenset(model.state_dict()) & {name for name, _ in model.named_buffers()}


def send(model: nn.Module, names: frozenset[str]) -> None:
    """The leader's to all, after a step (collective): torch's wrapper does so before the next one, too late for what is
    looked at between the two."""
    for name, buffer in model.named_buffers() if names else ():
        if name in names:
            dist.broadcast(buffer, src=0)
