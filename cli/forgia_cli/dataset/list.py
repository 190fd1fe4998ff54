"""``forgia dataset list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@json_option
@click.pass_obj
def list_(app: App, *, as_json: bool) -> None:
    """List the datasets, each in its latest version.

    \b
    forgia dataset list
    """
    from forgia.dataset.dataset import list_datasets
    from forgia_cli.dataset.view import dataset_json

    found = list_datasets(app.home)
    if as_json:
        app.show_json({"datasets": [dataset_json(dataset) for dataset in found]})
        return
    if not found:
        app.say("no datasets yet; forgia dataset add NAME FILE makes one")
        return
    rows = [
        (
            item.ref,
            f"{item.manifest.rows:,}",
            len(item.manifest.columns),
            item.manifest.owner,
            item.manifest.created[:10],
            item.manifest.title,
        )
        for item in found
    ]
    app.table(("dataset", "rows", "columns", "owner", "added", "title"), rows)
