"""``forgia quota token``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option


@click.command()
@click.argument("label")
@click.argument("role", type=click.Choice(("staff", "admin", "member", "viewer")))
@click.argument("holder", required=False)
@reason_option
@click.pass_obj
def token(app: App, *, label: str, role: str, holder: str | None, reason: str) -> None:
    """Make a token with a role, for a service; it is printed this once, alone, and the ledger keeps its digest only.

    Whoever has it puts it into FORGIA_LEDGER_TOKEN_FILE=FILE (mode 600). forgia quota role LABEL none takes it back.

    \b
    forgia quota token dashboard viewer leonardo/acme --reason "dashboard of the firm" > token && chmod 600 token
    """
    from forgia.grant import Holder
    from forgia.quota import access, changes
    from forgia_cli.quota.asking import remark_if_new, the_office

    place = Holder.parse(holder) if holder else None
    office, secret = the_office(app), access.new_token()
    remark_if_new(app, office, place)
    change = changes.token(label, access.token_digest(secret), role, place)
    made = office.make(change, reason=reason, holder=place)
    app.out(secret)
    app.say(f"token {label}: {role} at {place or 'the whole ledger'}; it is not shown again")
    if made.request:
        app.say(f"it works once somebody else has said: forgia quota approve {made.request} --reason TEXT")
