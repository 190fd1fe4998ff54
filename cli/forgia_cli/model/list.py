"""``forgia model list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command(short_help="List the models.")
@json_option
@click.pass_obj
def list_(app: App, *, as_json: bool) -> None:
    """List the models of your organisation with their latest version and its primary figure; a version of a run with
    --test counts as the latest only where there is no other.

    \b
    forgia model list
    """
    from forgia.registry.models import models
    from forgia_cli.model.rendering import size_text

    found = list(models(app.home, app.settings.organisation))
    if as_json:
        app.show_json({"models": [model.to_json() for model in found]})
        return
    if not found:
        app.say("no models yet; forgia run makes one")
        return
    rows = [
        (
            model.name,
            f"{model.latest} (test)" if model.latest in model.tests else model.latest,
            len(model.versions),
            ", ".join(f"{alias}→{version}" for alias, version in model.aliases.items()) or None,
            None if model.value is None else f"{model.metric} {model.value:.4f}",
            size_text(model.size),
            model.created[:19].replace("T", " "),
        )
        for model in found
    ]
    app.table(("name", "latest", "versions", "aliases", "figure", "size", "created (UTC)"), rows)
