"""``forgia job wait``."""

from __future__ import annotations

import click

from forgia.errors import JobFailed
from forgia_cli.app import App


@click.command()
@click.argument("runs", nargs=-1)
@click.pass_obj
def wait(app: App, *, runs: tuple[str, ...]) -> None:
    """Wait until runs have ended and put their releases into the registry. Default: the newest run.

    One that ends badly keeps nobody from waiting for the others.

    \b
    forgia job wait last
    """
    from forgia.run import open_run
    from forgia_cli.following import collected, follow

    failures: list[JobFailed] = []
    for run_id in [open_run(app.home, name).root.name for name in runs or ("last",)]:
        try:
            follow(app, run_id)
            collected(app, run_id)
        except JobFailed as error:
            failures.append(error)
    for failed in failures[:-1]:
        app.say(f"error: {failed.message}")
    if failures:
        raise failures[-1]
