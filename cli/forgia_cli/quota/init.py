"""``forgia quota init``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.pass_obj
def init(app: App) -> None:
    """Make the ledger that the settings name; you become its first staff. A ledger that is there stays as it is.

    Without a setting it is a file in forgia's home, for one team. For several machines or many users, name a database
    without a password: FORGIA_LEDGER=postgresql://host/forgia (or ledger = … in config.toml).

    \b
    forgia quota init
    """
    from forgia.quota.office import found_office, place_of

    with found_office(app.settings) as office:
        app.out(f"ledger {place_of(app.settings)}: made; {office.actor.name} is its staff")
    app.say("next: forgia quota grant SITE/FIRM --gpu-h 5000 --until DATE --reason TEXT")
    app.say("      forgia quota role USER member SITE/FIRM --reason TEXT")
