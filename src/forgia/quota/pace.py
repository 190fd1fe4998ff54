"""Fairness inside one account of SLURM, which sees one account: who is ahead waits a little longer. Pure but for reads.

Pace is the share that is used over the share of the time that has passed; above 1 a budget ends before its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from forgia.grant import Actor, Holder
from forgia.quota import access
from forgia.quota.records import GrantState

if TYPE_CHECKING:
    from forgia.quota.ledger import Ledger

NICE = (
    (Fraction(1), 0),
    (Fraction(11, 10), 100),
    (Fraction(5, 4), 400),
    (Fraction(3, 2), 1600),
    (Fraction(2), 6400),
)
"""Pace, compared with the account's → ``--nice`` up to it. Users may only raise nice, by whole points of priority.

The first step is what ``sbatch --nice`` adds when no number is given, 100; each next is four times that, because the
weights of priority are chosen by the site and range from hundreds to tens of thousands. Source: sbatch(1), 22.05.
"""
MOST_NICE = 25600
"""Beyond twice the account's pace."""
THROTTLE = ((Fraction(1), 1), (Fraction(5, 4), 2), (Fraction(2), 4))
"""Pace, compared with the account's → by what the members of an array that run at once are divided, up to it."""
MOST_THROTTLE = 8
FIRST_DAY = timedelta(days=1)
"""A grant counts as a day old from its first second: one job in its first hour says nothing of its pace."""
READER = Actor(name="pace", role="viewer")
"""Reads how the account as a whole stands, for an answer that tells no firm of another's use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast somebody uses budgets. Billing-seconds."""

    used: int
    """Charged and held."""
    expected: Fraction
    """What of the budgets would be used by now, were each used evenly."""
    granted: int

    @property
    def value(self) -> Fraction | None:
        """Used over expected; None: there is nothing to use."""
        return self.used / self.expected if self.expected else None

    @property
    def used_share(self) -> Fraction:
        """Of what was granted."""
        return Fraction(self.used, self.granted) if self.granted else Fraction(0)

    @property
    def elapsed_share(self) -> Fraction:
        """Of the time, each grant counting by its size."""
        return self.expected / self.granted if self.granted else Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One organisation inside the account."""

    holder: Holder
    pace: Pace
    relative: Fraction
    """Its pace over the account's, which counts as 1 where the account as a whole is behind."""

    @property
    def nice(self) -> int:
        """For ``sbatch --nice``."""
        return nice(self.relative)

    def sentence(self) -> str:
        """Why it is ahead or behind, in one line."""
        if self.pace.value is None:
            return f"{self.holder} has no budget that is valid now; it can neither be ahead nor behind"
        stands = "ahead" if self.pace.value > 1 else "on time" if self.pace.value == 1 else "behind"
        shares = f"{percent(self.pace.used_share)} is used or held after {percent(self.pace.elapsed_share)} of the time"
        effect = f"its jobs yield by nice {self.nice}" if self.nice else "its jobs yield to nobody's"
        return f"{self.holder} is {stands} (pace {float(self.pace.value):.2f}): {shares}; {effect}"


def percent(share: Fraction) -> str:
    """A share for a person."""
    return f"{float(share * 100):.0f} %"


def is_live(grant: GrantState, now: datetime) -> bool:
    """It is valid, not closed, and there is or was something on it."""
    return not grant.closed and grant.terms.valid_from <= now < grant.terms.valid_until and grant.balance.granted > 0


