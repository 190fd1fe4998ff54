"""How budgets are shown to a person: amounts in one unit, balances before and after, lines of firms and grants."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from forgia_cli.app import App, aligned

if TYPE_CHECKING:
    from forgia.quota.office import Made, Office
    from forgia.quota.overview import Line
    from forgia.quota.rates import RateCard
    from forgia.quota.records import Entry, GrantState, Request

SMALL = 0.1
"""Below, an amount is shown with two digits that say something: a charge must not look like none."""
FINEST = 6
"""Decimals at most: a billing-second of the dearest node is more than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Amounts of one site in one unit."""

    card: RateCard
    unit: str

    @property
    def label(self) -> str:
        """The unit's name."""
        return self.card.label(self.unit)

    def value(self, billing_s: int) -> float:
        """For a program."""
        return self.card.amount(billing_s, self.unit)

    def number(self, billing_s: int) -> str:
        """For a person, without the unit."""
        if self.unit == "billing-s":
            return f"{billing_s:,}"
        value = self.value(billing_s)
        digits = 1 if not value or abs(value) >= SMALL else min(FINEST, 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"

    def text(self, billing_s: int) -> str:
        """With the unit."""
        return f"{self.number(billing_s)} {self.label}"


class Views:
    """A view a site, made when it is first asked for."""

    def __init__(self, app: App, *, unit: str | None = None, profile: str | None = None) -> None:
        self.app, self.unit, self.profile = app, unit, profile
        self._made: dict[str, View] = {}

    def of(self, site: str) -> View:
        """The view of a site's budgets. Raises: UserError — nobody knows what the unit costs there."""
        from forgia_cli.quota.asking import card

        if site not in self._made:
            found = card(self.app, site, self.profile)
            view = View(card=found, unit=self.unit or found.units[0])
            view.value(0)
            self._made[site] = view
        return self._made[site]


@contextmanager
def counted_in(view: View) -> Iterator[None]:
    """Say a refusal for lack of budget in the unit that the person counts in as well."""
    from forgia.grant import QuotaExceeded

    try:
        yield
    except QuotaExceeded as error:
        short = view.text(error.wanted - error.free)
        text = f"in {view.label}: {view.number(error.wanted)} − {view.number(error.free)} = {short} short"
        message = f"{error.message}\n  {text}"
        raise QuotaExceeded(message, hint=error.hint, wanted=error.wanted, free=error.free) from error


def tell(app: App, office: Office, made: Made, *, did: str) -> None:
    """Say what was done, with balances before and after; or that it was asked for, and how it is approved."""
    if made.request:
        app.out(f"request {made.request}: {did}")
        app.say("nothing is changed yet: this ledger wants a second person for it, who approves it with")
        app.say(f"  forgia quota approve {made.request} --reason TEXT")
        return
    entry = next(iter(office.ledger.entries(by=made.by, after=made.posting - 1, limit=1)))
    moves = movements(entry, office.grants(), Views(app))
    app.out(": ".join([f"posting {made.posting}", did, *(["; ".join(moves)] if moves else [])]))


def movements(entry: Entry, grants: Sequence[GrantState], views: Views) -> list[str]:
    """What a posting moved on each grant, before → after."""
    states = {grant.id: grant for grant in grants}
    moved = [
        (number, pot, amount) for pot in ("free", "held", "spent") for number, amount in entry.by_grant(pot).items()
    ]
    lines = []
    for number, pot, amount in sorted(moved):
        if grant := states.get(number):
            view, after = views.of(grant.holder.path[0]), getattr(grant, pot)
            word = {"free": "left", "spent": "used"}.get(pot, pot)
            change = f"{view.number(after - amount)} → {view.text(after)}"
            lines.append(f"grant {number} of {grant.holder}: {word} {change}")
    return lines


def day(moment: datetime | None) -> str | None:
    """A date of the site's clock; with the time where it is not midnight."""
    from forgia.quota.slices import ZONE

    if moment is None:
        return None
    local = moment.astimezone(ZoneInfo(ZONE))
    return f"{local:%Y-%m-%d}" if (local.hour, local.minute) == (0, 0) else f"{local:%Y-%m-%d %H:%M}"


HEADERS = ("holder", "granted", "used", "held", "left", "unit", "pace", "days left", "ends", "state")


def line_row(line: Line, view: View) -> tuple[Any, ...]:
    """A holder in one line."""
    balance = line.balance
    amounts = (view.number(amount) for amount in (balance.granted, balance.charged, balance.held, balance.free))
    pace = None if line.pace is None else f"{float(line.pace):.2f}"
    return (str(line.holder), *amounts, view.label, pace, line.days_left, day(line.until), line.state)


def line_json(line: Line, view: View) -> dict[str, Any]:
    """The same for a program."""
    balance = line.balance
    amounts = {"granted": balance.granted, "used": balance.charged, "held": balance.held, "left": balance.free}
    return {
        "holder": str(line.holder),
        "unit": view.label,
        **{name: view.value(amount) for name, amount in amounts.items()},
        "billing_s": amounts,
        "used_eur": view.card.euro(balance.charged),
        "pace": None if line.pace is None else float(line.pace),
        "days_left": line.days_left,
        "ends": plain(line.until),
        "state": line.state,
        "grants": [grant_json(grant, view) for grant in line.grants],
    }


def grant_state(grant: GrantState) -> str:
    """The word for how a grant stands."""
    return "closed" if grant.closed else "frozen" if grant.frozen else "open"


def grant_json(grant: GrantState, view: View) -> dict[str, Any]:
    """A grant for a program."""
    terms = grant.terms
    amounts = {"granted": grant.balance.granted, "used": grant.spent, "held": grant.held, "left": grant.free}
    return {
        "id": grant.id,
        "holder": str(grant.holder),
        "parent": grant.parent,
        "title": terms.title,
        "from": plain(terms.valid_from),
        "until": plain(terms.valid_until),
        "resource": terms.resource,
        "priority": terms.priority,
        "strategy": terms.strategy,
        "state": grant_state(grant),
        **{name: view.value(amount) for name, amount in amounts.items()},
        "billing_s": {**amounts, "expired": grant.expired, "overdraft": terms.overdraft},
    }


def grants_text(grants: Sequence[GrantState], view: View) -> str:
    """A table of grants."""
    headers = ("grant", "holder", "title", f"left ({view.label})", "of", "from", "until", "for", "part of", "state")
    rows = [
        (
            grant.id,
            str(grant.holder),
            grant.terms.title or None,
            view.number(grant.free),
            view.number(grant.balance.granted),
            day(grant.terms.valid_from),
            day(grant.terms.valid_until),
            grant.terms.resource,
            grant.parent,
            grant_state(grant),
        )
        for grant in grants
    ]
    return aligned(headers, rows)


grant_argument = click.argument("grant", type=click.IntRange(1), metavar="GRANT")


def request_words(request: Request, grants: Sequence[GrantState], views: Views) -> str:
    """What was asked for, in one line: the verb, and its arguments that say something, amounts in the site's unit."""
    given = request.arguments
    sites = {grant.id: grant.holder.path[0] for grant in grants}
    number = given.get("grant") or given.get("parent") or given.get("source")
    site = str(given.get("holder") or "").partition("/")[0] or sites.get(number or 0)
    told = []
    for name, value in sorted(given.items()):
        if name in ("amount", "overdraft") and value and site:
            told.append(f"{name}={views.of(site).text(value)}")
        elif name in TIMES and value:
            told.append(f"{TIMES[name]}={day(datetime.fromisoformat(value))}")
        elif name != "digest" and value not in ("", None, 0, False):
            told.append(f"{name}={value}")
    return " ".join([request.verb.replace("_", " "), *told])


TIMES = {"valid_from": "from", "valid_until": "until", "until": "until"}
"""Arguments that are moments, and how commands call them."""


def plain(value: Any) -> Any:
    """Anything of the library as JSON: moments in ISO 8601, holders as their path."""
    from forgia.grant import Holder

    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Holder):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
