"""``forgia quota freeze``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option
from forgia_cli.quota.rendering import grant_argument


@click.command()
@grant_argument
@reason_option
@click.pass_obj
def freeze(app: App, *, grant: int, reason: str) -> None:
    """Give no new holds on a grant; jobs that hold something run on, and are charged.

    \b
    forgia quota freeze 2 --reason "contract under review"
    """
    from forgia.quota import changes
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views, grant_state, tell

    office = the_office(app)
    found = office.grant(grant)
    made = office.make(changes.freeze(grant), reason=reason, holder=found.holder)
    left = Views(app).of(found.holder.path[0]).text(found.free)
    tell(app, office, made, did=f"grant {grant} of {found.holder} {grant_state(found)} → frozen, {left} left stays")
