"""``forgia quota transfer``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import Asked, amount_options, reason_option


@click.command()
@click.argument("source", type=click.IntRange(1))
@click.argument("target", type=click.IntRange(1))
@amount_options
@reason_option
@click.pass_obj
def transfer(app: App, *, source: int, target: int, asked: Asked, reason: str) -> None:
    """Move what is free from the grant SOURCE to the grant TARGET.

    \b
    forgia quota transfer 2 3 --gpu-h 250 --reason "agreed by both firms"
    """
    from forgia.quota import changes
    from forgia_cli.quota.asking import Complaints, the_office
    from forgia_cli.quota.rendering import Views, counted_in, tell

    office = the_office(app)
    holder, complaints = office.grant(source).holder, Complaints("transfer")
    amount = complaints.take("amount", lambda: asked.billing_s(app, holder.path[0]))
    if source == target:
        complaints.add("TARGET", "is SOURCE; name another grant")
    complaints.raise_any()
    receiver = office.grant(target).holder
    with counted_in(Views(app).of(holder.path[0])):
        made = office.make(changes.transfer(source, target, amount or 0), reason=reason, holder=holder)
    tell(app, office, made, did=f"from grant {source} of {holder} to grant {target} of {receiver}")
