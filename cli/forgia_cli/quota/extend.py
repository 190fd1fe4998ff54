"""``forgia quota extend``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import Asked, amount_options, reason_option
from forgia_cli.quota.rendering import grant_argument


@click.command()
@grant_argument
@click.option("--until", metavar="DATE", help="New day at whose beginning it is over.")
@amount_options
@reason_option
@click.pass_obj
def extend(app: App, *, grant: int, until: str | None, asked: Asked, reason: str) -> None:
    """Make a grant last longer, or larger, or both. A part of another grant grows out of that.

    \b
    forgia quota extend 2 --until 2027-03-01 --reason "letter of 14 January"
    forgia quota extend 2 --gpu-h 500 --reason "second call"
    """
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views, counted_in, tell
    from forgia_cli.quota.wishes import extended

    office = the_office(app)
    change, words = extended(app, office, grant, asked=asked, until=until)
    holder = office.grant(grant).holder
    with counted_in(Views(app).of(holder.path[0])):
        made = office.make(change, reason=reason, holder=holder)
    tell(app, office, made, did=words)
