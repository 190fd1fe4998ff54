"""``forgia quota role``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option


@click.command()
@click.argument("user")
@click.argument("role", type=click.Choice(("staff", "admin", "member", "viewer", "none")))
@click.argument("holder", required=False)
@reason_option
@click.pass_obj
def role(app: App, *, user: str, role: str, holder: str | None, reason: str) -> None:
    """Give a USER of the operating system a role at a HOLDER; none takes it back. Staff is staff everywhere.

    viewer looks; member submits, settles and asks; admin also divides what its organisation has; staff does all.

    \b
    forgia quota role anna admin leonardo/acme --reason "contact in the contract"
    forgia quota role bruno staff --reason "joined the desk"
    """
    from forgia.grant import Holder
    from forgia.quota import changes
    from forgia_cli.quota.asking import is_system_user, remark_if_new, the_office
    from forgia_cli.quota.rendering import tell

    place = Holder.parse(holder) if holder else None
    office = the_office(app)
    remark_if_new(app, office, place)
    if role != "none" and not is_system_user(user):
        app.say(f"note: this machine knows no user {user!r}; the role waits for one")
    change = changes.revoke(user, place) if role == "none" else changes.assign(user, role, place)
    seen = office.ledger.members(by=office.at(place))
    before = next((one.role for one in seen if (one.name, one.holder) == (user, place)), "none")
    made = office.make(change, reason=reason, holder=place)
    tell(app, office, made, did=f"{user} at {place or 'the whole ledger'}: {before} → {role}")
