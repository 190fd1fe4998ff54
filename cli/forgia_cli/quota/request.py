"""``forgia quota request``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import Asked, Wish, amount_options, reason_option, terms_options


@click.command()
@click.argument("what", metavar="HOLDER|GRANT")
@click.option("--parent", type=click.IntRange(1), metavar="GRANT", help="Out of this grant, of a holder above.")
@amount_options
@terms_options
@reason_option
@click.pass_obj
def request(app: App, *, what: str, parent: int | None, asked: Asked, wish: Wish, reason: str) -> None:
    """Ask for a budget for a HOLDER, or for more or longer of a GRANT (its number); somebody else approves it.

    \b
    forgia quota request leonardo/acme --gpu-h 2000 --until 2027-02-01 --reason "retraining on line 3"
    forgia quota request 2 --gpu-h 500 --reason "the last runs of the pilot"
    """
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import day
    from forgia_cli.quota.wishes import extended, wished

    office = the_office(app)
    if what.isdecimal():
        change, words = extended(app, office, int(what), asked=asked, until=wish.until)
        place = office.grant(int(what)).holder
    else:
        change, place, terms = wished(app, office, what, parent=parent, asked=asked, wish=wish)
        words = f"a grant for {terms.holder}, {day(terms.valid_from)} to {day(terms.valid_until)}"
    number = office.ledger.request(change, by=office.at(place), reason=reason)
    app.out(f"request {number}: {words}")
    app.say(f"approved by somebody else with: forgia quota approve {number} --reason TEXT")
