"""``forgia sweep cancel``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("sweep")
@click.pass_obj
def cancel(app: App, *, sweep: str) -> None:
    """End every member of a sweep that has not ended, with one call to the scheduler. Safe to repeat.

    \b
    forgia sweep cancel mill-failures-sweep-3fa2
    """
    from forgia import sweep as sweeps
    from forgia import sweeping
    from forgia_cli.sweep.following import standing

    found = sweeps.open_sweep(app.home, sweep)
    app.out(f"{found.id}: {standing(item.state for item in sweeping.cancel(app.home, found, app.client.scheduler))}")
