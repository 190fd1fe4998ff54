"""``forgia quota ceiling``."""

from __future__ import annotations

from functools import partial

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option


@click.command()
@click.argument("holder")
@click.argument("caps", nargs=-1, required=True, metavar="NAME=N…")
@reason_option
@click.pass_obj
def ceiling(app: App, *, holder: str, caps: tuple[str, ...], reason: str) -> None:
    """Cap a HOLDER with all below it: gpus and jobs at once, registry_gb stored, billing_s held and charged.

    NAME=none lifts a cap.

    \b
    forgia quota ceiling leonardo/acme gpus=8 jobs=20 registry_gb=100 --reason "fair share of the account"
    """
    from forgia.grant import Holder
    from forgia.quota import changes
    from forgia_cli.quota.asking import Complaints, cap, remark_if_new, the_office
    from forgia_cli.quota.rendering import tell

    complaints = Complaints("ceiling")
    place = complaints.take("HOLDER", lambda: Holder.parse(holder))
    taken = [complaints.take(text, partial(cap, text)) for text in caps]
    place = complaints.sound(place)
    office = the_office(app)
    remark_if_new(app, office, place)
    before = {
        one.kind: one.value for one in office.ledger.ceilings(by=office.at(place), holder=place) if one.holder == place
    }
    for kind, value in filter(None, taken):
        made = office.make(changes.ceiling(place, kind, value), reason=reason, holder=place)
        was, becomes = before.get(kind, "none"), "none" if value is None else value
        tell(app, office, made, did=f"{kind} of {place}: {was} → {becomes}")
