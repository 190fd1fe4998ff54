"""``forgia quota forecast``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.quota.asking import profile_option, unit_option


@click.command()
@click.argument("holder", required=False)
@unit_option
@profile_option
@json_option
@click.pass_obj
def forecast(app: App, *, holder: str | None, unit: str | None, profile: str | None, as_json: bool) -> None:
    """Tell when budgets will be used up: the dates by which they are in 10, 50 and 90 % of the futures.

    From the days of the last three months, the latest counting most; what is held counts as used. TO LAND: what to use
    a day to have used everything at the end.

    \b
    forgia quota forecast leonardo/acme
    """
    from forgia.quota.outlook import outlooks
    from forgia_cli.quota import reporting
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views

    office, views = the_office(app), Views(app, unit=unit, profile=profile)
    of = reporting.place(office, holder)
    found = outlooks(office.ledger, by=office.at(of), holder=of)
    if as_json:
        told = [{"holder": str(one.holder), "held": one.held, **reporting.forecast_json(one.forecast)} for one in found]
        app.show_json({"unit": "billing-s", "forecasts": told})
        return
    if not found:
        app.say("no open budget is in sight, so there is nothing to foretell")
        return
    app.table(reporting.FORECAST, [reporting.forecast_row(one, views) for one in found])
    for one in found:
        if one.forecast.remark:
            app.say(f"{one.holder}: {one.forecast.remark}")
