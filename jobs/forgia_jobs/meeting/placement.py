"""Which of how many processes this one is, as its launcher says it in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from forgia.errors import ClusterError
from forgia_jobs.meeting import nodelist
from forgia_jobs.request import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A process among those that train together."""

    rank: int
    world_size: int
    local_rank: int
    """Index on its node."""
    hosts: tuple[str, ...] = ()
    """Nodes of the allocation, the one of rank 0 first; empty on a single machine."""
    job_id: str | None = None
    launch: str = ""
    """Differs between two launches of one job, such as before and after a requeue."""
    address: tuple[str, int] | None = None
    """Where rank 0 is to listen, if the launcher has decided that."""


def discover(environment: Mapping[str, str] = os.environ) -> Placement:
    """Read the launcher's variables: a Slurm step's, submitit's on one machine, or torchrun's; else one process alone.

    Source: https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES (22.05); submitit 1.5.4, local.py.
    """
    for marker, read in (("SUBMITIT_LOCAL_GLOBALID", _submitit), ("SLURM_PROCID", _slurm), ("RANK", _torchrun)):
        if marker in environment:
            try:
                return read(environment)
            except (KeyError, ValueError) as error:
                raise ClusterError(f"{marker} is set, but this is not: {error}", transient=False) from error
    return Placement(rank=0, world_size=1, local_rank=0, job_id=environment.get("SLURM_JOB_ID"))


def check(placement: Placement, resources: Resources) -> None:
    """N worlds of one are N wrong runs. Raises: ClusterError — another number of processes than was asked for."""
    if placement.world_size != resources.world_size:
        raise ClusterError(
            f"{placement.world_size} process(es) were launched together, but the request is for {resources.nodes} "
            f"node(s) x {resources.tasks_per_node} task(s) = {resources.world_size}",
            transient=False,
            hint="start the ranks with srun or through submitit, so that each learns its number",
        )


def _slurm(environment: Mapping[str, str]) -> Placement:
    job_id = environment["SLURM_JOB_ID"]
    launch = (job_id, environment.get("SLURM_RESTART_COUNT", "0"), environment.get("SLURM_STEP_ID", "0"))
    task = environment.get("SLURM_ARRAY_TASK_ID")
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    return Placement(
        rank=int(environment["SLURM_PROCID"]),
        world_size=int(environment["SLURM_NTASKS"]),
        local_rank=int(environment.get("SLURM_LOCALID", "0")),
        hosts=tuple(nodelist.expand(hosts)),
        job_id=f"{environment['SLURM_ARRAY_JOB_ID']}_{task}" if task else job_id,  # as its submitter asks for it
        launch=".".join(launch),
    )


def _submitit(environment: Mapping[str, str]) -> Placement:
    job_id = environment["SUBMITIT_LOCAL_JOB_ID"]
    return Placement(
        rank=int(environment["SUBMITIT_LOCAL_GLOBALID"]),
        world_size=int(environment["SUBMITIT_LOCAL_NTASKS"]),
        local_rank=int(environment["SUBMITIT_LOCAL_LOCALID"]),
        job_id=job_id,
        launch=f"local.{job_id}",
    )


def _torchrun(environment: Mapping[str, str]) -> Placement:
    port = environment.get("MASTER_PORT")
    host = environment.get("MASTER_ADDR", "127.0.0.1")
    return Placement(
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
        local_rank=int(environment.get("LOCAL_RANK", environment["RANK"])),
        launch=f"parent.{os.getppid()}",
        address=(host, int(port)) if port else None,
    )
