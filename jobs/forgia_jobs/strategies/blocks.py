"""A network's blocks: the repeated parts that are sharded, recomputed and compiled one by one.

Convention for recipes: blocks are the members of the network's outermost ``nn.ModuleList``s, each called as a module. A
network without such a list is one block.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from forgia_jobs.request import Train

CONTAINERS = (nn.ModuleList, nn.ModuleDict)
"""Have no ``forward`` of their own."""


def of(model: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists, in their order; empty where there is no list."""
    return list(dict.fromkeys(_members(model)))


def with_own_parameters(model: nn.Module) -> list[nn.Module]:
    """Blocks that have parameters and share none with the rest of the network, so that each can be sharded alone."""
    users = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    return [block for block in of(model) if _is_alone(block, users)]


def prepare(model: nn.Module, train: Train) -> None:
    """Compile each block, and keep only its inputs for the way back, as the settings ask; before it is sharded.

    The attribute hides the method, so that parameters keep their names, which a module around the block would change.
    """
    for block in of(model) or [model]:
        forward: Callable[..., Any] = block.forward
        if train.compile:  # block by block: equal ones share their code, and sharding does its work between them
            forward = torch.compile(forward)
        if train.activation_checkpointing:
            forward = functools.partial(checkpoint, forward, use_reentrant=False)
        block.forward = forward


def _members(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (member for member in child if not isinstance(member, CONTAINERS))
        else:
            yield from _members(child)


def _is_alone(block: nn.Module, users: Counter[int]) -> bool:
    own = Counter(id(parameter) for module in block.modules() for parameter in module.parameters(recurse=False))
    return bool(own) and all(users[key] == count for key, count in own.items())
