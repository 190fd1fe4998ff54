"""forgia share."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("group", required=False)
@click.option("--stop", is_flag=True, help="Close the home again.")
@click.pass_obj
def share(app: App, group: str | None, stop: bool) -> None:
    """Open this home to a Unix group, or close it.

    Members then list each other's runs, read their logs and collect their releases; nobody changes another's run.

    \b
    forgia share press-shop
    forgia share --stop
    """
    from forgia import sharing

    if stop is bool(group):
        raise click.UsageError("name a group, or --stop")
    if not group:
        app.say(f"{app.home.root} is private again ({sharing.unshare(app.home).entries} files and folders)")
        return
    opened = sharing.share(app.home, group)
    app.say(f"{app.home.root} is open to group {group} ({opened.entries} files and folders)")
    for folder in opened.closed_above:
        app.say(f"warning: the group cannot enter {folder}: chmod it, or move the home (FORGIA_HOME)")
