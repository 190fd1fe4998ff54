"""``forgia model verify``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command(short_help="Digest every byte of a model again.")
@click.argument("model")
@json_option
@click.pass_obj
def verify(app: App, *, model: str, as_json: bool) -> None:
    """Read every byte of a registered model and compare it with its digest; exit code 1 at the first that differs.

    \b
    forgia model verify mill-failures@1.0.0
    """
    from forgia.registry.contents import contents
    from forgia.registry.models import find_model

    found = find_model(app.home, app.settings.organisation, model)
    with app.progress(f"verifying {found.ref}", contents(found.layout, found.digest).size) as advance:
        done = found.layout.verify(found.digest, advance=advance)
    if as_json:
        app.show_json({"model": found.ref, "digest": done.digest, "files": done.files, "size": done.size})
    else:
        app.out(f"{found.ref}: verified {done.files} files, {done.size / 1e6:.1f} MB")
