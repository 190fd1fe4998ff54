"""``forgia quota requests``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.option("--all", "every", is_flag=True, help="Decided ones too.")
@json_option
@click.pass_obj
def requests(app: App, *, every: bool, as_json: bool) -> None:
    """List what was asked for and waits for approval; staff sees all requests, everybody else their own.

    \b
    forgia quota requests
    """
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import Views, day, plain, request_words

    office = the_office(app)
    found = office.ledger.requests(by=office.actor, open_only=not every)
    if as_json:
        app.show_json({"requests": plain(found)})
    elif not found:
        app.say("no request waits" if not every else "nothing was ever asked for")
    else:
        grants, views = office.grants(), Views(app)
        headers = ("request", "asked", "by", "what", "reason", "state")
        app.table(
            headers, [(r.id, day(r.time), r.actor, request_words(r, grants, views), r.reason, r.state) for r in found]
        )
