"""One line a holder: what it was given, used, holds and has left, how fast it goes, and until when. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from forgia.grant import Balance, Holder
from forgia.quota import tree
from forgia.quota.pace import pace_of
from forgia.quota.records import GrantState

NEVER = 9999
"""The year in which the bucket of unmanaged use ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How a holder stands, with all below it. Amounts are billing-seconds."""

    holder: Holder
    balance: Balance
    """Of the grants below; what a grant further down is overdrawn by is not in it."""
    grants: tuple[GrantState, ...]
    """Those that last, or where none does, all that there were."""
    state: str
    """open, frozen, partly frozen, overdrawn, used up, not yet or over."""
    pace: Fraction | None
    """Share used or held to share of the time gone: 1 lands on 100 % at the end. None: no time has gone."""
    until: datetime | None
    """When the first of its grants ends; where it has none itself, of those below. None: never."""
    days_left: int | None
    """Whole days until then."""


def line(holder: Holder, grants: Iterable[GrantState], now: datetime) -> Line:
    """How these grants, the holder's own and those below, stand."""
    every = tuple(grants)
    lasting = tuple(grant for grant in every if not grant.closed and grant.terms.valid_until > now)
    rolled = tree.roll_up(holder, lasting or every)
    own = tuple(grant for grant in rolled.grants if grant.holder == holder)
    ends = (grant.terms.valid_until for grant in own or rolled.grants)
    until = min((end for end in ends if end.year < NEVER), default=None)
    return Line(
        holder=holder,
        balance=rolled.balance,
        grants=rolled.grants,
        state=state(lasting, rolled.balance, now),
        pace=pace_of(lasting, now).value,
        until=until,
        days_left=max(0, (until - now).days) if until else None,
    )


def lines(grants: Iterable[GrantState], now: datetime, *, depth: int) -> list[Line]:
    """A line for each beginning, of this many names, of a holder that has a grant; what is above has its own line."""
    families: dict[Holder, list[GrantState]] = {}
    for grant in grants:
        families.setdefault(Holder(grant.holder.path[:depth]), []).append(grant)
    return [line(holder, families[holder], now) for holder in sorted(families)]


def state(lasting: Sequence[GrantState], balance: Balance, now: datetime) -> str:
    """What to know before the numbers."""
    frozen = [grant.frozen for grant in lasting]
    rules = (
        (not lasting, "over"),
        (all(frozen), "frozen"),
        (all(grant.terms.valid_from > now for grant in lasting), "not yet"),
        (any(frozen), "partly frozen"),
        (balance.free < 0, "overdrawn"),
        (balance.free == 0, "used up"),
    )
    return next((word for holds, word in rules if holds), "open")
