"""What the commands that tell of a month share: the month, whose it is, prices, and where the bytes go."""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from forgia.errors import UserError
from forgia_cli.app import App, aligned
from forgia_cli.quota.asking import card, known_holder
from forgia_cli.quota.rendering import Views

if TYPE_CHECKING:
    from forgia.grant import Holder
    from forgia.quota.forecast import Forecast
    from forgia.quota.office import Office
    from forgia.quota.outlook import Outlook
    from forgia.quota.rates import RateCard
    from forgia.quota.report import Row, Sources
    from forgia.quota.slices import Month
    from forgia.quota.tally import Tally

month_option = click.option("--month", metavar="YYYY-MM", help="By the site's clock; default: this month.")
output_option = click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file to write.")


def the_month(office: Office, text: str | None) -> Month:
    """The month that was written, or that it is now."""
    from forgia.quota.report import parse_month
    from forgia.quota.slices import month_name

    return parse_month(text or month_name(office.ledger.now()))


def sources(app: App, profile: str | None) -> Sources:
    """Prices by site, and the models that runs became."""
    from forgia.quota.report import Sources, registered_versions

    @functools.cache
    def price(site: str) -> RateCard:
        return card(app, site, profile)

    return Sources(card=price, versions=registered_versions(app.home))


def place(office: Office, text: str | None) -> Holder | None:
    """The holder that was written; None: all in sight."""
    return known_holder(office, text) if text else None


def holders(office: Office) -> set[Holder]:
    """Everybody in sight who has a grant or used something."""
    users = {one.holder for actor in office.actors() for one in office.ledger.use(by=actor)}
    return users | {grant.holder for grant in office.grants()}


def organisations(office: Office) -> list[Holder]:
    """Organisations in sight with a grant that is valid now; a site with grants of its own counts as one."""
    from forgia.quota.access import organisation
    from forgia.quota.pace import is_live

    now = office.ledger.now()
    return sorted({organisation(grant.holder) for grant in office.grants() if is_live(grant, now)})


def monthly_rows(app: App, office: Office, span: Month, *, holder: Holder | None, profile: str | None) -> Iterable[Row]:
    """The rows of a month."""
    from forgia.quota.report import rows

    return rows(office.ledger, span, by=office.at(holder), sources=sources(app, profile), holder=holder)


def counted(rows: Iterable[Row], tally: Tally) -> Tally:
    """The tally of all rows, of which none is kept."""
    for _ in tally.passing(rows):
        pass
    return tally


def deliver(app: App, form: str, output: Path | None, write: Callable[[Path], str]) -> None:
    """Have a file written, or its bytes printed; its digest is told.

    Raises: UserError — the folder is not there, or nobody could read it on a terminal.
    """
    if output:
        if not output.parent.is_dir():
            raise UserError(f"{output}: no such folder", hint=f"mkdir -p {output.parent}")
        app.say(f"{output}: {write(output)}")
        return
    if form == "parquet":
        raise UserError("Parquet is for files", hint="name one with -o")
    with tempfile.TemporaryDirectory(prefix="forgia-") as folder:
        found = write(path := Path(folder) / "report")
        with path.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)
    app.say(f"rows: {found}")


SUMS = ("organisation", "attempts", "GPU-h", "charged", "refunded", "adjusted", "total", "€")
ATTEMPTS = ("end (UTC)", "organisation", "job", "recipe", "state", "GPU-h", "total")


def month_text(tally: Tally) -> str:
    """Sums by organisation, and the dearest attempts."""
    from forgia.quota.invoice import cells
    from forgia.quota.page import hours

    sums = [(name, *cells(one)) for name, one in sorted(tally.by_organisation.items(), key=lambda pair: -pair[1].net_s)]
    rows = [
        (row.end, row.organisation, row.job, row.recipe or None, row.state, hours(row.gpu_s), hours(row.net_s))
        for row in tally.largest
    ]
    head = f"{tally.month}, amounts in {tally.unit or 'hours of billing'}"
    tables = [aligned(SUMS, [*sums, ("total", *cells(tally.total))])]
    tables += [f"the dearest attempts:\n{aligned(ATTEMPTS, rows)}"] if rows else []
    return "\n\n".join([head, *tables])


FORECAST = ("holder", "free", "held", "a day", "unit", "10 %", "50 %", "90 %", "ends", "days left", "to land")


def forecast_row(one: Outlook, views: Views) -> tuple[Any, ...]:
    """A holder's forecast in one line."""
    view, found = views.of(one.holder.path[0]), one.forecast
    dates = [None if found.remark else UNTIL_END if when is None else str(when) for when in found.exhausted.values()]
    amounts = (view.number(amount) for amount in (found.free, one.held, found.level))
    left, to_land = found.days_left, view.number(found.recommended)
    return (str(one.holder), *amounts, view.label, *dates, str(found.end), left, to_land)


UNTIL_END = "not used up"


def forecast_json(found: Forecast) -> dict[str, Any]:
    """A forecast for a program; amounts in billing-seconds."""
    return {
        "days_known": found.days_known,
        "a_day": found.level,
        "free": found.free,
        "end": found.end,
        "days_left": found.days_left,
        "used_up": {f"{chance}%": when for chance, when in found.exhausted.items()},
        "recommended_a_day": found.recommended,
        "remark": found.remark,
    }
