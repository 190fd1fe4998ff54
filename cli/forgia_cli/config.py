"""``forgia config``: the settings and their origin."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option, shown


@click.command()
@json_option
@click.pass_obj
def config(app: App, *, as_json: bool) -> None:
    """Show the settings in force and where each came from.

    Order: flag, environment (FORGIA_*), forgia.toml here or above, config.toml in forgia's home, default.

    \b
    forgia config
    """
    found = app.settings
    values = {
        "home": str(found.home.root),
        "organisation": found.organisation,
        "profile": found.profile,
        "catalogue": [str(path) for path in found.catalogue],
        "ledger": without_password(str(found.ledger or found.home.ledger)),
        "project": found.project,
    }
    if as_json:
        app.show_json({"settings": {key: {"value": values[key], "from": found.origin[key]} for key in values}})
        return
    app.table(("setting", "value", "from"), [(key, shown(value), found.origin[key]) for key, value in values.items()])


def without_password(place: str) -> str:
    """A ledger's address as it may be shown: forgia takes none with a password, and somebody may have written one."""
    if "://" not in place:
        return place
    from forgia.quota import engine

    return engine.shown(place)
