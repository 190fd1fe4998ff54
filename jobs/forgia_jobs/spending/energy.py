"""Energy of an attempt: counted by the devices where they tell, else estimated from the profile, and said which.

NVIDIA's driver counts a GPU's millijoules (nvmlDeviceGetTotalEnergyConsumption, NVML API reference R550). Intel's
and AMD's processors count microjoules of each package in a register that starts over (RAPL), which Linux shows below
/sys/class/powercap, to root alone on most systems (Linux 6.1, Documentation/power/powercap).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from forgia_jobs.request import Resources

POWERCAP = Path("/sys/class/powercap")
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the counters of one rank's GPU and of its node say at one moment; None: there are none that may be read."""

    gpu_j: float | None
    packages_j: Mapping[str, float] | None
    """Counter → joules; each starts over at its range."""
    ranges_j: Mapping[str, float]


def read(device: torch.device, powercap: Path = POWERCAP) -> Reading:
    """Read every counter that may be read."""
    packages, ranges = _packages(powercap)
    return Reading(gpu_j=_gpu_j(device) if device.type == "cuda" else None, packages_j=packages, ranges_j=ranges)


def used_j(before: Reading, after: Reading) -> tuple[float | None, float | None]:
    """Joules of the GPU and of the processor packages between two readings; None: not counted."""
    gpus = after.gpu_j - before.gpu_j if before.gpu_j is not None and after.gpu_j is not None else None
    if before.packages_j is None or after.packages_j is None:
        return gpus, None
    spent = 0.0
    for name, now in after.packages_j.items():
        change = now - before.packages_j.get(name, now)
        spent += change if change >= 0 else change + after.ranges_j.get(name, 0.0)
    return gpus, spent


def estimate_j(
    resources: Resources, profile: Mapping[str, Any], *, seconds: float
) -> tuple[float | None, float | None]:
    """Joules of all GPUs and of all cores at the full load that the profile tells of; None: it does not tell."""
    gpu, core = (profile.get("gpu") or {}).get("watts"), profile.get("cpu_watts_per_core")
    gpus, cores = resources.nodes * resources.gpus_per_node, resources.world_size * resources.cpus_per_task
    return gpu * gpus * seconds if gpu and gpus else None, core * cores * seconds if core else None


def report(counted: tuple[float | None, float | None], estimated: tuple[float | None, float | None]) -> dict[str, Any]:
    """kWh with where each part is from; empty where nothing is known. Pairs are joules of GPUs and of processors."""
    parts = []
    for name, own, guess in zip(("GPUs", "processors"), counted, estimated, strict=True):
        if own is not None:
            parts.append((own, f"{name} counted"))
        elif guess is not None:
            parts.append((guess, f"{name} estimated from the profile"))
    if not parts:
        return {}
    kwh = sum(joules for joules, _ in parts) / JOULES_PER_KWH
    return {"kwh": float(f"{kwh:.4g}"), "kwh_source": ", ".join(text for _, text in parts)}


def _gpu_j(device: torch.device) -> float | None:
    """Joules of a GPU since its driver was loaded."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except pynvml.NVMLError:
        return None


def _packages(powercap: Path) -> tuple[dict[str, float] | None, dict[str, float]]:
    """Top-level zones only: those below them (cores, memory) are parts of them."""
    found, ranges = {}, {}
    for zone in sorted(powercap.glob("*-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            found[zone.name] = int((zone / "energy_uj").read_text()) / 1e6
            ranges[zone.name] = int((zone / "max_energy_range_uj").read_text()) / 1e6
        except (OSError, ValueError):
            return None, {}
    return found or None, ranges
