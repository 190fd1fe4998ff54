"""Which rows a rank sees at a step: a function of seed, epoch and step alone."""

from __future__ import annotations

import math

import torch


def epoch_order(rows: int, *, seed: int, epoch: int) -> torch.Tensor:
    """The rows of an epoch in their order; the same on every rank and after every resume.

    Shapes: (rows,).
    """
    # The multiplier keeps epochs of neighbouring seeds apart. Source: 64-bit golden ratio, as in splitmix64.
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch) % 2**63
    return torch.randperm(rows, generator=torch.Generator().manual_seed(mixed))


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Steps that show each row once; the last batch may be smaller."""
    return math.ceil(rows / batch_size)


def slice_of_rank(count: int, *, rank: int, world_size: int) -> slice:
    """The rank's contiguous share of a global batch; shares differ by one row at most and may be empty."""
    each, over = divmod(count, world_size)
    start = rank * each + min(rank, over)
    return slice(start, start + each + (rank < over))
