"""A request meets a cluster: where it does not fit, and what it costs at worst."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from forgia.environment import CURRENT
from forgia.errors import Problem
from forgia.fields import format_duration
from forgia.profile import Profile
from forgia.recipe import Recipe, RecipeFolder, Train

NO_TRAINING = "this environment cannot train: torch is not installed in it"
PACKAGES = {"deepspeed": "deepspeed", "ray": "ray", "privacy": "opacus"}
"""Strategy, or privacy → what it needs beside torch."""
TIME_LIMITS = 20
"""How often a run that needs no chain may go on after a time limit, where its recipe does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The worst case: every process until the walltime, over all attempts."""

    gpu_h: float
    core_h: float
    units: float | None
    """In the site's own unit; None where the profile knows no billing."""
    unit: str | None
    kwh: float | None
    """An estimate from the profile's power figures; None where it has none."""
    eur: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a run asks of a budget; kept beside its request, since later attempts ask again."""

    site: str
    """Whose budgets pay."""
    account: str | None
    """SLURM's, under which the site counts it; None: the user's default one."""
    resource: str
    """``gpu`` or ``cpu``."""
    rate: int | None
    """SLURM's billing of the whole job, rounded up; None: the profile does not say how its site bills."""
    gpus: int
    walltime_s: int
    """Of one attempt."""
    attempts: int
    """As many as the run's walltime takes; it is a limit over all of them, whatever interrupts the run."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


def tariff_of(resources: Mapping[str, Any], profile: Profile) -> Tariff:
    """The worst case of a request, for a ledger."""
    charge, gpus = profile.charge_per_hour(resources), resources["gpus_per_node"] * resources["nodes"]
    walltime_s = resources["walltime_s"]
    return Tariff(
        site=profile.site or profile.name,
        account=profile.account,
        resource="gpu" if gpus else "cpu",
        rate=None if charge is None else math.ceil(charge),
        gpus=gpus,
        walltime_s=walltime_s,
        attempts=math.ceil(resources.get("walltime_total_s", walltime_s) / walltime_s),
    )


def resources_request(recipe: Recipe, profile: Profile) -> dict[str, Any]:
    """Resources with their defaults filled in; ``walltime_s`` is an attempt's, ``walltime_total_s`` the run's."""
    wanted = recipe.resources
    links = chain_length(recipe, profile)
    again = wanted.attempts.model_dump(mode="json")
    if again["time_limit"] is None:
        again["time_limit"] = links if links > 1 else TIME_LIMITS
    return {
        "nodes": wanted.nodes,
        "tasks_per_node": wanted.tasks_per_node or max(wanted.gpus_per_node, 1),
        "gpus_per_node": wanted.gpus_per_node,
        "cpus_per_task": wanted.cpus_per_task,
        "memory_gb": wanted.memory_gb,
        "walltime_s": (profile.queue.walltime or wanted.walltime) if links > 1 else wanted.walltime,
        "walltime_total_s": wanted.walltime,
        "attempts": again,
    }


def chain_length(recipe: Recipe, profile: Profile) -> int:
    """Attempts that the walltime takes, each as long as the queue allows; 1 where the recipe does not allow so many."""
    most, wanted = profile.queue.walltime, recipe.resources
    links = math.ceil(wanted.walltime / most) if most else 1
    allowed = wanted.attempts.time_limit
    return links if allowed is None or links <= allowed + 1 else 1


def chain_warnings(recipe: Recipe, profile: Profile) -> Iterator[str]:
    """The run goes on longer than the queue allows at a time, with the queues that would take it at once."""
    links, wanted = chain_length(recipe, profile), resources_request(recipe, profile)
    if links == 1:
        return
    offer = " or ".join(other_queues(wanted, profile, walltime_s=wanted["walltime_total_s"]))
    yield (
        f"resources.walltime: {format_duration(wanted['walltime_total_s'])}, profile {profile.name} allows "
        f"{format_duration(wanted['walltime_s'])} at a time; the run is cut into {links} attempts, each going on from "
        "the last one's checkpoint" + (f"; {offer} takes it at once" if offer else "")
    )


def other_queues(wanted: Mapping[str, Any], profile: Profile, *, walltime_s: int) -> Iterator[str]:
    """The profile's other ways in that would take so many nodes and cores for so long."""
    cores = wanted["nodes"] * wanted["tasks_per_node"] * wanted["cpus_per_task"]
    for other in profile.queues:
        if other is not profile.queue and other.takes(nodes=wanted["nodes"], cores=cores, walltime_s=walltime_s):
            yield other.describe(profile.partition)


