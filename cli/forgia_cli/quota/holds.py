"""``forgia quota holds``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.quota.asking import profile_option, unit_option


@click.command()
@click.argument("holder", required=False)
@click.option("--all", "every", is_flag=True, help="Closed ones too.")
@unit_option
@profile_option
@json_option
@click.pass_obj
def holds(app: App, *, holder: str | None, every: bool, unit: str | None, profile: str | None, as_json: bool) -> None:
    """List what is reserved for jobs that wait or run: HOLDER with all below, default all in sight.

    \b
    forgia quota holds leonardo/acme
    """
    from forgia_cli.quota.asking import known_holder, the_office
    from forgia_cli.quota.rendering import Views, day, plain

    office, views = the_office(app), Views(app, unit=unit, profile=profile)
    place = known_holder(office, holder) if holder else None
    found = office.ledger.holds(by=office.at(place), holder=place, open_only=not every)
    if as_json:
        told = [{**plain(one), "held": one.held, "charged": one.charged} for one in found]
        app.show_json({"holds": told, "unit": "billing-s"})
        return
    rows = [
        (h.key, str(h.holder), view.number(h.held), view.number(h.charged), view.label, h.gpus, day(h.opened))
        for h in found
        for view in [views.of(h.holder.path[0])]
    ]
    if rows:
        app.table(("hold", "holder", "held", "used", "unit", "GPUs", "since"), rows)
    else:
        app.say("nothing is reserved")
