"""``forgia quota unfreeze``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option
from forgia_cli.quota.rendering import grant_argument


@click.command()
@grant_argument
@reason_option
@click.pass_obj
def unfreeze(app: App, *, grant: int, reason: str) -> None:
    """Give holds on a frozen grant again.

    \b
    forgia quota unfreeze 2 --reason "review is over"
    """
    from forgia.quota import changes
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views, grant_state, tell

    office = the_office(app)
    found = office.grant(grant)
    made = office.make(changes.unfreeze(grant), reason=reason, holder=found.holder)
    left = Views(app).of(found.holder.path[0]).text(found.free)
    tell(app, office, made, did=f"grant {grant} of {found.holder} {grant_state(found)} → open, {left} left stays")
