"""Which rows a rank sees at a step: a function of seed, epoch and step alone."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from forgia_jobs.samples.permutation import Permutation

LONGEST_LIST = 1 << 24
"""Samples up to which the order of an epoch is one list of them: 134 MB on each rank."""


class Order(Protocol):
    """Which samples each optimizer step shows."""

    def rows(self, epoch: int, step: int) -> Tensor:
        """The samples of a step of an epoch, of all ranks together; int64, (batch,)."""
        ...


class Shuffled:
    """Each sample once an epoch, in a new order every time."""

    def __init__(self, rows: int, *, batch_size: int, seed: int) -> None:
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self._epoch, self._order = -1, epoch_order(0, seed=seed, epoch=0)

    def rows(self, epoch: int, step: int) -> Tensor:
        """The next rows of the epoch's order; the last step of an epoch may have fewer."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self._rows, seed=self._seed, epoch=epoch)
        return self._order[step * self._batch_size : (step + 1) * self._batch_size]


class Drawn:
    """Each sample in each step with the same probability, whatever was drawn before: what privacy is counted by.

    A step has ``batch_size`` samples on average, and may have none.
    """

    def __init__(self, rows: int, *, batch_size: int, seed: int) -> None:
        self._rows, self._share, self._seed = rows, min(batch_size / max(rows, 1), 1.0), seed

    def rows(self, epoch: int, step: int) -> Tensor:
        """The samples that were drawn, in the order of the data."""
        generator = torch.Generator().manual_seed(_mixed(_mixed(self._seed, epoch), step))
        return torch.nonzero(torch.rand(self._rows, generator=generator, dtype=torch.float64) < self._share).flatten()


def epoch_order(rows: int, *, seed: int, epoch: int) -> Tensor | Permutation:
    """The rows of an epoch in their order; the same on every rank and after every resume.

    Shapes: (rows,).
    """
    mixed = _mixed(seed, epoch)
    if rows > LONGEST_LIST:
        return Permutation(rows, seed=mixed)
    return torch.randperm(rows, generator=torch.Generator().manual_seed(mixed))


def _mixed(seed: int, number: int) -> int:
    """One seed of two numbers; the multiplier keeps neighbouring seeds apart.

    Source: 64-bit golden ratio, as in splitmix64.
    """
    return (seed * 0x9E3779B97F4A7C15 + number) % 2**63


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Steps that show each row once; the last batch may be smaller."""
    return math.ceil(rows / batch_size)


def slice_of_rank(count: int, *, rank: int, world_size: int) -> slice:
    """The rank's contiguous share of a global batch; shares differ by one row at most and may be empty."""
    each, over = divmod(count, world_size)
    start = rank * each + min(rank, over)
    return slice(start, start + each + (rank < over))
