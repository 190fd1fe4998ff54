"""``forgia quota close``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option
from forgia_cli.quota.rendering import grant_argument


@click.command()
@grant_argument
@reason_option
@click.pass_obj
def close(app: App, *, grant: int, reason: str) -> None:
    """End a grant that holds nothing; what is left goes back to where it came from. It cannot be opened again.

    \b
    forgia quota close 2 --reason "project has ended"
    """
    from forgia.quota import changes
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import tell

    office = the_office(app)
    found = office.grant(grant)
    made = office.make(changes.close(grant), reason=reason, holder=found.holder)
    tell(app, office, made, did=f"grant {grant} of {found.holder} is closed")
