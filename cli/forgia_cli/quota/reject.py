"""``forgia quota reject``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.quota.asking import reason_option


@click.command()
@click.argument("request", type=click.IntRange(1))
@reason_option
@click.pass_obj
def reject(app: App, *, request: int, reason: str) -> None:
    """Turn a request down, or take your own one back.

    \b
    forgia quota reject 7 --reason "no budget before the next call"
    """
    from forgia_cli.quota.asking import the_office

    office = the_office(app)
    office.reject(request, reason=reason)
    app.out(f"request {request}: rejected, nothing was changed")
