"""``forgia job wait``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("runs", nargs=-1)
@click.pass_obj
def wait(app: App, *, runs: tuple[str, ...]) -> None:
    """Wait until runs have ended and put their releases into the registry. Default: the newest run.

    \b
    forgia job wait last
    """
    from forgia.run import open_run
    from forgia_cli.following import collected, follow

    for name in runs or ("last",):
        run_id = open_run(app.home, name).root.name
        follow(app, run_id)
        collected(app, run_id)
