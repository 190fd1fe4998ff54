"""``forgia submit``: send and come back at once."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.wish import Wish, again_option, go_on_option, wish_options


@click.command()
@wish_options
@again_option
@go_on_option
@click.option("-q", "--quiet", is_flag=True, help="Print the run id only.")
@click.pass_obj
def submit(app: App, *, wish: Wish, again: bool, goes_on_from: str, quiet: bool) -> None:
    """Send a recipe to the scheduler and come back at once.

    \b
    forgia submit mill-failures --profile slurm-local
    """
    from forgia_cli.planning import planned
    from forgia_cli.run import following_sentence

    wanted = planned(app, wish, is_told_unbuilt=False, goes_on_from=goes_on_from)
    app.client.build_environment(wanted, tell=app.say)
    started = app.client.start(wanted, again=again)
    if quiet:
        app.out(started.run_id)
        return
    app.out(following_sentence(started.run_id, str(started.status.state), is_new=started.is_new))
    app.say(f"next: forgia job wait {started.run_id}")
