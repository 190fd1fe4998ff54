"""Budgets as nouns: who holds one, what it is worth, what is asked of it and what was used. Pure data, no ledger.

Amounts are integers of billing-seconds: SLURM's ``billing`` of an allocation times the seconds it was held. GPU-hours,
node-hours, a site's own unit and euro are views of them, made by a rate card, and never stored.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from forgia.errors import Refused, UserError
from forgia.paths import checked_name

LEVELS = ("site", "organisation", "project", "person")
"""What the names of a holder's path are, from the root."""


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """A place in the tree that budgets hang on: ``leonardo/acme/press-shop/anna``, or any beginning of it."""

    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Holder:
        """From its names with slashes between. Raises: UserError — no such path can be."""
        names = text.strip("/").split("/")
        if not 1 <= len(names) <= len(LEVELS):
            raise UserError(f"holder {text!r}: write {'/'.join(LEVELS)}, or a beginning of that")
        return cls(tuple(checked_name(level, name) for level, name in zip(LEVELS, names, strict=False)))

    def __str__(self) -> str:
        return "/".join(self.path)

    @property
    def level(self) -> str:
        """Which of ``LEVELS`` it is."""
        return LEVELS[len(self.path) - 1]

    @property
    def lineage(self) -> tuple[Holder, ...]:
        """The holder itself, then those above it, nearest first."""
        return tuple(Holder(self.path[:length]) for length in range(len(self.path), 0, -1))

    def is_within(self, other: Holder) -> bool:
        """It is the other, or below it."""
        return self.path[: len(other.path)] == other.path


CEILINGS = ("gpus", "jobs", "registry_gb", "billing_s")
"""What a holder, with all below, can be capped at: GPUs and jobs at once, gigabytes in the registry, held + charged."""

ROLES = ("viewer", "member", "admin", "staff")
"""What an actor may be, the strongest last."""


class Kind(enum.StrEnum):
    """Why an amount moved."""

    GRANT = "grant"
    """Budget came in from outside: an allocation that the site was given."""
    SUBGRANT = "subgrant"
    """A part of a grant was given to a holder below."""
    HOLD = "hold"
    """Reserved for the worst case of a submission."""
    RELEASE = "release"
    """A hold, or the rest of it, given back."""
    CHARGE = "charge"
    """Used, by what the accounting says."""
    REFUND = "refund"
    """A charge given back by policy, such as for a node that failed."""
    ADJUST = "adjust"
    """A correction towards the site's own count, or a reversal."""
    EXPIRE = "expire"
    """What was left when the validity ended."""
    TRANSFER = "transfer"
    """From one grant to another, or back to where a closed grant came from."""
    RULE = "rule"
    """No amount: a role, a ceiling, a setting, a freeze, a request or its approval; the facts say which."""
    QUARANTINE = "quarantine"
    """No amount: a row of the accounting that nobody could judge, kept until somebody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who does something to a ledger, and as what."""

    name: str
    role: str = "member"
    """staff, admin (of an organisation), member or viewer."""
    holder: Holder | None = None
    """The place in the tree that the role is for; None: everywhere, as for staff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a grant is good for."""

    holder: Holder
    amount: int
    """Billing-seconds; more than 0."""
    valid_from: datetime
    """Aware; a hold must lie within the validity, this end included …"""
    valid_until: datetime
    """… and this end not."""
    resource: str = "any"
    """``gpu``, ``cpu`` or ``any``: which allocations it pays for."""
    priority: int = 0
    """Higher is used first; of one priority, the earliest expiry first."""
    strategy: str = "none"
    """How it is cut into months: cineca, jsc, it4i or none."""
    overdraft: int = 0
    """Billing-seconds that holds may go below zero by."""
    refund_node_fail: bool = True
    """The site's policy gives back what a failed node cost."""
    title: str = ""
    """Such as the access mode and the number of the project at the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest:
    """The worst case of a submission, to be reserved before the scheduler hears of it."""

    key: str
    """Names the hold for ever, ``<run id>@<attempt>``; asked again with the same key, there is the same hold."""
    run_id: str
    holder: Holder
    resource: str
    """``gpu`` or ``cpu``."""
    rate: int
    """Billing units of the whole job, rounded up: billing-seconds a second."""
    walltime_s: int
    attempts: int = 1
    """How many attempts of that length the job may make without asking again."""
    tasks: int = 1
    """Members of an array."""
    gpus: int = 0
    """At once, for the ceiling on GPUs."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What reports want to know of the run: recipe, datasets, profile."""

    MARGIN_S = 300
    """A job may outlive its time limit by KillWait and OverTimeLimit. Source: slurm.conf(5), 22.05."""

    @property
    def amount(self) -> int:
        """Billing-seconds: every attempt of every task until its time limit, with a margin."""
        return self.rate * (self.walltime_s + self.MARGIN_S) * self.attempts * self.tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One row of the accounting, judged: what one attempt of one job used."""

    key: str
    """``<cluster>:<DBIndex>``, or where there is no DBIndex ``<cluster>:<JobIDRaw>:<Submit>:<Start>``. Never the job id
    alone: ids come back."""
    cluster: str
    job_id: str
    state: str
    """The scheduler's word."""
    billing_s: int
    """Billing-seconds to charge."""
    refund_s: int = 0
    """Of these, what a policy that refunds failed nodes gives back."""
    ends_job: bool = True
    """The job is over: what is left of its hold goes back. False for an attempt that was requeued."""
    rate: int = 0
    seconds: int = 0
    start: datetime | None = None
    """Aware; None: it never started."""
    end: datetime | None = None
    account: str = ""
    user: str = ""
    partition: str = ""
    name: str = ""
    """The job's name, which of forgia's jobs is the run's."""
    resource: str = "cpu"
    gpus: int = 0
    nodes: int = 0
    raw: str = ""
    """The accounting's own line, kept in the ledger with its digest: accounting is purged."""
    quarantined: str = ""
    """Why it was not charged, such as a state that nobody knows; it is told, and does not stop the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What stands on one grant, or on all of one holder."""

    granted: int
    """Came in, less what was given on to holders below or transferred away."""
    held: int
    charged: int
    """Less refunds."""
    expired: int = 0

    @property
    def free(self) -> int:
        """What a new hold may take, before any overdraft."""
        return self.granted - self.held - self.charged - self.expired


class QuotaExceeded(Refused):
    """The budget does not bear the worst case; the message holds the arithmetic and what would fit."""

    def __init__(self, message: str, *, hint: str | None = None, wanted: int = 0, free: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.wanted, self.free = wanted, free
