"""``forgia quota report``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from forgia_cli.app import App, json_option
from forgia_cli.quota.asking import profile_option
from forgia_cli.quota.reporting import month_option, output_option

FORMATS = ("table", "csv", "parquet", "json", "html")


@click.command()
@month_option
@click.option("--holder", metavar="HOLDER", help="Of a holder and all below; default: all in sight.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Rows, or a page."
)
@output_option
@profile_option
@json_option
@click.pass_obj
def report(
    app: App,
    *,
    month: str | None,
    holder: str | None,
    form: str,
    output: Path | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Tell a month of the ledger: a row for each charged attempt, whose sums are those of its postings.

    A digest is written beside a file, so that who gets it can check it.

    \b
    forgia quota report --month 2026-11 --format parquet -o november.parquet
    forgia quota report --month 2026-11 --holder leonardo/acme --format html -o acme.html
    """
    from forgia.quota.export import WRITERS, write
    from forgia.quota.page import write_html
    from forgia.quota.tally import Tally
    from forgia_cli.quota import reporting
    from forgia_cli.quota.asking import the_office

    form = "json" if as_json else form
    office = the_office(app)
    span, of = reporting.the_month(office, month), reporting.place(office, holder)
    rows, tally = reporting.monthly_rows(app, office, span, holder=of, profile=profile), Tally(month=span.name)
    if form == "table":
        app.out(reporting.month_text(reporting.counted(rows, tally)))
        return
    grants = office.ledger.grants(by=office.at(of), holder=of)
    page = partial(write_html, span=span, grants=grants, title=f"Budgets of {of or 'all firms'}")
    writer = page if form == "html" else WRITERS[form]
    reporting.deliver(app, form, output, lambda path: write(path, rows, tally, writer))
