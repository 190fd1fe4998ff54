"""Budgets by the month: how sites cut a grant into slices, and which month an hour at midnight belongs to. Pure.

A month begins at midnight of the site's own clock; in between everything is UTC. Amounts are integers of any one unit.
Sources: https://docs.hpc.cineca.it/hpc/hpc_intro.html (saldo: monthTotal, monthConsumed); JSC's allocation procedures
(https://www.fz-juelich.de/en/ias/jsc, monthly quota, read 2026); https://docs.it4i.cz/general/resource-accounting/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from forgia.errors import NotFound
from forgia.grant import Terms

ZONE = "Europe/Rome"
"""Whose midnight begins a month, where a site does not say otherwise."""
SLICE_DAYS = 30
"""Cineca's month. Source: inferred, it reproduces two real outputs of saldo, both of months with 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a site makes of a grant's months."""

    slice: Literal["thirty-days", "months", "whole"]
    """A month gets 30 days' share; an equal part of the grant; or there are no months."""
    carry_forward: bool = False
    """What a month left can be used in the next one, and in no later one."""
    carry_back: bool = False
    """A month may use the next one's slice as well; the last one has none to use."""
    overdraft_percent: int = 0
    """Of the whole grant, usable beyond it."""
    on_exceed: Literal["refuse", "deprioritise", "warn"] = "refuse"
    """What jobs beyond the slice, carried and borrowed included, meet."""


POLICIES: Mapping[str, Policy] = {
    "cineca": Policy(slice="thirty-days", on_exceed="deprioritise"),
    "jsc": Policy(slice="months", carry_forward=True, carry_back=True, on_exceed="deprioritise"),
    "it4i": Policy(slice="whole", overdraft_percent=50, on_exceed="deprioritise"),
    "none": Policy(slice="whole"),
}
"""By ``Terms.strategy``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """One calendar month of a site, as far as it lies within a validity."""

    name: str
    """``2026-03``."""
    begin: datetime
    """UTC, included …"""
    end: datetime
    """… and not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a grant stands in one month."""

    month: str
    total: int
    """The month's own slice."""
    carried: int
    """From the month before; below 0: that month borrowed it."""
    borrowable: int
    """Of the next month's."""
    consumed: int
    consequence: str
    """Empty within the slice; else refuse, deprioritise or warn."""

    @property
    def left(self) -> int:
        """Of the slice, without borrowing; below 0: borrowed, or beyond it."""
        return self.total + self.carried - self.consumed


def policy(strategy: str) -> Policy:
    """The policy of this name. Raises: NotFound — no site cuts so."""
    if strategy not in POLICIES:
        raise NotFound("strategy", strategy, known=POLICIES)
    return POLICIES[strategy]


def month_name(moment: datetime, zone: str = ZONE) -> str:
    """The calendar month that it is then by the site's clock."""
    return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m")


def months(begin: datetime, end: datetime, zone: str = ZONE) -> list[Month]:
    """Every calendar month from the one to the other, the first and the last as far as they reach."""
    edges = [begin.astimezone(UTC), *month_edges(begin, end, zone), end.astimezone(UTC)]
    return [
        Month(name=month_name(first, zone), begin=first, end=last) for first, last in pairwise(edges) if first < last
    ]


def month_edges(begin: datetime, end: datetime, zone: str = ZONE) -> list[datetime]:
    """The midnights strictly between at which a month begins, in UTC."""
    found: list[datetime] = []
    local = begin.astimezone(ZoneInfo(zone))
    year, month = local.year, local.month
    while True:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        edge = datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        if edge >= end:
            return found
        found.append(edge)


