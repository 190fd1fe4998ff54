"""Cluster profiles: what one cluster offers and wants (``cluster-profiles/<name>.yaml``).

The profile alone decides how a request is written for the scheduler, what it costs and where it stops fitting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from forgia import digest, document
from forgia.fields import Count, Duration, Name, Strict, format_duration

INFORMATIONAL = frozenset(
    {"schema_version", "title", "sources", "verified_on", "queues", "purged", "site", "max_array_size", "max_submit"}
)
"""What changes nothing in a run, and so nothing in its identity."""


class Gpu(Strict):
    """The accelerators of a node."""

    per_node: Count | None = None
    """None: unknown."""
    vendor: Literal["nvidia", "amd"] = "nvidia"
    type: str | None = None
    """The name in the scheduler's GRES, where requests must carry it."""
    model: str | None = None
    memory_gb: float | None = None
    request_style: Literal["gres", "gpus-per-node", "gpus"] = "gres"
    cpus: Count | None = None
    """Cores that go with one GPU, where the site says so."""
    cpus_fixed: bool = False
    """The site takes no other number of cores a GPU."""
    watts: float | None = None
    """Drawn at full load, for the energy estimate of a plan."""


class Queue(Strict):
    """One way into the cluster, a partition with a QOS, and what it takes; None: unknown, or no such limit."""

    partition: str | None = None
    """None: whichever the profile names."""
    qos: str | None = None
    """None: no QOS is named, and the site's default one holds."""
    nodes_min: Count | None = None
    nodes_max: Count | None = None
    cores_max: Count | None = None
    """Over all nodes of a job."""
    walltime: Duration | None = None
    exclusive: bool | None = None
    """A job gets whole nodes and pays for them. None: unknown; costs are then told for whole nodes."""
    full_nodes: bool = False
    """Only for jobs that use every GPU, or every core, of their nodes."""

    def takes(self, *, nodes: int, cores: int, walltime_s: int) -> bool:
        """A job of so many nodes and cores in all, for so long, is within what is known."""
        return (
            (self.nodes_min or 0) <= nodes <= (self.nodes_max or nodes)
            and cores <= (self.cores_max or cores)
            and walltime_s <= (self.walltime or walltime_s)
        )

    def label(self, partition: str | None) -> str:
        """``qos boost_qos_lprod``, or ``partition dev-g``, for a profile of this partition."""
        names = [f"partition {self.partition}"] if self.partition not in (None, partition) else []
        return " ".join([*names, f"qos {self.qos or 'default'}"] if self.qos or not names else names)

    def describe(self, partition: str | None) -> str:
        """The label with the limits: ``qos boost_qos_lprod (up to 3 nodes, up to 4-00:00:00)``."""
        limits = [f"from {self.nodes_min} nodes on"] if self.nodes_min else []
        limits += [f"up to {self.nodes_max} nodes"] if self.nodes_max else []
        limits += [f"up to {self.cores_max} cores"] if self.cores_max else []
        limits += [f"up to {format_duration(self.walltime)}"] if self.walltime else []
        limits += ["full nodes only"] if self.full_nodes else []
        return self.label(partition) + (f" ({', '.join(limits)})" if limits else "")


class Billing(Strict):
    """The site's charge for an hour of a node: by its parts, as the site's documents say."""

    unit: str
    per_core: float = Field(default=0.0, ge=0)
    per_gpu: float = Field(default=0.0, ge=0)
    per_gb: float = Field(default=0.0, ge=0)
    per_node: float = Field(default=0.0, ge=0)
    """For a node, however little of it is used."""
    core_step: Count = 1
    """Cores are billed in packs of so many."""
    gb_step: float | None = Field(default=None, gt=0)
    combine: Literal["max", "sum"] = "max"
    """The largest of the parts is billed, or all of them."""
    eur_per_unit: float | None = None
    """None: no price is known, and none is invented."""

    def parts(self, *, cores: int, gpus: int, memory_gb: float) -> dict[str, float]:
        """What each part of a node's use costs an hour."""
        packs = math.ceil(cores / self.core_step) * self.core_step
        memory = math.ceil(memory_gb / self.gb_step) * self.gb_step if self.gb_step else memory_gb
        return {
            "cores": self.per_core * packs,
            "gpus": self.per_gpu * gpus,
            "memory": self.per_gb * memory,
            "node": self.per_node,
        }

    def node_hour(self, *, cores: int, gpus: int, memory_gb: float) -> float:
        """What an hour of a node costs that is used so."""
        parts = self.parts(cores=cores, gpus=gpus, memory_gb=memory_gb).values()
        return max(parts) if self.combine == "max" else sum(parts)


