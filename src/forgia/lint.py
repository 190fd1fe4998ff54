"""What a request may ask for and had better not: more billed than its GPUs, nodes partly used, a place that is emptied.

Sentences for a person, each with its arithmetic. What a cluster would refuse is a problem, and of ``forgia.fit``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forgia.profile import Billing, Gpu, Profile

ROUNDING = 1e-9
"""Relative; shares of a node are quotients."""


def warnings(
    resources: Mapping[str, Any],
    profile: Profile,
    *,
    home: Path,
    variables: Mapping[str, str],
    machine: str,
    torch: str | None,
) -> list[str]:
    """Every advice for these resources on this cluster.

    ``home`` is forgia's, ``variables`` this process's; ``machine`` is its architecture and ``torch`` the installed
    version, None where there is none: jobs run in the environment that submits them, if the profile names no other.
    """
    if profile.scheduler != "slurm":
        return []
    found = [*over_billing(resources, profile), *partly_used(resources, profile), *cores_per_gpu(resources, profile)]
    found += [*idle_gpus(resources), *unnamed_partition(profile), *emptied(profile, home, variables)]
    return found if profile.python else [*found, *strange_environment(profile, resources, machine, torch)]


def over_billing(resources: Mapping[str, Any], profile: Profile) -> Iterator[str]:
    """The cores or the memory beside the GPUs cost more than these."""
    billing, gpus = profile.billing, resources["gpus_per_node"]
    if not billing or not gpus or billing.combine != "max" or profile.has_whole_nodes:
        return
    cores = resources["tasks_per_node"] * resources["cpus_per_task"]
    memory_gb = 0.0 if profile.memory_follows_cores else resources["memory_gb"]
    parts = billing.parts(cores=cores, gpus=gpus, memory_gb=memory_gb)
    ceiling, unit = parts["gpus"] * (1 + ROUNDING), billing.unit
    alone = f"{counted(gpus, 'GPU')} alone {parts['gpus']:.4g} ({gpus} x {billing.per_gpu:.4g})"
    if parts["gpus"] and parts["cores"] > ceiling:
        most = most_cores(billing, gpus) // resources["tasks_per_node"]
        remedy = f"cpus_per_task of {most} or less bills" if most else "fewer tasks_per_node bill"
        rate = f"{parts['cores']:.4g} {unit} an hour ({cores} x {billing.per_core:.4g})"
        yield f"resources.cpus_per_task: {cores} cores a node bill {rate}, {alone}; {remedy} only the GPUs"
    if parts["gpus"] and parts["memory"] > ceiling:
        rate = f"{parts['memory']:.4g} {unit} an hour ({memory_gb:g} x {billing.per_gb:.4g})"
        remedy = f"memory_gb of {most_memory_gb(billing, gpus):g} or less bills only the GPUs"
        yield f"resources.memory_gb: {memory_gb:g} GB a node bill {rate}, {alone}; {remedy}"


def most_cores(billing: Billing, gpus: int) -> int:
    """On a node, without costing more than the GPUs."""
    packs = billing.per_gpu * gpus * (1 + ROUNDING) / (billing.per_core * billing.core_step)
    return math.floor(packs) * billing.core_step


def most_memory_gb(billing: Billing, gpus: int) -> float:
    """On a node, without costing more than the GPUs; a tenth rounded down."""
    most = billing.per_gpu * gpus * (1 + ROUNDING) / billing.per_gb
    return math.floor(most / billing.gb_step) * billing.gb_step if billing.gb_step else math.floor(most * 10) / 10


def partly_used(resources: Mapping[str, Any], profile: Profile) -> Iterator[str]:
    """Whole nodes are given and billed, and only a part of each has work."""
    if not profile.has_whole_nodes:
        return
    gpus, have = resources["gpus_per_node"], profile.gpu.per_node if profile.gpu else None
    cores = resources["tasks_per_node"] * resources["cpus_per_task"]
    if gpus and have and gpus < have:
        field, used = "gpus_per_node", f"{gpus} of {have} GPUs"
    elif have and not gpus:
        field, used = "gpus_per_node", f"0 of {have} GPUs"
    elif not have and profile.cpus_per_node and cores < profile.cpus_per_node:
        field, used = "cpus_per_task", f"{cores} of {profile.cpus_per_node} cores"
    else:
        return
    charge = profile.charge_per_hour(resources)
    bill = "" if charge is None or not profile.billing else f": {charge:.4g} {profile.billing.unit} an hour either way"
    where = profile.queue.label(None)
    yield f"resources.{field}: {used} a node are used, but {where} gives and bills whole nodes{bill}"


def cores_per_gpu(resources: Mapping[str, Any], profile: Profile) -> Iterator[str]:
    """The site gives each GPU a number of cores, and the request asks for another."""
    gpu, gpus = profile.gpu or Gpu(), resources["gpus_per_node"]
    cores = resources["tasks_per_node"] * resources["cpus_per_task"]
    share = gpus * (gpu.cpus or 0)
    if not share or cores == share or (cores < share and not gpu.cpus_fixed):
        return
    rule = "wants exactly" if gpu.cpus_fixed else "gives"
    remedy = share / resources["tasks_per_node"]
    advice = f"set cpus_per_task to {remedy:.0f}" if remedy.is_integer() else "change tasks_per_node"
    text = (
        f"{cores} cores with {counted(gpus, 'GPU')} a node, profile {profile.name} {rule} {share} ({gpus} x {gpu.cpus})"
    )
    yield f"resources.cpus_per_task: {text}; the job may be refused, or billed as more GPUs: {advice}"


def idle_gpus(resources: Mapping[str, Any]) -> Iterator[str]:
    """Each process computes on one GPU, and there are more of these."""
    gpus, tasks = resources["gpus_per_node"], resources["tasks_per_node"]
    if tasks < gpus:
        text = f"{tasks} process(es) use as many of the {gpus} GPUs a node that are asked for"
        yield f"resources.tasks_per_node: {text}; set it to {gpus}, or gpus_per_node to {tasks}"


def unnamed_partition(profile: Profile) -> Iterator[str]:
    """The cluster's default partition need not have what the profile says."""
    if not profile.partition:
        yield (
            f"profile {profile.name} names no partition: the cluster's default one takes the job, "
            "which on some clusters has no GPUs; set partition in a copy of the profile (sinfo --summarize lists them)"
        )


def emptied(profile: Profile, home: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Runs and registry would be deleted by the site, sooner or later."""
    for name, days in profile.purged.items():
        place = variables.get(name)
        if place and home.resolve().is_relative_to(Path(place).resolve()):
            text = f"forgia's home {home} lies in ${name}, where the site deletes files after {days} days"
            yield f"{text}; set FORGIA_HOME to a folder that stays"
            return


def strange_environment(
    profile: Profile, resources: Mapping[str, Any], machine: str, torch: str | None
) -> Iterator[str]:
    """The environment that submits is not one that the nodes can run."""
    remedy = "set python in a copy of the profile to an interpreter made for them"
    if profile.arch not in ("any", machine):
        yield f"profile {profile.name} has {profile.arch} nodes, and this environment is for {machine}; {remedy}"
    if profile.gpu and profile.gpu.vendor == "amd" and resources["gpus_per_node"] and torch and "rocm" not in torch:
        yield f"profile {profile.name} has AMD GPUs, and torch {torch} here is not built for ROCm; {remedy}"


def counted(number: int, noun: str) -> str:
    """``1 GPU``, ``2 GPUs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
