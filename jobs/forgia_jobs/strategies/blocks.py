"""A network's blocks: the repeated parts that are sharded, recomputed and compiled one by one.

Convention for recipes: blocks are the members of the network's outermost ``nn.ModuleList``s, each called as a module. A
network without such a list is one block.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from forgia import store
from forgia_jobs.request import Train

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Source: torch 2.13, _inductor/runtime/cache_dir_utils.py"""
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
    if train.compile:
        os.environ.setdefault(CACHE_VARIABLE, str(compiled_code()))
    for block in of(model) or [model]:
        forward: Callable[..., Any] = block.forward
        if train.compile:  # block by block: equal ones share their code, and sharding does its work between them
            forward = torch.compile(forward)
        if train.activation_checkpointing:
            contexts = functools.partial(_contexts, block)
            forward = functools.partial(checkpoint, forward, use_reentrant=False, context_fn=contexts)
        block.forward = forward


def compiled_code(below: str | None = None) -> Path:
    """Where compiled code is kept on this node, for all runs of this user.

    It is kept as pickles, and torch's own place has a name that another user of the node may have taken before.
    """
    place = Path(below or tempfile.gettempdir()) / f"forgia-compiled-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=store.PRIVATE_DIRECTORY_MODE)
    found = place.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return place if is_ours else Path(tempfile.mkdtemp(prefix="forgia-compiled-", dir=below))


def _contexts(
    block: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Around the first time a block computes, and around the second."""
    return contextlib.nullcontext(), _statistics_known(block)


@contextlib.contextmanager
def _statistics_known(block: nn.Module) -> Iterator[None]:
    """Within it, batch normalisations do not count a batch that they have counted before."""
    counting = [module for module in block.modules() if isinstance(module, _NormBase)]
    before = [(module.momentum, module.num_batches_tracked) for module in counting]
    for module in counting:
        module.momentum, module.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for module, (momentum, tracked) in zip(counting, before, strict=True):
            module.momentum, module.num_batches_tracked = momentum, tracked


def _members(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from (member for member in child if not isinstance(member, CONTAINERS))
        else:
            yield from _members(child)


def _is_alone(block: nn.Module, users: Counter[int]) -> bool:
    own = Counter(id(parameter) for module in block.modules() for parameter in module.parameters(recurse=False))
    return bool(own) and all(users[key] == count for key, count in own.items())
