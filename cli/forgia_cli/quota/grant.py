"""``forgia quota grant``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import Asked, Wish, amount_options, reason_option, terms_options


@click.command()
@click.argument("holder")
@click.option("--parent", type=click.IntRange(1), metavar="GRANT", help="Take it from this grant, of a holder above.")
@amount_options
@terms_options
@reason_option
@click.pass_obj
def grant(app: App, *, holder: str, parent: int | None, asked: Asked, wish: Wish, reason: str) -> None:
    """Give a budget to HOLDER: site/organisation, or a project or person below it (site/organisation/project/user).

    The site is the profile's site, or its name. With --parent the budget is a part of another one and comes off it.

    \b
    forgia quota grant leonardo/acme --mode playground --from 2026-11-01 --months 3 --reason "EHPC-AIF-PG01-042"
    forgia quota grant leonardo/acme/press-shop --parent 2 --gpu-h 1000 --until 2027-01-01 --reason "pilot line"
    """
    from forgia_cli.quota.asking import remark_if_new, the_office
    from forgia_cli.quota.rendering import Views, counted_in, day, tell
    from forgia_cli.quota.wishes import wished

    office = the_office(app)
    change, place, terms = wished(app, office, holder, parent=parent, asked=asked, wish=wish)
    remark_if_new(app, office, terms.holder)
    with counted_in(Views(app).of(terms.holder.path[0])):
        made = office.make(change, reason=reason, holder=place)
    source = f", out of grant {parent}" if parent else ""
    span = f"{day(terms.valid_from)} to {day(terms.valid_until)}"
    tell(app, office, made, did=f"a grant for {terms.holder}{source}, {span}")