def problems(folder: RecipeFolder, recipe: Recipe, profile: Profile) -> list[Problem]:
    """Where the request does not fit the cluster; each with the limit and the remedy."""
    wanted = resources_request(recipe, profile)
    checks = [*node_misfits(wanted, profile), *queue_misfits(wanted, profile)]
    found = [folder.problem(("resources", name), text) for name, text in checks]
    found += [folder.problem(("train", name), text) for name, text in strategy_misfits(recipe, profile)]
    if recipe.environment.partition("@")[0].endswith(".sif") and not profile.container:
        text = f"an image, but profile {profile.name} names no container runtime; use a lock (requirements.txt)"
        found.append(folder.problem(("environment",), text))
    if profile.account_required and not profile.account:
        text = f"profile {profile.name} needs an account; pass --account NAME"
        found.append(Problem(profile.name, None, "account", text))
    if profile.qos_required and not profile.qos:
        known = ", ".join(queue.qos for queue in profile.queues if queue.qos) or "sacctmgr show qos lists them"
        text = f"profile {profile.name} needs a qos ({known}); set qos in a copy of the profile"
        found.append(Problem(profile.name, None, "qos", text))
    return found


def node_misfits(wanted: Mapping[str, Any], profile: Profile) -> Iterator[tuple[str, str]]:
    """Field and sentence for each thing that a node does not have."""
    cores, gpus = wanted["tasks_per_node"] * wanted["cpus_per_task"], wanted["gpus_per_node"]
    have = profile.gpu.per_node if profile.gpu else 0
    memory_mb, node_mb = wanted["memory_gb"] * 1024, profile.memory_mb_per_node
    remedy = "lower it or choose another profile"
    if profile.scheduler == "slurm" and have is not None and gpus > have:
        yield "gpus_per_node", f"{gpus}, but profile {profile.name} has {have} GPUs a node; {remedy}"
    if 0 < gpus < wanted["tasks_per_node"]:
        text = f"{wanted['tasks_per_node']} processes, but {gpus} GPU(s) a node, and each process needs one of its own"
        yield "tasks_per_node", f"{text}; lower it or raise gpus_per_node"
    if profile.scheduler == "local" and wanted["nodes"] > 1:
        yield "nodes", f"{wanted['nodes']}, but profile {profile.name} is one machine; {remedy}"
    if profile.cpus_per_node and cores > profile.cpus_per_node:
        text = f"{cores} cores a node in all, profile {profile.name} has {profile.cpus_per_node}; {remedy}"
        yield "cpus_per_task", text
    if node_mb and memory_mb > node_mb:
        yield "memory_gb", f"{memory_mb:.0f} MB a node, profile {profile.name} has {node_mb}; {remedy}"


def strategy_misfits(recipe: Recipe, profile: Profile) -> Iterator[tuple[str, str]]:
    """Field and sentence for each setting of the training that cannot go with the others."""
    train, wanted = recipe.train, resources_request(recipe, profile)
    ranks = wanted["nodes"] * wanted["tasks_per_node"]
    extra = "privacy" if train.privacy else train.strategy
    package = PACKAGES.get(extra)
    if package and runs_here(recipe.environment, profile.python) and importlib.util.find_spec(package) is None:
        text = f"{package} is not installed in this environment, in which the job runs"
        yield "privacy" if train.privacy else "strategy", f"{text}; pip install 'forgia[{extra}]', or do without"
    yield from deepspeed_misfits(train, gpus=wanted["gpus_per_node"])
    yield from privacy_misfits(recipe)
    if train.precision == "bf16" and not wanted["gpus_per_node"]:
        yield "precision", "bf16 needs GPUs, but resources.gpus_per_node is 0; use fp32 on CPUs"
    if train.batch_size < ranks * train.accumulate:
        each = f"{ranks} process(es) x {train.accumulate} micro-batch(es)"
        yield "batch_size", f"{train.batch_size} rows are fewer than {each}; raise it, or lower train.accumulate"


