"""``forgia environment list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@json_option
@click.pass_obj
def list_(app: App, *, as_json: bool) -> None:
    """List the environments that are built, newest first.

    \b
    forgia environment list
    """
    from forgia import digest, environment

    found = environment.listing(app.home)
    if as_json:
        app.show_json({"environments": [manifest.to_json() for manifest in found]})
        return
    if not found:
        app.say("no environments yet; forgia environment build RECIPE makes one")
        return
    rows = [
        (
            digest.short(item.digest),
            item.lock,
            item.base.python,
            item.base.machine,
            len(item.packages),
            round(item.archive_bytes / 2**20),
            round(item.unpacked_bytes / 2**20),
            item.created,
        )
        for item in found
    ]
    app.table(("environment", "lock", "python", "machine", "packages", "MiB", "MiB unpacked", "built (UTC)"), rows)
