"""``forgia check``: everything that can be known before anything is sent."""

from __future__ import annotations

import click

from forgia_cli.app import App
from forgia_cli.wish import Wish, wish_options


@click.command()
@wish_options
@click.pass_obj
def check(app: App, *, wish: Wish) -> None:
    """Check a recipe, its data and the fit to the cluster; every problem is listed at once.

    RECIPE is a folder or a name of the catalogue; default: the recipe here.

    \b
    forgia check mill-failures --profile slurm-local
    """
    from forgia_cli.planning import planned

    request = planned(app, wish).request
    app.out(f"{request['recipe']['name']} {request['recipe']['version']}: ready for {request['profile']['name']}")
