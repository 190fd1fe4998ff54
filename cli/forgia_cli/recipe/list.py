"""``forgia recipe list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@json_option
@click.pass_obj
def list_(app: App, *, as_json: bool) -> None:
    """List the recipes of the catalogue.

    \b
    forgia recipe list
    """
    found = [app.client.open_recipe(path) for path in app.catalogue.recipes().values()]
    rows = [(f.recipe.name, f.recipe.version, f.recipe.title, str(f.root)) for f in found]
    if as_json:
        keys = ("name", "version", "title", "folder")
        app.show_json({"recipes": [dict(zip(keys, row, strict=True)) for row in rows]})
    else:
        app.table(("recipe", "version", "title"), [row[:3] for row in rows])
