"""``forgia dataset show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("ref", metavar="NAME[@VERSION]")
@json_option
@click.pass_obj
def show(app: App, *, ref: str, as_json: bool) -> None:
    """Show a dataset: its columns, units, gaps and what is odd about them.

    \b
    forgia dataset show mill-7
    """
    from forgia import store
    from forgia.dataset import report
    from forgia.dataset.dataset import Dataset
    from forgia_cli.dataset.view import dataset_json, say_findings

    dataset = Dataset.open(app.home, ref)
    profile = store.read_json(dataset.paths.profile)
    if as_json:
        columns = dataset.manifest.to_json()["columns"]
        app.show_json({**dataset_json(dataset), "columns": columns, "profile": profile})
        return
    manifest = dataset.manifest
    counts = f"{manifest.rows:,} rows, {manifest.rejected:,} rejected, owner {manifest.owner}"
    app.say("  ".join(filter(None, (dataset.ref, manifest.title, counts))))
    headers, rows = report.table(profile)
    app.table(headers, rows)
    say_findings(app, profile)
    app.say(f"report: {dataset.paths.report}\ndigest: {dataset.digest}")
