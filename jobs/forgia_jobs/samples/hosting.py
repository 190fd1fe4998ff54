"""Matrices that are too large for where a network computes: they stay where they are, and batches of them travel."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from forgia_jobs import devices
from forgia_jobs.samples import Flat, Positions, Source

SHARE_OF_GPU = 0.3
"""Of a GPU's free memory that the samples of a run may take; networks, gradients and optimizers want the rest."""
SHARE_OF_HOST = 0.7
"""Of a node's memory; of mapped files that are larger not all pages stay, and reading them waits for the disk."""


@dataclass(frozen=True, slots=True)
class HostSource:
    """Another source, whose batches are made in the host's memory while the step before computes."""

    source: Source
    device: torch.device
    is_costly: bool = True

    @property
    def rows_at_once(self) -> int:
        """As the other's."""
        return self.source.rows_at_once

    def to(self, device: torch.device) -> Source:
        """The same, giving tensors there."""
        return HostSource(self.source, device)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """What the other gives, on the device; the copy of a batch does not hold up the steps."""
        return {name: devices.sent(tensor, self.device) for name, tensor in self.source.inputs(chosen).items()}

    def flat(self, chosen: Positions) -> Flat:
        """As the other's."""
        return self.source.flat(chosen)


def is_too_large(tensors: Iterable[Tensor], device: torch.device) -> bool:
    """Whether these had better stay in the host's memory, or on its disk."""
    size = sum(tensor.nbytes for tensor in tensors)
    if device.type == "cuda":
        return size > SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]
    return size > SHARE_OF_HOST * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
