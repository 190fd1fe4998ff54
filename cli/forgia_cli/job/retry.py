"""``forgia job retry``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("run", default="last")
@click.pass_obj
def retry(app: App, *, run: str) -> None:
    """Another attempt of a run that ended without a release, from its last checkpoint.

    \b
    forgia job retry last && forgia job wait last
    """
    from forgia.run import open_run

    run_id = open_run(app.home, run).root.name
    found = app.client.retry(run_id)
    app.out(f"{run_id}: attempt {found.attempt} {found.state}")
