"""Which grants bear a hold or a charge, and how a subtree adds up. Pure: rows in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from forgia.grant import Balance, Holder
from forgia.quota.records import GrantState, HolderBalance


def in_order(grants: Iterable[GrantState], holder: Holder) -> list[GrantState]:
    """Of the holder's lineage, in the order of use: nearest first, then priority, then earliest expiry."""
    places = {above: distance for distance, above in enumerate(holder.lineage)}
    mine = (grant for grant in grants if grant.holder in places)
    return sorted(
        mine, key=lambda grant: (places[grant.holder], -grant.terms.priority, grant.terms.valid_until, grant.id)
    )


def why_not(grant: GrantState, resource: str, *, start: datetime, end: datetime) -> str:
    """Why a grant does not bear a hold of this resource from start to end; empty where it does."""
    terms = grant.terms
    rules = (
        (grant.closed, "closed"),
        (grant.frozen, "frozen"),
        (terms.resource not in ("any", resource), f"for {terms.resource} only"),
        (start < terms.valid_from, f"valid from {terms.valid_from:%Y-%m-%d %H:%M} UTC"),
        (start >= terms.valid_until, f"over since {terms.valid_until:%Y-%m-%d %H:%M} UTC"),
        (end > terms.valid_until, f"ends {terms.valid_until:%Y-%m-%d %H:%M} UTC, before the job may"),
    )
    return next((reason for applies, reason in rules if applies), "")


def usable(grant: GrantState) -> int:
    """What a new hold may take, with the overdraft that the terms allow."""
    return max(0, grant.free + grant.terms.overdraft)


def split(grants: Sequence[GrantState], amount: int, *, overdraft: bool = False) -> tuple[tuple[int, int], ...] | None:
    """Grant and amount, what is free being used before any overdraft; None where it does not fit.

    Args: overdraft — staff said so: what is missing is taken from the first grant all the same.
    """
    taken = dict.fromkeys((grant.id for grant in grants), 0)
    left = amount
    for limit in (lambda grant: max(0, grant.free), usable):
        for grant in grants:
            some = min(left, limit(grant) - taken[grant.id])
            taken[grant.id] += max(0, some)
            left -= max(0, some)
    if left and overdraft and grants:
        taken[grants[0].id] += left
        left = 0
    return None if left else tuple((grant, some) for grant, some in taken.items() if some)


def bearer(grants: Sequence[GrantState], resource: str, moment: datetime) -> GrantState | None:
    """Which grant bears use that nothing was reserved for.

    What is free does not count: the same use is borne by the same grant, in whatever order rows of the accounting come.
    """
    fitting = [grant for grant in grants if grant.terms.resource in ("any", resource)]
    valid = [grant for grant in fitting if grant.terms.valid_from <= moment < grant.terms.valid_until]
    alive = [grant for grant in valid if not grant.closed]
    return next(iter(alive or valid or fitting), None)


def over_parts(parts: Sequence[Mapping[str, Any]], amount: int) -> list[tuple[int, int]]:
    """Grant and amount of a charge to a hold: its parts in order, each up to what it reserved; the rest to the last.

    Only what was charged before counts, not what is still held: rows of the accounting may come in any order.
    """
    shares: list[tuple[int, int]] = []
    for part in parts:
        some = min(amount, max(0, part["amount"] - part["charged"]))
        shares.append((part["grant_id"], some))
        amount -= some
    last, some = shares[-1]
    shares[-1] = (last, some + amount)
    return [(grant, some) for grant, some in shares if some]


def roll_up(holder: Holder, grants: Iterable[GrantState]) -> HolderBalance:
    """What a holder and all below have; a grant below that is overdrawn counts as used up and no more."""
    mine = tuple(grant for grant in grants if grant.holder.is_within(holder))
    overruns = {grant.id: max(0, -grant.free) for grant in mine if grant.holder != holder}
    overrun = sum(overruns.values())
    balances = [grant.balance for grant in mine]
    total = Balance(
        granted=sum(balance.granted for balance in balances),
        held=sum(balance.held for balance in balances),
        charged=sum(balance.charged for balance in balances) - overrun,
        expired=sum(balance.expired for balance in balances),
    )
    return HolderBalance(holder=holder, balance=total, overrun=overrun, grants=mine)
