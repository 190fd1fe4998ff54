"""``forgia environment build``."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.wish import Wish, wish_options


@click.command()
@wish_options
@click.pass_obj
def build(app: App, *, wish: Wish) -> None:
    """Build the environment of a recipe's lock into one file, unless it is there; do it where pip reaches its index.

    \b
    forgia environment build mill-failures --profile leonardo-booster
    """
    from forgia_cli.planning import environment_sentence, planned

    plan = planned(app, wish, is_told_unbuilt=False)
    app.client.build_environment(plan, tell=app.say)
    app.out(environment_sentence(app.home, plan))
