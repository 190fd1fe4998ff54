"""``forgia quota adjust``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import Asked, amount_options, reason_option
from forgia_cli.quota.rendering import grant_argument


@click.command()
@grant_argument
@click.option("--less", is_flag=True, help="Take it off what was charged; without it, charge it.")
@amount_options
@reason_option
@click.pass_obj
def adjust(app: App, *, grant: int, less: bool, asked: Asked, reason: str) -> None:
    """Correct what was charged to a grant, towards the site's own count.

    \b
    forgia quota adjust 2 --units 120 --reason "saldo of 30 November counts 120 more"
    """
    from forgia.quota import changes
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import tell

    office = the_office(app)
    holder = office.grant(grant).holder
    amount = asked.billing_s(app, holder.path[0])
    made = office.make(changes.adjust(grant, -amount if less else amount), reason=reason, holder=holder)
    tell(app, office, made, did=f"{'less' if less else 'more'} was used on grant {grant}")
