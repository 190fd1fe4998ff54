"""``forgia quota what-if``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.wish import Wish, wish_options


@click.command()
@wish_options
@json_option
@click.pass_obj
def what_if(app: App, *, wish: Wish, as_json: bool) -> None:
    """Tell what one run of a recipe would do to your budget: at worst, and as such runs did before. Nothing is held.

    \b
    forgia quota what-if mill-failures --profile leonardo-booster --set train.epochs=50
    """
    from forgia.fit import tariff_of
    from forgia.quota import what_if as planning
    from forgia.quota.office import holder_of
    from forgia_cli.planning import planned
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views
    from forgia_cli.quota.supposing import to_json, to_text

    office, plan = the_office(app), planned(app, wish)
    tariff = plan.tariff or tariff_of(plan.request["resources"], app.client.open_profile(wish.profile))
    holder = holder_of(app.settings, tariff.site)
    request = planning.trial(tariff, holder)
    recipe = plan.request["recipe"]["name"]
    found = planning.what_if(office.ledger, request, recipe=recipe, by=office.at(holder))
    if as_json:
        app.show_json(to_json(found))
    else:
        app.out(to_text(found, Views(app, profile=wish.profile).of(holder.path[0]), recipe=recipe))
