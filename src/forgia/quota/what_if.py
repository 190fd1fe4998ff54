"""What a planned run would do to a budget: at worst, and as runs of the same recipe did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from forgia.grant import Actor, Holder, HoldRequest
from forgia.quota import daily
from forgia.quota.access import organisation, reaches
from forgia.quota.daily import USED
from forgia.quota.forecast import Forecast, forecast
from forgia.quota.outlook import Outlook, local_date, outlooks, tranche
from forgia.quota.records import Answer
from forgia.quota.reservation import hold_request
from forgia.quota.schema import HOLD, LINE, POSTING
from forgia.quota.slices import ZONE

if TYPE_CHECKING:
    from forgia.fit import Tariff
    from forgia.quota.ledger import Ledger

TRIAL = "what-if"
"""The key of a hold that is never made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """One more run beside the budget. Amounts are billing-seconds."""

    request: HoldRequest
    answer: Answer
    """What the ledger would say to the hold."""
    past: tuple[int, ...]
    """What runs of this recipe cost the organisation, in the order of their size."""
    before: Forecast | None
    """None: no grant of the holder's lineage is open."""
    after_worst: Forecast | None
    after_typical: Forecast | None

    @property
    def typical(self) -> int | None:
        """The middle of the past; None: there is none."""
        return median_low(self.past) if self.past else None

    @property
    def worst(self) -> int:
        """What would be held."""
        return self.request.amount

    @property
    def runs_that_fit(self) -> int | None:
        """One after the other, each held at its worst and charged as usual; None: it costs nothing."""
        return fitting(self.answer.free, worst=self.worst, typical=self.typical or self.worst)


def fitting(free: int, *, worst: int, typical: int) -> int | None:
    """How many runs fit one after the other, if each must be held before it starts; None: they cost nothing."""
    if not worst or not typical:
        return None
    return 0 if free < worst else (free - worst) // typical + 1


def trial(tariff: Tariff, holder: Holder) -> HoldRequest:
    """The worst case of a plan, that is never held. Raises: UserError — the profile does not say how its site bills."""
    return hold_request(tariff.to_json(), holder, key=TRIAL, run_id=TRIAL)


def what_if(ledger: Ledger, request: HoldRequest, *, recipe: str, by: Actor, zone: str = ZONE) -> WhatIf:
    """What one more run would do; nothing is written."""
    answer = ledger.preview(request, by=by)
    past = past_costs(ledger, recipe, by=by, holder=organisation(request.holder))
    pot = the_pot(ledger, answer, by=by)
    worst = pot and less(pot, request.amount, ledger, zone)
    typical = pot and past and less(pot, median_low(past), ledger, zone)
    return WhatIf(
        request=request,
        answer=answer,
        past=past,
        before=pot.forecast if pot else None,
        after_worst=worst or None,
        after_typical=typical or None,
    )


def the_pot(ledger: Ledger, answer: Answer, *, by: Actor) -> Outlook | None:
    """The grants that would bear it: of whoever has the first one that may be used, else the first at all."""
    visible = (offer for offer in answer.offers if reaches(by, offer.grant.holder, whole_organisation=True))
    for offer in sorted(visible, key=lambda offer: bool(offer.why_not)):
        for one in outlooks(ledger, by=by, holder=offer.grant.holder):
            if one.holder == offer.grant.holder:
                return one
    return None


def less(pot: Outlook, amount: int, ledger: Ledger, zone: str = ZONE) -> Forecast:
    """The forecast of grants that have so much less, taken in the order of their ends."""
    tranches = []
    for grant in sorted(pot.grants, key=lambda one: one.terms.valid_until):
        some = min(amount, max(grant.free, 0))
        amount -= some
        tranches.append(replace(tranche(grant, zone), free=grant.free - some))
    return forecast(pot.daily, tranches, today=local_date(ledger.now(), zone))


def past_costs(ledger: Ledger, recipe: str, *, by: Actor, holder: Holder) -> tuple[int, ...]:
    """What each charged run of a recipe, of any version, cost those below a holder; the smallest first."""
    with ledger.database.reading() as connection:
        told = hold_text(connection, "recipe")
        query = (
            sa.select(sa.func.sum(LINE.c.amount))
            .select_from(POSTING.join(LINE, LINE.c.seq == POSTING.c.seq).join(HOLD, HOLD.c.key == POSTING.c.hold_key))
            .where(POSTING.c.kind.in_([str(kind) for kind in USED]), LINE.c.account.like("grant:%:spent"))
            .where(told.startswith(f"{recipe}@", autoescape=True), *daily.seen(by, holder))
            .group_by(POSTING.c.run_id)
        )
        costs: Sequence[Any] = connection.execute(query).scalars().all()
    return tuple(sorted(int(cost) for cost in costs if cost))


def hold_text(connection: sa.Connection, name: str) -> sa.ColumnElement[str]:
    """A text of a hold's facts, as the database reads it."""
    is_sqlite = connection.dialect.name == "sqlite"
    facts: Any = sa.type_coerce(HOLD.c.facts, sa.JSON) if is_sqlite else sa.cast(HOLD.c.facts, sa.JSON)
    text: sa.ColumnElement[str] = facts[name].as_string()
    return text
