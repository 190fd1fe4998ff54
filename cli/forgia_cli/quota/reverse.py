"""``forgia quota reverse``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option


@click.command()
@click.argument("posting", type=click.IntRange(1))
@reason_option
@click.pass_obj
def reverse(app: App, *, posting: int, reason: str) -> None:
    """Post the opposite of a posting (its number in forgia quota entries), once; nothing is ever edited.

    \b
    forgia quota reverse 31 --reason "transferred to the wrong firm"
    """
    from forgia.quota import changes
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import tell

    office = the_office(app)
    made = office.make(changes.reverse(posting), reason=reason)
    tell(app, office, made, did=f"the opposite of posting {posting}")
