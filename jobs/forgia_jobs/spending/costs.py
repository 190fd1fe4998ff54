"""What a training took of its nodes: time, memory and energy, of all ranks, for the metrics, the card and the bill."""

from __future__ import annotations

import resource
from typing import Any

import torch

from forgia_jobs import going_on
from forgia_jobs.context import Attempt
from forgia_jobs.request import Resources
from forgia_jobs.spending import energy
from forgia_jobs.spending.energy import Reading
from forgia_jobs.spending.meters import Meter


def taken(attempt: Attempt, meter: Meter, before: Reading) -> dict[str, Any]:
    """Speed, memory and energy of this attempt so far (collective). Args: before — read when the attempt began."""
    asked = attempt.request
    return {
        **meter.speed(precision=asked.train.precision),
        **memory(attempt),
        **joules(attempt, before, seconds=going_on.own_seconds(attempt)),
    }


def memory(attempt: Attempt) -> dict[str, float]:
    """The most that one rank has used, MB (collective)."""
    device = attempt.world.device
    is_cuda = device.type == "cuda"
    own = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    own += [torch.cuda.max_memory_allocated(device) / 2**20] if is_cuda else []
    most = attempt.world.gather(torch.tensor([own])).amax(dim=0).tolist()
    return {name: round(value, 1) for name, value in zip(("host_memory_mb", "gpu_memory_mb"), most, strict=False)}


def joules(attempt: Attempt, before: Reading, *, seconds: float) -> dict[str, Any]:
    """kWh of all nodes, counted where every one of them counts (collective)."""
    gpu, packages = energy.used_j(before, energy.read(attempt.world.device))
    asked, is_first = attempt.request.resources, attempt.placement.local_rank == 0
    mine = [gpu, packages if is_first else 0.0]
    known = attempt.world.sum(torch.tensor([float(value is None) for value in mine]))
    total = attempt.world.sum(torch.tensor([value or 0.0 for value in mine], dtype=torch.float64))
    counted = [None if missing else value for missing, value in zip(known.tolist(), total.tolist(), strict=True)]
    estimated = energy.estimate_j(asked, attempt.request.profile, seconds=seconds)
    return energy.report((counted[0], counted[1]), estimated)


def reserved(resources: Resources, *, wall_seconds: float, train_seconds: float) -> dict[str, float]:
    """What this attempt has used so far, as the scheduler counts: what was reserved, not what was busy."""
    hours = wall_seconds / 3600
    return {
        "wall_seconds": round(wall_seconds, 3),
        "train_seconds": round(train_seconds, 3),
        "core_h": hours * resources.world_size * resources.cpus_per_task,
        "gpu_h": hours * resources.nodes * resources.gpus_per_node,
    }
