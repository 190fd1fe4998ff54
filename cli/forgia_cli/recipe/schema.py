"""``forgia recipe schema``."""

from __future__ import annotations

import json

import click

from forgia_cli.app import App


@click.command()
@click.pass_obj
def schema(app: App) -> None:
    """Print the JSON schema of recipe.yaml, for editors that check while one types.

    \b
    forgia recipe schema > recipe.schema.json
    """
    from forgia.recipe import json_schema

    app.out(json.dumps(json_schema(), indent=2))
