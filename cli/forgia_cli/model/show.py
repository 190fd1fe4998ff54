"""``forgia model show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command(short_help="Show a model: figures, data, recipe, files.")
@click.argument("model")
@json_option
@click.pass_obj
def show(app: App, *, model: str, as_json: bool) -> None:
    """Show a registered model: figures against the baseline, data, recipe, run and files.

    MODEL is a name, or name@ with a version, an alias or a digest; a bare name means the latest
    version that is not of a run with --test, if there is one.

    \b
    forgia model show mill-failures@1.0.0
    """
    from forgia.registry.models import describe, find_model
    from forgia_cli.model.rendering import summary

    found = describe(find_model(app.home, app.settings.organisation, model))
    if as_json:
        app.show_json(found)
    else:
        app.out(summary(found))
