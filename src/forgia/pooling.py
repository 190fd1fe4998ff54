"""A sweep in one allocation: one job that tries all points, so many at a time, and gives up the poor ones early.

The job is a run of its own, without a release, whose request lists the runs of the points. Those are ordinary runs:
what they say, and their figures, are what an array's would be.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from forgia import fit, status, store, submission
from forgia.errors import UserError
from forgia.fields import format_duration
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia.profile import Profile
from forgia.quota.reservation import Budget
from forgia.run import Journal, RunStatus, State
from forgia.status import Schedulers
from forgia.sweep import Member, Sweep

SECTION = "sweep"
"""Of a request: the job is one of these."""


def refuse(request: Mapping[str, Any]) -> None:
    """Raises: UserError — a point would not be one process of its own, or ray is missing where the job runs."""
    one, strategy = request["resources"], request["train"]["strategy"]
    ranks = one["nodes"] * one["tasks_per_node"]
    if ranks > 1 or strategy != "ddp":
        what = f"{ranks} processes" if ranks > 1 else f"train.strategy = {strategy}"
        message = f"--with ray tries each point in one process; the recipe asks for {what}"
        raise UserError(message, hint="--with array, or --set resources.nodes=1 --set resources.tasks_per_node=1")
    is_here = fit.runs_here(request["environment"]["kind"], request["profile"].get("python"))
    if is_here and importlib.util.find_spec("ray") is None:
        message = "ray is not installed in this environment, in which the job runs"
        raise UserError(message, hint="pip install 'forgia[ray]', or --with array")


def flags(request: Mapping[str, Any], profile: Profile, *, parallel: int | None, points: int) -> list[str]:
    """What one job needs for so many points, ``parallel`` of them at once, as flags of ``--set``.

    Raises: UserError — as ``refuse``.
    """
    refuse(request)
    one, at_once = request["resources"], min(parallel or 1, points)
    per_node = min(at_once, max(fitting(one, profile), 1))
    total_s = one["walltime_total_s"] * math.ceil(points / at_once)
    return [
        f"resources.nodes={math.ceil(at_once / per_node)}",
        f"resources.tasks_per_node={per_node}",
        f"resources.gpus_per_node={one['gpus_per_node'] * per_node}",
        f"resources.memory_gb={one['memory_gb'] * per_node}",
        f"resources.walltime={format_duration(total_s)}",
        f"train.batch_size={max(request['train']['batch_size'], at_once + per_node)}",  # none of the tasks shares one
    ]


def fitting(one: Mapping[str, Any], profile: Profile) -> int:
    """Points that fit on a node; as many as anyone likes where the profile does not know its nodes."""
    gpus = profile.gpu.per_node if profile.gpu else None
    have = [
        (profile.cpus_per_node, one["cpus_per_task"]),
        (gpus, one["gpus_per_node"]),
        (profile.memory_mb_per_node, one["memory_gb"] * 1024),
    ]
    return min((int(there // each) for there, each in have if there and each), default=2**31)


def request_of(base: Plan, sweep_id: str, members: Sequence[Member]) -> dict[str, Any]:
    """The request of the one job."""
    return {**base.request, SECTION: {"id": sweep_id, "runs": [member.run_id for member in members]}}


def deliver(
    home: HomePaths, sweep: Sweep, ready: Sequence[RunStatus], schedulers: Schedulers, *, budget: Budget
) -> int:
    """Have these points tried: by the job if it is going, else by another attempt of it; how many.

    Raises: ClusterError — the scheduler refused, or gave no answer. QuotaExceeded — nothing was sent.
    """
    if not ready:
        return 0
    pool = status.refresh(home, sweep.job, schedulers)
    if submission.is_ready(pool) or pool.state.is_final:
        pool = submission.attempt(home, sweep.job, schedulers, seen=pool, budget=budget)
    return sum(announce(home, sweep, item, job_id=pool.job_id) for item in ready)


def announce(home: HomePaths, sweep: Sweep, seen: RunStatus, *, job_id: str | None) -> bool:
    """Write down which job a point's next attempt is with, unless another command or the job was quicker."""
    journal = Journal(home.run(seen.run_id))
    facts = {"scheduler": sweep.scheduler, "profile": sweep.profile, "pool": sweep.job}
    with store.locked(journal.paths.lock):
        number = submission.next_attempt(journal, seen)
        if number is None or not job_id:
            return False
        submission.announce(home, journal, number, **facts)
        journal.record(State.PENDING, by="submitter", attempt=number, job_id=job_id)
    return True
