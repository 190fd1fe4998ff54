"""``forgia job cancel``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.pass_obj
def cancel(app: App, *, runs: tuple[str, ...]) -> None:
    """End runs, with one call to each scheduler. Safe to repeat; a finished run stays as it is.

    \b
    forgia job cancel mill-failures-3fa2
    """
    from forgia.run import open_run

    ids = [open_run(app.home, name).root.name for name in runs]
    for found in app.client.cancel(ids):
        app.out(f"{found.run_id}: {found.state}")
