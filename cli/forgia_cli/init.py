"""``forgia init``: a recipe folder of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App


@click.command()
@click.argument("name")
@click.option("--from", "source", required=True, metavar="RECIPE", help="A recipe of the catalogue, or a folder.")
@click.option("--data", "datasets", multiple=True, metavar="DATASET", help="Bind this dataset; several are pooled.")
@click.pass_obj
def init(app: App, *, name: str, source: str, datasets: tuple[str, ...]) -> None:
    """Make a recipe folder of your own, ready to run.

    Without --data it runs on generated sample data.

    \b
    forgia init mill-failures --from predictive-maintenance --data mill-7
    """
    from forgia import derivation

    for ref in datasets:
        app.client.open_dataset(ref)
    root = derivation.derive(app.client.open_recipe(source), name, datasets=datasets, folder=Path.cwd())
    app.say(f"{root.name}/ is yours: recipe.yaml says what is learnt, task.py how.")
    app.say(f"next: forgia check {root.name} && forgia run {root.name}")