class Profile(Strict):
    """A cluster profile file."""

    schema_version: Literal[1]
    name: Name
    title: str
    scheduler: Literal["local", "slurm"]
    site: Name | None = None
    """Whose budgets pay for it, where several profiles share them; None: the profile's own name."""
    verified_on: str | None = None
    """Date of the last look at the live cluster; None: only read about."""
    sources: tuple[str, ...] = ()
    arch: Literal["x86_64", "aarch64", "any"] = "any"
    """Of the nodes; any: unknown, or of both kinds."""
    partition: str | None = None
    qos: str | None = None
    qos_required: bool = False
    """The cluster takes no job without a QOS."""
    account: str | None = None
    account_required: bool = False
    """The cluster takes no job without an account."""
    queues: tuple[Queue, ...] = ()
    """Of these, the one with the profile's partition and QOS holds for a request; the others are offered."""
    cpus_per_node: Count | None = None
    memory_mb_per_node: Count | None = None
    memory_follows_cores: bool = False
    """Memory comes with the cores, and no job asks for it."""
    gpu: Gpu | None = None
    cpu_watts_per_core: float | None = None
    billing: Billing | None = None
    signal_lead_s: Count = 90
    """Seconds before the time limit at which the scheduler warns the job."""
    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    """Shell lines before the task starts; the site's own words, never a user's input."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables set for the job: offline switches, network hints."""
    srun_args: tuple[str, ...] = ()
    extra_sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    """Further flags of sbatch that the site wants; a request's own are never overruled."""
    python: str | None = None
    """Interpreter on the nodes; None: the one that submits."""
    max_array_size: Count | None = None
    """Tasks of one array job; None: unknown, and SLURM's default holds."""
    max_submit: Count | None = None
    """Jobs, tasks of arrays among them, that one user may have in the queue; None: unknown, or no such limit."""
    container: Literal["apptainer"] | None = None
    """What runs images on the nodes; None: nothing is known to."""
    environment_unpack: Literal["node", "shared"] = "node"
    """Where a packed environment is unpacked: on the node's own disk if there is room, or on the shared one."""
    compute_internet: bool | None = None
    """None: unknown."""
    purged: dict[str, Count] = Field(default_factory=dict)
    """Variable that names a folder → days after which the site deletes files in it."""

    @model_validator(mode="after")
    def _each_queue_once(self) -> Profile:
        keys = [(queue.partition or self.partition, queue.qos) for queue in self.queues]
        if twice := sorted({f"{partition}/{qos}" for partition, qos in keys if keys.count((partition, qos)) > 1}):
            raise ValueError(f"a queue is written twice: {', '.join(twice)}")
        return self

    @property
    def queue(self) -> Queue:
        """The way in that the profile chooses; nothing is known of one that its queues do not name."""
        chosen = (self.partition, self.qos)
        known = (queue for queue in self.queues if (queue.partition or self.partition, queue.qos) == chosen)
        return next(known, Queue())

    @property
    def has_whole_nodes(self) -> bool:
        """A job is known to get, or to pay for, whole nodes."""
        return bool(self.queue.exclusive or self.queue.full_nodes or (self.billing and self.billing.per_node))

    def charge_per_hour(self, resources: Mapping[str, Any]) -> float | None:
        """In the site's unit, for all nodes; None where no billing is known."""
        if not self.billing:
            return None
        gpus, memory_gb = resources["gpus_per_node"], 0.0 if self.memory_follows_cores else resources["memory_gb"]
        cores = resources["tasks_per_node"] * resources["cpus_per_task"]
        if self.queue.exclusive is not False:
            gpus = max(gpus, (self.gpu.per_node or 0) if self.gpu else 0)
            cores = max(cores, self.cpus_per_node or 0)
            memory_gb = max(memory_gb, (self.memory_mb_per_node or 0) / 1024)
        return float(resources["nodes"] * self.billing.node_hour(cores=cores, gpus=gpus, memory_gb=memory_gb))


def load(path: Path) -> Profile:
    """Read a profile file. Raises: UserError — with every problem at once."""
    return document.validate(document.load(path), Profile)


def resolved(profile: Profile) -> dict[str, Any]:
    """The profile as it stands in a request, with its digest."""
    fields = profile.model_dump(mode="json", exclude=set(INFORMATIONAL))
    fields["limits"] = {"nodes": profile.queue.nodes_max, "walltime": profile.queue.walltime}
    return {**fields, "digest": digest.of_json(fields)}


def json_schema() -> dict[str, Any]:
    """The format as JSON schema, for editors."""
    return {"$id": "urn:forgia:schema:profile:1", **Profile.model_json_schema()}
