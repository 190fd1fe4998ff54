"""``forgia check``: everything that can be known before anything is sent."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.wish import Wish, go_on_option, wish_options


@click.command()
@wish_options
@go_on_option
@json_option
@click.pass_obj
def check(app: App, *, wish: Wish, goes_on_from: str, as_json: bool) -> None:
    """Check a recipe, its data and the fit to the cluster; every problem is listed at once.

    RECIPE is a folder or a name of the catalogue; default: the recipe here.

    \b
    forgia check mill-failures --profile slurm-local
    """
    from forgia_cli.planning import learnt_sentences, planned

    found = planned(app, wish, goes_on_from=goes_on_from)
    request = found.request
    if as_json:
        told = {
            "learns_from": list(found.learnt),
            "left_out": {name: list(refs) for name, refs in found.left_out.items()},
        }
        about = {"recipe": request["recipe"]["name"], "version": request["recipe"]["version"]}
        app.show_json({**about, "profile": request["profile"]["name"], **told, "warnings": list(found.warnings)})
        return
    for sentence in learnt_sentences(found):
        app.out(sentence)
    app.out(f"{request['recipe']['name']} {request['recipe']['version']}: ready for {request['profile']['name']}")
