"""A profile beside the live cluster: where they differ, and a copy of the profile that says what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from forgia import profile as profiles
from forgia import store
from forgia.cluster import Cluster, Limits, Partition, Shape
from forgia.document import CoreLoader
from forgia.errors import NotFound, UserError
from forgia.fields import format_duration
from forgia.paths import NAME
from forgia.profile import Billing, Gpu, Profile, Queue

PARTITION_TIME, PARTITION_NODES = "PartitionTimeLimit", "PartitionMaxNodes"
"""Flags of a QOS whose own limit holds in place of the partition's. Source: sacctmgr(1), SLURM 22.05"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field in which the profile and the cluster are not of one mind."""

    field: str
    profile: Any
    cluster: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a look at the cluster brought."""

    seen: Profile
    """The profile as the cluster has it; what the cluster did not tell is as it was."""
    differences: tuple[Difference, ...]
    remarks: tuple[str, ...]


def compare(profile: Profile, cluster: Cluster) -> Comparison:
    """The profile beside the cluster. Raises: NotFound — the profile's partition is not there.

    UserError — the profile is not one of a SLURM.
    """
    if profile.scheduler != "slurm":
        raise UserError(f"profile {profile.name} has no scheduler to ask", hint="forgia profile probe generic-slurm")
    if profile.partition and cluster.partitions and profile.partition not in cluster.partitions:
        hint = "this may be another cluster than the profile's; --partition NAME chooses one"
        raise NotFound("partition", profile.partition, known=cluster.partitions, hint=hint)
    here, shape = cluster.partitions.get(profile.partition or ""), cluster.shapes.get(profile.partition or "")
    queues = tuple(seen_queue(queue, profile, cluster) for queue in profile.queues or (Queue(),) if here)
    seen = profile.model_copy(
        update={
            **(seen_node(profile, shape, here) if shape else {}),
            **({"queues": (*queues, *further_queues(profile, cluster, here))} if here else {}),
            "max_array_size": cluster.max_array_size or profile.max_array_size,
            "billing": profile.billing or (seen_billing(here, cluster) if here else None),
        }
    )
    found = tuple(differences(readable(profile), readable(seen)))
    return Comparison(seen=seen, differences=found, remarks=tuple(remarks(profile, cluster, here)))


def seen_node(profile: Profile, shape: Shape, here: Partition | None) -> dict[str, Any]:
    """What a node of the partition has, as far as jobs may use it."""
    gpu = None
    if shape.gpus:
        known = profile.gpu or Gpu(type=shape.gpu_type)
        kind = shape.gpu_type if known.type and shape.gpu_type else known.type
        gpu = known.model_copy(update={"per_node": shape.gpus, "type": kind})
    return {
        "cpus_per_node": least(shape.cpus, here.cpus_per_node if here else None),
        "memory_mb_per_node": least(shape.memory_mb, here.memory_mb_per_node if here else None),
        "gpu": gpu,
    }


def seen_queue(queue: Queue, profile: Profile, cluster: Cluster) -> Queue:
    """The queue with the limits that its partition and its QOS have; what is not there stays as it was."""
    here = cluster.partitions.get(queue.partition or profile.partition or "")
    if not here or (queue.qos and cluster.qos and queue.qos not in cluster.qos):
        return queue
    found = narrower(here.limits, written_limits(queue)) if not cluster.qos else seen_limits(queue, here, cluster)
    least_nodes = found.nodes_min if found.nodes_min != 1 else None
    update = {"walltime": found.walltime_s, "nodes_min": least_nodes, "exclusive": here.exclusive}
    return queue.model_copy(update={**update, "nodes_max": found.nodes_max, "cores_max": found.cores_max})


def seen_limits(queue: Queue, here: Partition, cluster: Cluster) -> Limits:
    """Of the partition, of the QOS that all its jobs have, and of the one that is asked for or the user's default."""
    asked = cluster.qos.get(queue.qos or cluster.default_qos or "normal", Limits())
    everyones = cluster.qos.get(here.qos or "", Limits())
    return narrower(narrower(without_overruled(here.limits, asked), asked), everyones)


def written_limits(queue: Queue) -> Limits:
    """Those of the profile, for where SLURM tells nothing of its QOS: a site's documents may be stricter."""
    return Limits(
        walltime_s=queue.walltime, nodes_min=queue.nodes_min, nodes_max=queue.nodes_max, cores_max=queue.cores_max
    )


def further_queues(profile: Profile, cluster: Cluster, here: Partition) -> list[Queue]:
    """One for each QOS that the partition lists, that this user has, and that the profile does not know."""
    known = {queue.qos for queue in profile.queues} | {cluster.default_qos or "normal"}
    names = [name for name in here.allowed_qos if name in cluster.qos and name in cluster.own_qos and name not in known]
    return [seen_queue(Queue(qos=name), profile, cluster) for name in names]


def without_overruled(limits: Limits, qos: Limits) -> Limits:
    """A partition's limits without those that the QOS may pass."""
    return Limits(
        walltime_s=None if PARTITION_TIME in qos.flags and qos.walltime_s else limits.walltime_s,
        nodes_min=limits.nodes_min,
        nodes_max=None if PARTITION_NODES in qos.flags and qos.nodes_max else limits.nodes_max,
        cores_max=limits.cores_max,
    )


