"""``forgia model alias``."""

from __future__ import annotations

import os

import click

from forgia_cli.app import App


@click.command(short_help="Point a movable name at a version.")
@click.argument("model")
@click.argument("alias")
@click.pass_obj
def alias(app: App, *, model: str, alias: str) -> None:
    """Let ALIAS name this version of the model; versions never move, aliases do, and each move is logged.

    \b
    forgia model alias mill-failures@1.0.0 champion
    """
    from forgia.registry.models import find_model, version_of
    from forgia.run import now

    found = find_model(app.home, app.settings.organisation, model)
    before = found.layout.point(alias, found.digest, at=now(), by=os.environ.get("USER") or str(os.getuid()))
    moved = f" (was {version_of(found.layout, before) or before})" if before and before != found.digest else ""
    app.say(f"{found.name}@{alias} is {found.ref}{moved}")
