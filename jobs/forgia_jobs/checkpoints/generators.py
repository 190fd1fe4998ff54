"""The random generators of a rank, put back where they were.

A task that draws from others than torch's is not resumed exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from forgia_jobs import determinism

PREFIX = "generators/"
"""In front of the rank, in the names of a checkpoint."""


def name_of(rank: int, device: str) -> str:
    """A generator's name in a checkpoint."""
    return f"{PREFIX}{rank}/{device}"


def states(device: torch.device) -> dict[str, Tensor]:
    """This rank's torch generators, by device."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(found: Mapping[str, Tensor], *, device: torch.device) -> bool:
    """Put this rank's generators where they were; False where that is not known of all of them."""
    if not found.keys() >= states(device).keys():
        return False
    torch.set_rng_state(found["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(found["cuda"], device)
    return True


def seed_again(*, seed: int, step: int, rank: int) -> None:
    """New seeds for a training that goes on with another number of ranks: a function of seed, step and rank alone.

    The first eight bytes of the SHA-256 of ``seed/step/rank``, without their sign.
    """
    value = hashlib.sha256(f"{seed}/{step}/{rank}".encode()).digest()[:8]
    determinism.seed_all(int.from_bytes(value, "big") % 2**63)
