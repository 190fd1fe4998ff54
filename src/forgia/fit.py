"""A request meets a cluster: where it does not fit, and what it costs at worst."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forgia.errors import Problem
from forgia.fields import format_duration
from forgia.profile import Profile
from forgia.recipe import Recipe, RecipeFolder

NO_TRAINING = "this environment cannot train: torch is not installed in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The worst case: every process until the walltime."""

    gpu_h: float
    core_h: float
    units: float | None
    """In the site's own unit; None where the profile knows no billing."""
    unit: str | None
    kwh: float | None
    """An estimate from the profile's power figures; None where it has none."""
    eur: float | None


def resources_request(recipe: Recipe) -> dict[str, Any]:
    """Resources with their defaults filled in."""
    wanted = recipe.resources
    return {
        "nodes": wanted.nodes,
        "tasks_per_node": wanted.tasks_per_node or max(wanted.gpus_per_node, 1),
        "gpus_per_node": wanted.gpus_per_node,
        "cpus_per_task": wanted.cpus_per_task,
        "memory_gb": wanted.memory_gb,
        "walltime_s": wanted.walltime,
    }


def problems(folder: RecipeFolder, recipe: Recipe, profile: Profile) -> list[Problem]:
    """Where the request does not fit the cluster; each with the limit and the remedy."""
    wanted = resources_request(recipe)
    cores, gpus = wanted["tasks_per_node"] * wanted["cpus_per_task"], wanted["gpus_per_node"]
    limits = profile.limits
    have = profile.gpu.per_node if profile.gpu else 0
    memory_mb, node_mb = wanted["memory_gb"] * 1024, profile.memory_mb_per_node
    checks: list[tuple[str, bool, str]] = [
        ("gpus_per_node", gpus > have and profile.scheduler == "slurm", f"{gpus}, but {{}} has {have} GPUs a node"),
        ("nodes", profile.scheduler == "local" and wanted["nodes"] > 1, f"{wanted['nodes']}, but {{}} is one machine"),
        (
            "nodes",
            bool(limits.nodes and wanted["nodes"] > limits.nodes),
            f"{wanted['nodes']}, {{}} allows {limits.nodes}",
        ),
        (
            "walltime",
            bool(limits.walltime and wanted["walltime_s"] > limits.walltime),
            f"{format_duration(wanted['walltime_s'])}, {{}} allows {format_duration(limits.walltime or 0)}",
        ),
        (
            "cpus_per_task",
            bool(profile.cpus_per_node and cores > profile.cpus_per_node),
            f"{cores} cores a node in all, {{}} has {profile.cpus_per_node}",
        ),
        ("memory_gb", bool(node_mb and memory_mb > node_mb), f"{memory_mb:.0f} MB a node, {{}} has {node_mb}"),
    ]
    found = [
        folder.problem(
            ("resources", name), f"{text.format(f'profile {profile.name}')}; lower it or choose another profile"
        )
        for name, wrong, text in checks
        if wrong
    ]
    if profile.account_required and not profile.account:
        text = f"profile {profile.name} needs an account; pass --account NAME"
        found.append(Problem(profile.name, None, "account", text))
    return found


def lacks_training(profile: Mapping[str, Any]) -> bool:
    """The job would run in this very environment, and it has only the client."""
    return profile.get("python") is None and importlib.util.find_spec("torch") is None


def cost_of(resources: Mapping[str, Any], profile: Profile) -> Cost:
    """The worst case in GPU-hours, core-hours, the site's unit, kWh and euro; what is not known stays None."""
    hours = resources["walltime_s"] / 3600
    cores = resources["tasks_per_node"] * resources["cpus_per_task"] * resources["nodes"]
    gpus = resources["gpus_per_node"] * resources["nodes"]
    memory_gb = resources["memory_gb"] * resources["nodes"]
    billing, gpu = profile.billing, profile.gpu
    units = None
    if billing:
        units = hours * max(billing.per_core * cores, billing.per_gpu * gpus, billing.per_gb * memory_gb)
    watts = None
    if profile.cpu_watts_per_core is not None and (not gpus or (gpu and gpu.watts)):
        watts = cores * profile.cpu_watts_per_core + gpus * (gpu.watts or 0 if gpu else 0)
    return Cost(
        gpu_h=gpus * hours,
        core_h=cores * hours,
        units=units,
        unit=billing.unit if billing else None,
        kwh=watts * hours / 1000 if watts is not None else None,
        eur=units * billing.eur_per_unit
        if billing and units is not None and billing.eur_per_unit is not None
        else None,
    )
