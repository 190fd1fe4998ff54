"""``forgia quota entries``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.quota.asking import unit_option

KINDS = (
    "grant",
    "subgrant",
    "hold",
    "release",
    "charge",
    "refund",
    "adjust",
    "expire",
    "transfer",
    "rule",
    "quarantine",
)


@click.command()
@click.option("--holder", metavar="HOLDER", help="Only of this holder and all below.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only of this kind; may be repeated.")
@click.option("--since", metavar="DATE", help="From this day on; default: 30 days ago.")
@click.option("--run", "run_id", default="", metavar="RUN", help="Only of this run.")
@click.option("--after", type=click.IntRange(0), default=0, metavar="N", help="Only postings with a higher number.")
@click.option("--before", type=click.IntRange(1), metavar="N", help="Only postings with a lower number.")
@click.option("--newest", is_flag=True, help="The newest first.")
@click.option("-n", "--limit", type=click.IntRange(1), default=100, show_default=True, help="So many.")
@unit_option
@json_option
@click.pass_obj
def entries(
    app: App,
    *,
    holder: str | None,
    kinds: tuple[str, ...],
    since: str | None,
    run_id: str,
    after: int,
    before: int | None,
    newest: bool,
    limit: int,
    unit: str | None,
    as_json: bool,
) -> None:
    """The audit trail: every posting with who made it, as what, when, why, and what it moved. Nothing is ever edited.

    \b
    forgia quota entries --holder leonardo/acme --since 2026-11-01
    forgia quota entries --newest -n 20
    """
    from forgia.grant import Kind
    from forgia_cli.quota.asking import a_while_ago, known_holder, moment, the_office
    from forgia_cli.quota.rendering import Views
    from forgia_cli.quota.trail import entry_json, entry_row

    office = the_office(app)
    place = known_holder(office, holder) if holder else None
    begin = moment(since) if since else None if after or before or run_id or newest else a_while_ago(office)
    found = list(
        office.ledger.entries(
            by=office.at(place),
            holder=place,
            kinds=[Kind(kind) for kind in kinds],
            since=begin,
            run_id=run_id,
            after=after,
            before=before,
            newest_first=newest,
            limit=limit + 1,
        )
    )
    shown = found[:limit]
    if as_json:
        app.show_json({"entries": [entry_json(one) for one in shown], "more": len(found) > limit})
    elif shown:
        grants, views = office.grants(), Views(app, unit=unit)
        headers = ("posting", "time (UTC)", "kind", "who", "holder", "moved", "reason")
        app.table(headers, [entry_row(one, grants, views) for one in shown])
        if len(found) > limit:
            app.say(f"there are more; go on with {'--newest --before' if newest else '--after'} {shown[-1].seq}")
    else:
        app.say("nothing was posted" + (f" since {begin:%Y-%m-%d}" if begin else ""))
