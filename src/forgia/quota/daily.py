"""What was used on which day and in which month, summed by the database: of a hundred thousand jobs come few rows.

A charge, and what is refunded of it, counts on the day on which its job ended, by the clock of the site. Adjustments
are no use of any day's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from forgia.grant import Actor, Holder, Kind
from forgia.quota import access, slices
from forgia.quota.book import within
from forgia.quota.moments import moment, spelled
from forgia.quota.records import GrantState
from forgia.quota.schema import LINE, POSTING
from forgia.quota.slices import ZONE

if TYPE_CHECKING:
    from forgia.quota.ledger import Ledger

Key = TypeVar("Key", bound=Hashable)

HOUR = 13
"""Characters of a moment that name its hour; a site's midnight is a full hour of UTC, in Europe."""
USED = (Kind.CHARGE, Kind.REFUND)
LONGEST = timedelta(days=62)
"""No job runs longer; those of Leonardo run for four days at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """What the jobs of one holder that ended on one day cost one grant, less refunds."""

    day: date
    grant: int
    holder: str
    amount: int
    """Billing-seconds."""


def burns(
    ledger: Ledger, *, by: Actor, since: datetime, until: datetime, holder: Holder | None = None, zone: str = ZONE
) -> list[Burn]:
    """What was used from the one moment to the other, by day, grant and holder.

    Args: holder — what it and those below used, whoever's grant bears it; None: all that the actor may see.
    """
    hour = sa.func.substr(POSTING.c.at, 1, HOUR).label("hour")
    query = (
        sa.select(hour, LINE.c.account, POSTING.c.holder, sa.func.sum(LINE.c.amount))
        .join_from(POSTING, LINE, POSTING.c.seq == LINE.c.seq)
        .where(*spent_between(since, until), *seen(by, holder))
        .group_by(hour, LINE.c.account, POSTING.c.holder)
    )
    with ledger.database.reading() as connection:
        found = connection.execute(query).all()
    day = days_of(zone)
    return [
        Burn(day=day(text), grant=grant_of(name), holder=user, amount=int(amount)) for text, name, user, amount in found
    ]


def spent_between(since: datetime, until: datetime) -> Iterator[sa.ColumnElement[bool]]:
    """Lines of charges and refunds of that time, the end not included."""
    yield POSTING.c.kind.in_([str(kind) for kind in USED])
    yield POSTING.c.at >= spelled(since)
    yield POSTING.c.at < spelled(until)
    yield LINE.c.account.like("grant:%:spent")


def seen(by: Actor, holder: Holder | None) -> Iterator[sa.ColumnElement[bool]]:
    """Postings of a holder and of all below; None: all that the actor may see. Raises: Refused — not this one."""
    place = holder or access.scope(by)
    access.check_sight(by, place)
    if place is not None:
        yield within(POSTING.c.holder, place)


def grant_of(name: str) -> int:
    """The grant of an account's name."""
    return int(name.split(":")[1])


def days_of(zone: str) -> Callable[[str], date]:
    """From the text of an hour to the day that it belongs to by a site's clock."""
    site = ZoneInfo(zone)

    @cache
    def day(hour: str) -> date:
        return datetime.fromisoformat(f"{hour}:00:00+00:00").astimezone(site).date()

    return day


def midnight(day: date, zone: str = ZONE) -> datetime:
    """When a day begins at the site, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def series(found: Iterable[Burn], *, first: date, last: date) -> list[int]:
    """The sum of each day from the first to the last, both included; a day without use is 0."""
    amounts = totals(found, lambda burn: burn.day)
    days = (last - first).days + 1
    return [amounts.get(first + timedelta(days=place), 0) for place in range(max(days, 0))]


def totals(found: Iterable[Burn], key: Callable[[Burn], Key]) -> dict[Key, int]:
    """The sum of each key's."""
    amounts: dict[Key, int] = {}
    for burn in found:
        amounts[key(burn)] = amounts.get(key(burn), 0) + burn.amount
    return amounts


def used_by_month(
    ledger: Ledger, grants: Iterable[GrantState], *, now: datetime, zone: str = ZONE
) -> dict[int, dict[str, int]]:
    """Grant → calendar month → what was used of it in that month, jobs over the end of a month cut at midnight.

    Only what a grant's strategy looks at: this month, or for one that carries over all months until now.
    """
    wanted = {grant.id: months_of(grant, now, zone) for grant in grants}
    spans = sorted({month for months in wanted.values() for month in months}, key=lambda month: month.begin)
    with ledger.database.reading() as connection:
        ended = {span: ended_between(connection, span.begin, span.end) for span in spans}
        cut = {edge: used_across(connection, edge) for span in spans for edge in (span.begin, span.end)}
    return {
        grant: {
            span.name: ended[span].get(grant, 0) + cut[span.end].get(grant, 0) - cut[span.begin].get(grant, 0)
            for span in months
        }
        for grant, months in wanted.items()
    }


def months_of(grant: GrantState, now: datetime, zone: str = ZONE) -> list[slices.Month]:
    """Whole months that a grant's strategy looks at, the last being this one."""
    begun = slices.months(grant.terms.valid_from, now, zone)
    wanted = begun if slices.policy(grant.terms.strategy).carry_forward else begun[-1:]
    return [whole_month(month.name, zone) for month in wanted]


def whole_month(name: str, zone: str = ZONE) -> slices.Month:
    """A calendar month of a site, from its first midnight to the next month's."""
    year, month = map(int, name.split("-"))
    begin, end = date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)
    return slices.Month(name=name, begin=midnight(begin, zone), end=midnight(end, zone))


def ended_between(connection: sa.Connection, begin: datetime, end: datetime) -> dict[int, int]:
    """Grant → what the jobs that ended in that time cost it."""
    query = sa.select(LINE.c.account, sa.func.sum(LINE.c.amount)).join_from(POSTING, LINE, POSTING.c.seq == LINE.c.seq)
    found = connection.execute(query.where(*spent_between(begin, end)).group_by(LINE.c.account))
    return {grant_of(name): int(amount) for name, amount in found}


def used_across(connection: sa.Connection, edge: datetime) -> dict[int, int]:
    """Grant → what the jobs that ran at that moment had used of it before."""
    start = usage_text(connection, "start")
    query = sa.select(LINE.c.account, start, POSTING.c.at, LINE.c.amount)
    query = query.join_from(POSTING, LINE, POSTING.c.seq == LINE.c.seq)
    found: dict[int, int] = {}
    for name, first, last, amount in connection.execute(
        query.where(*spent_between(edge, edge + LONGEST), start < spelled(edge))
    ):
        part = slices.before_and_after(moment(first), moment(last), amount, edge)[0]
        found[grant_of(name)] = found.get(grant_of(name), 0) + part
    return found


def usage_text(connection: sa.Connection, name: str) -> sa.ColumnElement[Any]:
    """A text of the usage that a charge is for, as the database reads it out of the posting."""
    is_sqlite = connection.dialect.name == "sqlite"
    facts: Any = sa.type_coerce(POSTING.c.facts, sa.JSON) if is_sqlite else sa.cast(POSTING.c.facts, sa.JSON)
    text: sa.ColumnElement[Any] = facts[("usage", name)].as_string()
    return text
