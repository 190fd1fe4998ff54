"""``forgia profile list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@json_option
@click.pass_obj
def list_(app: App, *, as_json: bool) -> None:
    """List the cluster profiles in sight.

    \b
    forgia profile list
    """
    found = [app.client.open_profile(name) for name in app.catalogue.profiles()]
    rows = [(p.name, p.scheduler, p.gpu.per_node if p.gpu else 0, p.verified_on or "never", p.title) for p in found]
    if as_json:
        keys = ("name", "scheduler", "gpus_per_node", "verified_on", "title")
        app.show_json({"profiles": [dict(zip(keys, row, strict=True)) for row in rows]})
    else:
        app.table(("profile", "scheduler", "GPUs a node", "verified on the cluster", "title"), rows)
