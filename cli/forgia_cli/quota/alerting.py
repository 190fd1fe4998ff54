"""What ``quota alerts`` looks at, and where it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forgia.errors import NotFound, UserError
from forgia_cli.app import App
from forgia_cli.quota.asking import the_office

if TYPE_CHECKING:
    from forgia.quota.alerts import Alert
    from forgia.quota.office import Office
    from forgia.quota.reconcile import Drift

MONTHLY = ("cineca", "jsc")
"""Strategies that cut a grant into months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A look at the ledger."""

    office: Office
    alerts: Sequence[Alert]


def look(app: App, *, counted: Path | None, counted_by: str) -> Watch:
    """Everything that stands now."""
    from forgia.quota.alerts import Facts, alerts
    from forgia.quota.daily import used_by_month
    from forgia.quota.pace import is_live

    office = the_office(app)
    ledger, by, now = office.ledger, office.actor, office.ledger.now()
    grants = ledger.grants(by=by)
    monthly = [grant for grant in grants if grant.terms.strategy in MONTHLY and is_live(grant, now)]
    facts = Facts(
        grants=grants,
        now=now,
        used=used_by_month(ledger, monthly, now=now),
        quarantined=ledger.quarantined(by=by) if by.holder is None else (),
        drifts=drifts(office, counted, counted_by) if counted else (),
    )
    return Watch(office=office, alerts=alerts(facts))


def drifts(office: Office, path: Path, command: str) -> Sequence[Drift]:
    """The ledger beside what the site counts. Raises: NotFound, UserError — an unknown command, an unreadable file."""
    from forgia.quota import reconcile

    if command not in reconcile.PARSERS:
        raise NotFound("command", command, known=reconcile.PARSERS)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    return reconcile.compare(
        reconcile.PARSERS[command](text), reconcile.charged_by_account(office.ledger, by=office.actor)
    )


def new(app: App, watch: Watch) -> tuple[Sequence[Alert], int]:
    """What was not told before, and how many of these wait for tomorrow."""
    from forgia.quota.alerts import tell
    from forgia.quota.office import place_of
    from forgia.quota.outlook import local_date

    today = local_date(watch.office.ledger.now())
    digest = tell(watch.alerts, app.home.told_alerts, ledger=str(place_of(app.settings)), today=today)
    return digest.told, digest.waiting


def publish(watch: Watch, *, prometheus: Path | None, ood: Path | None) -> None:
    """Write the files that were asked for."""
    if not (prometheus or ood):
        return
    from forgia.quota import outlets
    from forgia.quota.outlook import outlooks

    ledger, by = watch.office.ledger, watch.office.actor
    found, now = outlooks(ledger, by=by), ledger.now()
    if prometheus:
        outlets.publish(prometheus, outlets.prometheus(found, watch.alerts, now=now))
    if ood:
        outlets.publish_json(ood, outlets.ood(found, ledger.members(by=by), now=now))


def summary(told: int, standing: int, waiting: int) -> str:
    """How much was told, and what was not."""
    rest = standing - told - waiting
    parts = [f"{told} new" if told else "nothing new"]
    parts += [f"{rest} known before (--all tells them)"] if rest else []
    parts += [f"{waiting} wait for tomorrow's digest"] if waiting else []
    return "; ".join(parts)
