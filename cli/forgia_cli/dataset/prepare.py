"""``forgia dataset prepare``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from forgia_cli.app import App, json_option
from forgia_cli.wish import Wish, wish_options


@click.command()
@wish_options
@click.option(
    "--workers", type=click.IntRange(1, 1000), help="Workers (default: one a core, or one job on SLURM's profile)."
)
@click.option("--remove", is_flag=True, help="Take away what was prepared of this data.")
@json_option
@click.pass_obj
def prepare(app: App, *, wish: Wish, workers: int | None, remove: bool, as_json: bool) -> None:
    """Make the data of a recipe ready once, so that runs map it into memory instead of making it anew: larger than
    memory, shared by all processes of a node, the same bytes with any number of workers.

    \b
    forgia dataset prepare mill-failures --workers 4
    forgia dataset prepare mill-failures --profile slurm-local --workers 8
    """
    from forgia_cli.planning import planned

    plan = planned(app, wish, is_told_unbuilt=False)
    if plan.request["environment"]["kind"] != "current":
        app.say(
            "warning: runs live in an environment of their own; they use this if its numpy, pyarrow and scikit-learn"
            " are of the versions here, and read the datasets if not"
        )
    with app.progress("preparing", 1.0) as advance:
        found = app.client.prepare(plan, workers=workers, remove=remove, tell=teller(app, advance))
    if as_json:
        app.show_json(asdict(found))
        return
    app.say(sentence(asdict(found)))
    app.out(found.folder)


def teller(app: App, advance: Any) -> Any:
    """Moves the bar and passes on what the preparation tells."""

    def tell(word: dict[str, Any]) -> None:
        if "warning" in word:
            app.say(f"warning: {word['warning']}")
        if word.get("of"):
            advance(1 / word["of"])

    return tell


def sentence(found: dict[str, Any]) -> str:
    """What became of it."""
    if "is_removed" in found and not found["bytes"]:
        return "removed" if found["is_removed"] else "nothing was prepared of this data"
    state = "prepared" if found["is_new"] else "prepared already, and verified"
    size = f"{found['bytes'] / 2**20:.1f} MiB"
    columns = f"{found['numeric']} numbers and {found['categorical']} categories"
    return f"{state}: {found['samples']:,} samples over {found['rows']:,} rows of {columns}, {size}"