def split(begin: datetime, end: datetime, amount: int, edges: Iterable[datetime]) -> list[tuple[datetime, int]]:
    """The amount spread over the time and cut at these moments: begin of each piece, and its part.

    Exact to the second where the amount is a rate times the seconds; the parts always add up to the amount.
    """
    inside = sorted({edge for edge in edges if begin < edge < end})
    places = [begin, *inside, end]
    length = whole_seconds(begin, end)
    if not length:
        return [(begin, amount)]
    until = [amount * whole_seconds(begin, place) // length for place in places]
    return [(place, second - first) for place, (first, second) in zip(places, pairwise(until), strict=False)]


def whole_seconds(begin: datetime, end: datetime) -> int:
    """How many lie between; an hour that a clock is put forward or back by is no matter in UTC."""
    return int((end.astimezone(UTC) - begin.astimezone(UTC)).total_seconds())


def by_month(begin: datetime, end: datetime, amount: int, zone: str = ZONE) -> dict[str, int]:
    """Calendar month → what of the amount fell into it."""
    return {month_name(at, zone): part for at, part in split(begin, end, amount, month_edges(begin, end, zone))}


def before_and_after(begin: datetime, end: datetime, amount: int, edge: datetime) -> tuple[int, int]:
    """What of the amount fell before a moment, such as a grant's end, and what from then on."""
    if end <= edge:
        return amount, 0
    parts = split(begin, end, amount, [edge])
    before = sum(part for at, part in parts if at < edge)
    return before, amount - before


def consumed(spells: Iterable[tuple[datetime, datetime, int]], zone: str = ZONE) -> dict[str, int]:
    """Calendar month → what these charges, each from a begin to an end, used in it."""
    found: dict[str, int] = {}
    for begin, end, amount in spells:
        for month, part in by_month(begin, end, amount, zone).items():
            found[month] = found.get(month, 0) + part
    return found


def thirty_days_share(total: int, days: int) -> int:
    """Cineca's monthTotal: what 30 of so many days get, rounded down."""
    return total * SLICE_DAYS // days


def slice_of(terms: Terms, month: str, zone: str = ZONE) -> int:
    """The slice of a calendar month (``2026-03``); 0 outside the grant's validity."""
    names = [one.name for one in months(terms.valid_from, terms.valid_until, zone)]
    if month not in names:
        return 0
    way = policy(terms.strategy).slice
    if way == "whole":
        return terms.amount
    if way == "thirty-days":
        site = ZoneInfo(zone)
        days = (terms.valid_until.astimezone(site).date() - terms.valid_from.astimezone(site).date()).days
        return thirty_days_share(terms.amount, max(days, 1))
    place, count = names.index(month), len(names)
    return terms.amount * (place + 1) // count - terms.amount * place // count


def standing(terms: Terms, used: Mapping[str, int], month: str, zone: str = ZONE) -> Standing:
    """How the grant stands in a month, by what was used in each (``consumed``)."""
    rule = policy(terms.strategy)
    names = [one.name for one in months(terms.valid_from, terms.valid_until, zone)]
    if rule.slice == "whole":
        return whole_standing(terms, rule, used, month)
    slices = {name: slice_of(terms, name, zone) for name in names}
    carried = carried_into(month, names, slices, used) if rule.carry_forward else 0
    following = names[names.index(month) + 1 :][:1] if month in names and rule.carry_back else []
    borrowable = sum(slices[name] for name in following)
    total, spent = slices.get(month, 0), used.get(month, 0)
    exceeds = spent > total + carried + borrowable
    return Standing(
        month=month,
        total=total,
        carried=carried,
        borrowable=borrowable,
        consumed=spent,
        consequence=rule.on_exceed if exceeds else "",
    )


def whole_standing(terms: Terms, rule: Policy, used: Mapping[str, int], month: str) -> Standing:
    """Of a grant without months: all that was used until then against all of it."""
    spent = sum(amount for name, amount in used.items() if name <= month)
    beyond = terms.amount * rule.overdraft_percent // 100
    consequence = "" if spent <= terms.amount else rule.on_exceed if spent <= terms.amount + beyond else "refuse"
    return Standing(
        month=month, total=terms.amount, carried=0, borrowable=beyond, consumed=spent, consequence=consequence
    )


def carried_into(month: str, names: Sequence[str], slices: Mapping[str, int], used: Mapping[str, int]) -> int:
    """What earlier months leave to this one: at most what the last of them was given; or what they borrowed."""
    carried = 0
    for name in names:
        if name >= month:
            return carried
        carried = min(carried + slices[name] - used.get(name, 0), slices[name])
    return carried