def elapsed(grant: GrantState, now: datetime) -> Fraction:
    """The share of its time that has passed, between 0 and 1; at least a day's."""
    length = grant.terms.valid_until - grant.terms.valid_from
    passed = max(now - grant.terms.valid_from, FIRST_DAY)
    return min(Fraction(passed // timedelta(seconds=1), max(length // timedelta(seconds=1), 1)), Fraction(1))


def pace_of(grants: Iterable[GrantState], now: datetime) -> Pace:
    """The pace of all grants together that are valid now."""
    live = [grant for grant in grants if is_live(grant, now)]
    return Pace(
        used=sum(grant.balance.charged + grant.balance.held for grant in live),
        expected=sum((grant.balance.granted * elapsed(grant, now) for grant in live), Fraction(0)),
        granted=sum(grant.balance.granted for grant in live),
    )


def standing(firm: Holder, grants: Sequence[GrantState], account: Pace, *, now: datetime) -> Standing:
    """One organisation beside the account as a whole."""
    pace = pace_of((grant for grant in grants if grant.holder.is_within(firm)), now)
    value = pace.value or Fraction(0)
    return Standing(holder=firm, pace=pace, relative=value / max(account.value or Fraction(0), Fraction(1)))


def nice(relative: Fraction) -> int:
    """How much the jobs of somebody yield; 0 for everybody who is not ahead."""
    return next((points for limit, points in NICE if relative <= limit), MOST_NICE)


def throttle(relative: Fraction, tasks: int) -> int | None:
    """How many members of an array may run at once; None: all of them."""
    divisor = next((number for limit, number in THROTTLE if relative <= limit), MOST_THROTTLE)
    return None if divisor == 1 else max(1, tasks // divisor)


def standing_of(ledger: Ledger, holder: Holder) -> Standing:
    """How the organisation of a holder stands now."""
    now = ledger.now()
    firm = access.organisation(holder)
    grants = ledger.grants(by=READER)
    return standing(firm, grants, pace_of(grants, now), now=now)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits in a local queue."""

    name: str
    cost: int
    """Billing-seconds of its worst case; more than 0."""


def release_order(
    queues: Mapping[str, Sequence[Waiting]], weights: Mapping[str, int], *, debts: Mapping[str, int] | None = None
) -> list[Waiting]:
    """In which order everything is let go, by deficit round robin.

    Of those that have something to let go each gets its share, by weight, whatever the size of its jobs; each queue
    keeps its own order; everything is let go in the end.
    Args: weights — of each queue, more than 0. debts — what somebody is ahead by, which it pays back first.
    Source: M. Shreedhar, G. Varghese, "Efficient fair queueing using deficit round robin", SIGCOMM 1995.
    """
    saved = {name: Fraction(-(debts or {}).get(name, 0)) for name in queues}
    waiting = {name: list(reversed(queue)) for name, queue in queues.items() if queue}
    quantum = quanta(waiting, weights)
    order: list[Waiting] = []
    while waiting:
        rounds = min(rounds_until(queue[-1].cost - saved[name], quantum[name]) for name, queue in waiting.items())
        for name in list(waiting):
            saved[name] += rounds * quantum[name]
            while waiting[name] and waiting[name][-1].cost <= saved[name]:
                saved[name] -= waiting[name][-1].cost
                order.append(waiting[name].pop())
            if not waiting[name]:  # who has nothing to let go, saves up nothing
                del waiting[name]
    return order


def waiting_order(ledger: Ledger, *, by: Actor) -> list[tuple[Holder, Waiting]]:
    """In which order what waits should start, were it ours to say: every hold in sight that nothing was charged to yet.

    A firm counts by what it was granted, and pays back first what it is ahead by.
    """
    now, grants = ledger.now(), ledger.grants(by=READER)
    queues: dict[str, list[Waiting]] = {}
    for hold in sorted(ledger.holds(by=by), key=lambda hold: (hold.opened, hold.key)):
        if not hold.charged and hold.held:
            firm = str(access.organisation(hold.holder))
            queues.setdefault(firm, []).append(Waiting(hold.key, hold.held))
    owners = {one.name: Holder.parse(firm) for firm, queue in queues.items() for one in queue}
    paces = {}
    for firm, queue in queues.items():
        found = pace_of((grant for grant in grants if grant.holder.is_within(Holder.parse(firm))), now)
        paces[firm] = replace(found, used=found.used - sum(one.cost for one in queue))  # what waits has used nothing
    order = release_order(
        queues,
        {firm: max(found.granted, 1) for firm, found in paces.items()},
        debts={firm: debt(found) for firm, found in paces.items()},
    )
    return [(owners[one.name], one) for one in order]


def debt(pace: Pace) -> int:
    """What somebody has used before its time; billing-seconds."""
    return max(0, int(pace.used - pace.expected))


def quanta(waiting: Mapping[str, Sequence[Waiting]], weights: Mapping[str, int]) -> dict[str, Fraction]:
    """What each queue is given a round: by its weight, and so much that the heaviest can always let something go."""
    largest = max((one.cost for queue in waiting.values() for one in queue), default=0)
    heaviest = max((weights[name] for name in waiting), default=1)
    return {name: Fraction(largest * weights[name], heaviest) for name in waiting}


def rounds_until(missing: Fraction, quantum: Fraction) -> int:
    """How many rounds it takes to save what is missing; those in which nobody lets go are passed over at once."""
    return max(1, -(-missing // quantum))