def narrower(first: Limits, second: Limits) -> Limits:
    """What is within both."""
    return Limits(
        walltime_s=least(first.walltime_s, second.walltime_s),
        nodes_min=max(first.nodes_min or 0, second.nodes_min or 0) or None,
        nodes_max=least(first.nodes_max, second.nodes_max),
        cores_max=least(first.cores_max, second.cores_max),
    )


def least(*values: int | None) -> int | None:
    """Of those that are known."""
    return min((value for value in values if value is not None), default=None)


def seen_billing(here: Partition, cluster: Cluster) -> Billing | None:
    """SLURM's own charge, in its own unit; None where the site sets no weights."""
    if not here.weights:
        return None
    rates = {f"per_{name}": weight for name, weight in here.weights.items()}
    return Billing.model_validate({"unit": "billing-h", "combine": "max" if cluster.largest_wins else "sum", **rates})


def remarks(profile: Profile, cluster: Cluster, here: Partition | None) -> Iterator[str]:
    """What a person should know beside the differences, one sentence each."""
    yield from cluster.complaints
    if not profile.partition and cluster.partitions:
        names = (f"{name} ({shape.gpus} GPUs a node)" for name, shape in cluster.shapes.items())
        yield f"the profile names no partition; choose one with --partition: {', '.join(names)}"
    for queue in profile.queues:
        if queue.partition and cluster.partitions and queue.partition not in cluster.partitions:
            yield f"partition {queue.partition} is not there, or not for you; its queue stays as it was"
        if queue.qos and cluster.qos and queue.qos not in cluster.qos:
            yield f"qos {queue.qos} is not there; its queue stays as it was"
    if profile.qos and cluster.own_qos and profile.qos not in cluster.own_qos:
        yield f"your associations have no qos {profile.qos}; they have {', '.join(cluster.own_qos)}"
    accounts = {account.casefold() for account in cluster.accounts}  # SLURM keeps them in lower case
    if profile.account and accounts and profile.account.casefold() not in accounts:
        yield f"you have no account {profile.account}; yours: {', '.join(cluster.accounts)}"
    elif cluster.accounts:
        yield f"your accounts: {', '.join(cluster.accounts)}"
    if here and profile.billing and (bill := seen_billing(here, cluster)) and not same_rates(bill, profile.billing):
        rates = ", ".join(f"{weight:g} a {name}" for name, weight in here.weights.items())
        rule = "the largest of" if cluster.largest_wins else "the sum of"
        yield f"SLURM bills {rule} {rates}, not as the profile says; the site's accounting decides which is charged"


def same_rates(first: Billing, second: Billing) -> bool:
    """Both charge the same, whatever the unit is called; to a thousandth."""
    names = ("per_core", "per_gpu", "per_gb", "per_node")
    near = all(abs(getattr(first, name) - getattr(second, name)) <= 1e-3 * getattr(first, name) for name in names)
    return near and first.combine == second.combine


def differences(first: Any, second: Any, field: str = "") -> Iterator[Difference]:
    """Every leaf that is not the same, by dotted name."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from differences(first.get(name), second.get(name), f"{field}.{name}".lstrip("."))
    elif first != second:
        yield Difference(field=field, profile=first, cluster=second)


def readable(profile: Profile) -> dict[str, Any]:
    """The profile for a person: durations as clocks, queues by name."""
    fields = profile.model_dump(mode="json")
    queues = {queue.label(profile.partition): written_queue(queue) for queue in profile.queues}
    return {**fields, "queues": queues}


def written_queue(queue: Queue) -> dict[str, Any]:
    """A queue as it is written in a file."""
    fields = queue.model_dump(mode="json", exclude_defaults=True)
    return {**fields, "walltime": format_duration(queue.walltime)} if queue.walltime else fields


def written(value: Any) -> str:
    """A value of a difference in one cell."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {written(item)}" for name, item in value.items() if item not in (None, [], {}))
    return "–" if value in (None, [], {}) else str(value)


class Dumper(yaml.SafeDumper):
    """Quotes what either edition of YAML would take for something else than text."""


Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *CoreLoader.yaml_implicit_resolvers.get(first, [])]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *CoreLoader.yaml_implicit_resolvers}
}


def write(path: Path, comparison: Comparison, cluster: Cluster, *, today: date) -> Profile:
    """Write what was seen as a profile file of its own, verified today, and read it back.

    Raises: UserError — the file is there already, or its name is no name for a profile.
    """
    if path.exists():
        raise UserError(f"{path}: is there already", hint="choose another name, or move the file away first")
    if not NAME.fullmatch(path.stem):
        raise UserError(
            f"{path}: the file's name becomes the profile's: lower-case letters, digits, . _ - between them"
        )
    source = f"scontrol, sacctmgr and sinfo of cluster {cluster.name} (SLURM {cluster.version}), {today.isoformat()}"
    fields = comparison.seen.model_dump(mode="json", exclude_defaults=True)
    fields["name"], fields["verified_on"] = path.stem, today.isoformat()
    fields["sources"] = [*comparison.seen.sources, source]
    if comparison.seen.queues:
        fields["queues"] = [written_queue(queue) for queue in comparison.seen.queues]
    fields = {name: fields[name] for name in Profile.model_fields if name in fields}
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_atomic(path, yaml.dump(fields, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=140))
    return profiles.load(path)