def privacy_misfits(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What stands in the way of samples' own gradients, or would give away what the noise hides."""
    train, kind = recipe.train, next(iter(recipe.data.values())).contract.samples.kind
    if train.privacy is None:
        return
    if train.strategy != "ddp":
        yield "privacy", f"{train.strategy} cannot keep the samples' gradients apart; set train.strategy to ddp"
    if train.determinism != "D0":
        yield "privacy", "whoever knows the seed could take the noise off again; set train.determinism to D0"
    if train.class_weights != "none":
        yield "privacy", "the weights of the classes tell how often each occurs; set train.class_weights to none"
    if kind in ("windows", "tokens"):
        yield (
            "privacy",
            f"{kind} share rows with each other, and what is hidden is one sample; it is for rows and images",
        )
    if train.compile or train.activation_checkpointing:
        yield "privacy", "it goes neither with train.compile nor with train.activation_checkpointing"


def deepspeed_misfits(train: Train, *, gpus: int) -> Iterator[tuple[str, str]]:
    """What only DeepSpeed is told, and what it would be told in vain."""
    asked = train.deepspeed
    if asked is None:
        return
    if train.strategy != "deepspeed":
        text = f"settings of DeepSpeed, but train.strategy is {train.strategy}"
        yield "deepspeed", f"{text}; set it to deepspeed or leave them out"
    if asked.offload and not gpus:
        yield "deepspeed.offload", "there is no GPU to keep free, as resources.gpus_per_node is 0; leave it out"
    elif asked.offload and asked.stage == 0:
        yield "deepspeed.offload", "stage 0 does not shard the optimizer's state; choose stage 1, 2 or 3"
    if train.compile and asked.stage == 3:
        text = "stage 3 gathers weights inside the blocks, where torch cannot compile across it"
        yield "compile", f"{text}; choose stage 1 or 2, or strategy fsdp"


def runs_here(environment: str, python: str | None) -> bool:
    """The job would run in this very environment."""
    return environment == CURRENT and python is None


def queue_misfits(wanted: Mapping[str, Any], profile: Profile) -> Iterator[tuple[str, str]]:
    """Field and sentence for each limit of the queue that the request passes, with the queues that would take it."""
    queue, nodes, walltime_s = profile.queue, wanted["nodes"], wanted["walltime_s"]
    cores = nodes * wanted["tasks_per_node"] * wanted["cpus_per_task"]
    others = [*other_queues(wanted, profile, walltime_s=walltime_s)]
    offer = f"; {' or '.join(others)} takes it: name it in a copy of the profile" if others else ""
    remedy = f"{offer}; else lower it" if offer else "; lower it or choose another profile"
    allows = f"profile {profile.name} with qos {profile.qos}" if profile.qos else f"profile {profile.name}"
    if queue.nodes_max and nodes > queue.nodes_max:
        yield "nodes", f"{nodes}, {allows} allows {queue.nodes_max}{remedy}"
    if queue.nodes_min and nodes < queue.nodes_min:
        yield "nodes", f"{nodes}, {allows} wants {queue.nodes_min} or more{offer or '; raise it'}"
    if queue.cores_max and cores > queue.cores_max:
        yield "cpus_per_task", f"{cores} cores in all, {allows} allows {queue.cores_max}{remedy}"
    if queue.walltime and walltime_s > queue.walltime:
        text = f"{format_duration(walltime_s)}, {allows} allows {format_duration(queue.walltime)}{remedy}"
        yield "walltime", text


def lacks_training(profile: Mapping[str, Any], environment: Mapping[str, Any]) -> bool:
    """The job would run in this very environment, and it has only the client."""
    is_own = runs_here(environment.get("kind", CURRENT), profile.get("python"))
    return is_own and importlib.util.find_spec("torch") is None


def cost_of(resources: Mapping[str, Any], profile: Profile) -> Cost:
    """The worst case in GPU-hours, core-hours, the site's unit, kWh and euro; what is not known stays None."""
    hours = resources.get("walltime_total_s", resources["walltime_s"]) / 3600
    cores = resources["tasks_per_node"] * resources["cpus_per_task"] * resources["nodes"]
    gpus = resources["gpus_per_node"] * resources["nodes"]
    billing, gpu = profile.billing, profile.gpu
    charge = profile.charge_per_hour(resources)
    units = None if charge is None else hours * charge
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
