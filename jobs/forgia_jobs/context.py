"""What the steps of an attempt share."""

from __future__ import annotations

from dataclasses import dataclass

from forgia.paths import RunPaths
from forgia.run import Journal
from forgia_jobs import endings
from forgia_jobs.meeting.placement import Placement
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import Request
from forgia_jobs.stopping import StopRequest


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One rank of one attempt: what it was asked, who it is, and whom it has met."""

    paths: RunPaths
    journal: Journal
    placement: Placement
    number: int
    request: Request
    world: World
    stop: StopRequest
    started: float
    """Monotonic clock, seconds."""
    started_at: str
    limits: endings.Limits
    spent_before_s: float = 0.0
    """Of the run's walltime, in earlier attempts; only the leader knows."""
