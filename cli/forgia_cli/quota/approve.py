"""``forgia quota approve``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option


@click.command()
@click.argument("request", type=click.IntRange(1))
@reason_option
@click.pass_obj
def approve(app: App, *, request: int, reason: str) -> None:
    """Approve what somebody else asked for; it happens at once. Nobody approves a request of their own.

    \b
    forgia quota approve 7 --reason "within the call's budget"
    """
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views, request_words, tell

    office = the_office(app)
    asked = next((one for one in office.ledger.requests(by=office.actor) if one.id == request), None)
    made = office.approve(request, reason=reason)
    words = f": {request_words(asked, office.grants(), Views(app))}, asked for by {asked.actor}" if asked else ""
    tell(app, office, made, did=f"request {request} approved{words}")
