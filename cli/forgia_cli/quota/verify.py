"""``forgia quota verify``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@json_option
@click.pass_obj
def verify(app: App, *, as_json: bool) -> None:
    """Check the hash chain and replay every posting; exit code 1 with findings. Staff only.

    \b
    forgia quota verify
    """
    from forgia.errors import ForgiaError
    from forgia.quota import access
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.rendering import plain

    office = the_office(app)
    access.check(office.actor, "verify", None)
    findings = office.ledger.verify()
    if as_json:
        app.show_json({"findings": plain(findings)})
    else:
        for one in findings:
            app.out(f"posting {one.seq}: {one.what}" if one.seq else one.what)
    if findings:
        hint = "stop giving budgets, keep a copy of the ledger as it is, and compare it with a backup"
        raise ForgiaError(f"ledger {office.ledger.database.place}: {len(findings)} finding(s)", hint=hint)
    if not as_json:
        app.out("the chain is whole, and every balance is what its postings make of it")
