"""Samples: what a network is shown one of at a time and the loop reads a batch of; rows, windows, images or tokens.

A source holds the samples of all parts; a part is a choice of positions in it. Neither copies what it does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forgia_jobs import devices

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """Samples as one row of numbers each: what a baseline without memory of its own learns from."""

    matrix: npt.NDArray[np.float64]
    """(samples, columns), NaN where missing."""
    is_category: tuple[bool, ...]
    """For each column whether its numbers are codes."""


class Source(Protocol):
    """Where samples come from, whatever their kind."""

    @property
    def rows_at_once(self) -> int:
        """How many samples may be predicted at once."""
        ...

    def to(self, device: torch.device) -> Source:
        """The same, giving tensors on this device."""
        ...

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """What a network sees of the samples at these positions, in their order; the first dimension counts them."""
        ...

    def flat(self, chosen: Positions) -> Flat:
        """The same samples for a baseline. Raises: UserError — samples of this kind have no such form."""
        ...


@runtime_checkable
class PartedSource(Source, Protocol):
    """A source of which a part can be copied out, so that its samples follow one another."""

    def of_part(self, positions: Positions) -> Source | None:
        """The samples at these positions alone; None where they are too many to be held twice."""
        ...


class Samples:
    """The samples of one part, with their answers."""

    def __init__(self, source: Source, positions: Positions, target: npt.NDArray[Any], *, device: torch.device) -> None:
        """Args: source — one that gives tensors on this device; target — an answer a position, of any further shape."""
        self._source, self._device = source, device
        self._positions = torch.from_numpy(np.ascontiguousarray(positions))
        self._first = _first_of_range(self._positions)
        self._target = torch.from_numpy(np.ascontiguousarray(target)).to(device)
        self._weight: Tensor | None = None
        self._equal = torch.ones(0, device=device)
        self._is_here = device.type == "cpu"
        self.rows_at_once = source.rows_at_once
        self.is_costly = bool(getattr(source, "is_costly", False))
        """Reading a batch takes long enough to be done beside the step before: the source has to be decoded, or lies on
        a disk, and wants its positions on the CPU; a source that is so says it with an attribute of this name."""
        self._stays = self._is_here or self.is_costly

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def target(self) -> Tensor:
        """All answers, in the order of the part."""
        return self._target

    def weigh(self, weight: Tensor) -> None:
        """Give each sample a weight, which then is part of every batch. Shapes: (samples,)."""
        self._weight = weight.to(self._target.device)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """What a network sees of these samples. Shapes: chosen (batch,) int64, positions within the part."""
        if self._first is None:
            places = self._positions.index_select(0, chosen)
        else:
            places = chosen + self._first if self._first else chosen
        return self._source.inputs(places if self._stays else devices.sent(places, self._device))

    def batch(self, chosen: Tensor) -> dict[str, Tensor]:
        """Inputs, with ``target`` and ``weight``."""
        here, found = chosen if self._is_here else devices.sent(chosen, self._device), self.inputs(chosen)
        found["target"] = self._target.index_select(0, here)
        found["weight"] = self._ones(here.numel()) if self._weight is None else self._weight.index_select(0, here)
        return found

    def _ones(self, count: int) -> Tensor:
        """As many weights of 1, of which nobody changes any."""
        if count > self._equal.numel():
            self._equal = torch.ones(count, device=self._device)
        return self._equal[:count]


def _first_of_range(positions: Tensor) -> int | None:
    """The first of positions that follow one another; None where they do not."""
    if not len(positions):
        return None
    first = int(positions[0])
    return first if torch.equal(positions, torch.arange(first, first + len(positions))) else None
