"""What a ledger answers with: entries, grants, holds, roll-ups and findings. Pure data, read from rows elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from forgia.grant import Balance, Holder, Kind, Terms

OUTSIDE = "outside"
"""The account that grants come from: everything that the sites gave, as a negative number."""


def account(grant: int, pot: str) -> str:
    """How an account of a grant is spelled."""
    return f"grant:{grant}:{pot}"


@lru_cache(maxsize=4096)
def grant_and_pot(name: str) -> tuple[int, str] | None:
    """The grant and the pot of an account; None for the outside."""
    if name == OUTSIDE:
        return None
    _, grant, pot = name.split(":")
    return int(grant), pot


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One posting of the ledger, with its lines; never changed, only reversed by another."""

    seq: int
    """Counted from 1, without gaps."""
    time: datetime
    """When it was posted, UTC."""
    at: datetime
    """When what it tells of happened: the end of a job that is charged; else the time of the posting."""
    kind: Kind
    actor: str
    role: str
    reason: str
    key: str
    """Unique; what was posted under a key is not posted again."""
    holder: Holder | None
    """Who held or used; for a grant, who was given it."""
    run_id: str
    hold_key: str
    facts: Mapping[str, Any]
    """``usage`` (of charges), ``overdraft`` (grant → what is free after it, below zero), ``reverses``, ``sets`` …"""
    lines: tuple[tuple[str, int], ...]
    """Account and billing-seconds; they sum to zero."""
    prev_hash: str
    hash: str

    def total(self, pot: str) -> int:
        """What its lines move into the pots of this name."""
        return sum(amount for name, amount in self.lines if name.endswith(f":{pot}"))

    def by_grant(self, pot: str) -> dict[int, int]:
        """Grant → what its lines move into that pot of it."""
        found = ((grant_and_pot(name), amount) for name, amount in self.lines)
        return {place[0]: amount for place, amount in found if place and place[1] == pot}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantState:
    """A grant as it stands."""

    id: int
    """The number of the posting that opened it."""
    terms: Terms
    """As extended since; ``amount`` is all that it was ever given by ``grant``, ``sub_grant`` and ``extend``."""
    parent: int | None
    """The grant that it was taken from; None: from outside."""
    frozen: bool
    closed: bool
    free: int
    held: int
    spent: int
    expired: int

    @property
    def holder(self) -> Holder:
        """Who has it."""
        return self.terms.holder

    @property
    def balance(self) -> Balance:
        """The same as amounts that belong together."""
        granted = self.free + self.held + self.spent + self.expired
        return Balance(granted=granted, held=self.held, charged=self.spent, expired=self.expired)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPart:
    """What of a hold one grant bears."""

    grant: int
    amount: int
    """Reserved in it, over the life of the hold."""
    held: int
    """Still reserved."""
    charged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A reservation as it stands."""

    key: str
    run_id: str
    holder: Holder
    resource: str
    rate: int
    walltime_s: int
    attempts: int
    tasks: int
    gpus: int
    asked: int
    """Billing-seconds of the request; a hold that was resized since holds another amount."""
    open: bool
    opened: datetime
    parts: tuple[HoldPart, ...]
    """In the order in which charges use them."""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Billing-seconds still reserved."""
        return sum(part.held for part in self.parts)

    @property
    def charged(self) -> int:
        """Billing-seconds that the accounting charged to it, less refunds."""
        return sum(part.charged for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldMark:
    """What tells whose job a hold is for; of a hold that is open."""

    key: str
    opened: datetime
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderBalance:
    """What stands on a holder and on all below."""

    holder: Holder
    balance: Balance
    """A grant below that is overdrawn counts as used up, not as more than that: its debt is its own."""
    overrun: int
    """What grants below are overdrawn by, and which is therefore not in the balance."""
    grants: tuple[GrantState, ...]
    """The holder's own and those below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderUse:
    """What one holder itself holds and used, whoever's grant bears it."""

    holder: Holder
    held: int
    charged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """A cap on one holder with all below."""

    holder: Holder
    kind: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who may what, where."""

    name: str
    """The operating system's user, or the label of a token."""
    role: str
    holder: Holder | None
    token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A change that one person asked for and another has to approve."""

    id: int
    verb: str
    arguments: Mapping[str, Any]
    reason: str
    actor: str
    time: datetime
    state: str
    """open, approved or rejected."""
    decided_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A row of the accounting that was not charged, and why."""

    key: str
    seq: int
    time: datetime
    reason: str
    usage: Mapping[str, Any]
    resolved: str
    """Empty while it waits; else how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of one usage."""

    key: str
    outcome: str
    """charged, known (posted before) or quarantined."""
    charged: int = 0
    refunded: int = 0
    released: int = 0
    beyond_hold: int = 0
    """Of what was charged, what no hold had reserved."""
    holder: Holder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one grant can give to a hold."""

    grant: GrantState
    why_not: str
    """Empty where it can give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether a hold fits, and if not, what would."""

    wanted: int
    free: int
    """Billing-seconds that the grants which may be used have free, overdrafts that their terms allow included."""
    parts: tuple[tuple[int, int], ...]
    """Grant and billing-seconds, in order; empty where it does not fit."""
    offers: tuple[Offer, ...]
    """Every grant of the holder's lineage, in the order of use."""
    problems: tuple[str, ...]
    """Why it does not fit; empty where it does."""
    arithmetic: str
    """``8 billing × (3,600 s + 300 s) × 2 attempts × 1 task = 62,400 billing-s``."""
    largest_walltime_s: int = 0
    """All else equal; 0: none."""
    largest_attempts: int = 0
    largest_tasks: int = 0
    largest_share: float = 0.0
    """Of the nodes, between 0 and 1, where the rate is in proportion to them."""

    @property
    def fits(self) -> bool:
        """The hold would be given."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong in a ledger."""

    seq: int
    """The posting it was found at; 0: the state as a whole."""
    what: str
