"""``forgia quota roles``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@json_option
@click.pass_obj
def roles(app: App, *, as_json: bool) -> None:
    """List who has which role where, tokens by their labels; outside staff, of your own organisation.

    \b
    forgia quota roles
    """
    from forgia_cli.quota.asking import the_office

    office = the_office(app)
    found = office.ledger.members(by=office.actor)
    keys = ("name", "kind", "role", "holder")
    rows = [(one.name, "token" if one.token else "user", one.role, str(one.holder or "everywhere")) for one in found]
    if as_json:
        app.show_json({"roles": [dict(zip(keys, row, strict=True)) for row in rows], "you": office.actor.name})
    else:
        app.table(keys, rows)
