"""``forgia quota quarantine``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("key", required=False)
@click.option("--reason", metavar="TEXT", help="Why KEY needs no charge.")
@click.option("--all", "every", is_flag=True, help="Resolved ones too.")
@json_option
@click.pass_obj
def quarantine(app: App, *, key: str | None, reason: str | None, every: bool, as_json: bool) -> None:
    """List rows of the accounting that nobody could judge; with KEY, close one without a charge. Staff only.

    A row that the accounting tells better later is charged by the next settlement, and leaves by itself.

    \b
    forgia quota quarantine
    forgia quota quarantine leonardo:48151623 --reason "test job of the site, not billed"
    """
    from forgia.errors import UserError
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import day, plain

    office = the_office(app)
    if key:
        if not reason:
            raise UserError(f"quarantine {key}: say why it needs no charge, with --reason")
        office.ledger.resolve_quarantined(key, by=office.actor, reason=reason)
        app.out(f"{key}: waiting → closed without a charge")
        return
    found = office.ledger.quarantined(by=office.actor, open_only=not every)
    if as_json:
        app.show_json({"quarantined": plain(found)})
    elif found:
        rows = [(q.key, day(q.time), q.usage.get("job_id"), q.usage.get("user"), q.reason, q.resolved) for q in found]
        app.table(("key", "since", "job", "user", "why", "resolved"), rows)
    else:
        app.say("no row waits in quarantine")
