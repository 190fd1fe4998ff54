"""How each holder's budget stands and where it is going: its grants, its daily use and the forecast, read at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from forgia.grant import Actor, Holder
from forgia.quota import daily
from forgia.quota.daily import Burn
from forgia.quota.forecast import WINDOW_DAYS, Forecast, Tranche, forecast
from forgia.quota.pace import Pace, pace_of
from forgia.quota.records import GrantState
from forgia.quota.slices import ZONE

if TYPE_CHECKING:
    from forgia.quota.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """One holder with grants of its own that are not over."""

    holder: Holder
    grants: tuple[GrantState, ...]
    """Not closed and not over; some may begin later."""
    daily: tuple[int, ...]
    """Used of these grants on each day until yesterday, since their first charge; billing-seconds."""
    forecast: Forecast
    pace: Pace

    @property
    def granted(self) -> int:
        """Billing-seconds."""
        return sum(grant.balance.granted for grant in self.grants)

    @property
    def charged(self) -> int:
        """Billing-seconds, less refunds."""
        return sum(grant.balance.charged for grant in self.grants)

    @property
    def held(self) -> int:
        """Billing-seconds."""
        return sum(grant.balance.held for grant in self.grants)


def outlooks(
    ledger: Ledger, *, by: Actor, holder: Holder | None = None, zone: str = ZONE, seed: int | None = None
) -> tuple[Outlook, ...]:
    """Every holder with grants that are not over, at or below this one (None: all in sight), in order."""
    now = ledger.now()
    grants = [grant for grant in ledger.grants(by=by, holder=holder) if is_open(grant, now)]
    today = local_date(now, zone)
    first = daily.midnight(today - timedelta(days=WINDOW_DAYS), zone)
    # whose job it was makes no difference here: a grant is used by those below its holder, and only by those
    found = daily.burns(ledger, by=by, since=first, until=daily.midnight(today, zone), holder=holder, zone=zone)
    holders = sorted({grant.holder for grant in grants})
    return tuple(
        outlook(one, [grant for grant in grants if grant.holder == one], found, now=now, zone=zone, seed=seed)
        for one in holders
    )


def outlook(
    holder: Holder,
    grants: Sequence[GrantState],
    found: Iterable[Burn],
    *,
    now: datetime,
    zone: str = ZONE,
    seed: int | None = None,
) -> Outlook:
    """One holder's, from its grants and everybody's use."""
    today = local_date(now, zone)
    numbers = {grant.id for grant in grants}
    mine = [burn for burn in found if burn.grant in numbers]
    used = daily.series(mine, first=min((burn.day for burn in mine), default=today), last=today - timedelta(days=1))
    tranches = [tranche(grant, zone) for grant in grants]
    given = {} if seed is None else {"seed": seed}
    return Outlook(
        holder=holder,
        grants=tuple(grants),
        daily=tuple(used),
        forecast=forecast(used, tranches, today=today, **given),
        pace=pace_of(grants, now),
    )


def is_open(grant: GrantState, now: datetime) -> bool:
    """It can still be used, now or later; the empty grants of unmanaged use never can."""
    return not grant.closed and grant.terms.valid_until > now and grant.balance.granted > 0


def tranche(grant: GrantState, zone: str = ZONE) -> Tranche:
    """A grant as the forecast sees it: whole days of the site."""
    begin, end = (local_date(moment, zone) for moment in (grant.terms.valid_from, grant.terms.valid_until))
    return Tranche(free=grant.free, begin=begin, end=end)


def local_date(moment: datetime, zone: str = ZONE) -> date:
    """The day that it is then at the site."""
    return moment.astimezone(ZoneInfo(zone)).date()
