"""Cluster profiles: what one cluster offers and wants (``cluster-profiles/<name>.yaml``).

The profile alone decides how a request is written for the scheduler, what it costs and where it stops fitting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from forgia import digest, document
from forgia.fields import Count, Duration, Name, Strict


class Gpu(Strict):
    """The accelerators of a node."""

    per_node: Count
    type: str | None = None
    """The name in the scheduler's GRES, where requests must carry it."""
    model: str | None = None
    memory_gb: float | None = None
    request_style: Literal["gres", "gpus-per-node", "gpus"] = "gres"
    watts: float | None = None
    """Drawn at full load, for the energy estimate of a plan."""


class Limits(Strict):
    """Where a request stops fitting."""

    nodes: Count | None = None
    walltime: Duration | None = None


class Billing(Strict):
    """The site's charge: per hour, the largest of the three shares of a node, as the site's documents say."""

    unit: str
    per_core: float = Field(default=0.0, ge=0)
    per_gpu: float = Field(default=0.0, ge=0)
    per_gb: float = Field(default=0.0, ge=0)
    eur_per_unit: float | None = None
    """None: no price is known, and none is invented."""


class Profile(Strict):
    """A cluster profile file."""

    schema_version: Literal[1]
    name: Name
    title: str
    scheduler: Literal["local", "slurm"]
    verified_on: str | None = None
    """Date of the last look at the live cluster; None: only read about."""
    sources: tuple[str, ...] = ()
    arch: Literal["x86_64", "aarch64", "any"] = "any"
    partition: str | None = None
    qos: str | None = None
    account: str | None = None
    account_required: bool = False
    """The cluster takes no job without an account."""
    cpus_per_node: Count | None = None
    memory_mb_per_node: Count | None = None
    gpu: Gpu | None = None
    cpu_watts_per_core: float | None = None
    limits: Limits = Limits()
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
    compute_internet: bool | None = None
    """None: unknown."""


def load(path: Path) -> Profile:
    """Read a profile file. Raises: UserError — with every problem at once."""
    return document.validate(document.load(path), Profile)


def resolved(profile: Profile) -> dict[str, Any]:
    """The profile as it stands in a request, with its digest."""
    fields = profile.model_dump(mode="json", exclude={"sources", "schema_version", "title"})
    return {**fields, "digest": digest.of_json(fields)}


def json_schema() -> dict[str, Any]:
    """The format as JSON schema, for editors."""
    return {"$id": "urn:forgia:schema:profile:1", **Profile.model_json_schema()}
