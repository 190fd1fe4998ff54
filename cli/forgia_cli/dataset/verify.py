"""``forgia dataset verify``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("ref", metavar="NAME[@VERSION]")
@json_option
@click.pass_obj
def verify(app: App, *, ref: str, as_json: bool) -> None:
    """Digest every data file again and compare it with the manifest.

    \b
    forgia dataset verify mill-7@1
    """
    from forgia.dataset.dataset import Dataset

    dataset = Dataset.open(app.home, ref)
    dataset.verify()
    if as_json:
        app.show_json(
            {"ref": dataset.ref, "digest": dataset.digest, "files": len(dataset.manifest.files), "verified": True}
        )
    else:
        app.say(f"{dataset.ref}: {len(dataset.manifest.files)} file(s) are what the manifest says")
        app.out(dataset.digest)
