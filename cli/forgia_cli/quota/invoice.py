"""``forgia quota invoice``."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App, aligned, json_option
from forgia_cli.quota.asking import profile_option
from forgia_cli.quota.reporting import month_option


@click.command()
@month_option
@click.option("--organisation", required=True, metavar="NAME", help="The firm, as site/name or by its name alone.")
@click.option("--html", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write it as a page.")
@profile_option
@json_option
@click.pass_obj
def invoice(
    app: App, *, month: str | None, organisation: str, output: Path | None, profile: str | None, as_json: bool
) -> None:
    """Tell what one organisation used in a month, by project and recipe; in euro where a price is known.

    \b
    forgia quota invoice --month 2026-11 --organisation acme --html acme.html
    """
    from forgia.quota import invoice as invoices
    from forgia.quota.outlets import publish
    from forgia.quota.page import SUM_HEADERS, hours
    from forgia.quota.tally import Tally
    from forgia_cli.quota import reporting
    from forgia_cli.quota.asking import card as card_of
    from forgia_cli.quota.asking import the_office

    office = the_office(app)
    span = reporting.the_month(office, month)
    firm = invoices.organisation_of(organisation, reporting.holders(office))
    rows = reporting.monthly_rows(app, office, span, holder=firm, profile=profile)
    tally, card = reporting.counted(rows, Tally(month=span.name)), card_of(app, firm.path[0], profile)
    if output:
        publish(output, invoices.html(tally, firm, card))
        app.say(f"{output}: {hours(tally.total.net_s)} {card.unit}")
    elif as_json:
        app.show_json(invoices.to_json(tally, firm, card))
    else:
        app.out(f"{firm}, {span.name}\n{invoices.prices(card)}\n")
        app.out(aligned(("project", "recipe", *SUM_HEADERS), list(invoices.rows(tally))))
