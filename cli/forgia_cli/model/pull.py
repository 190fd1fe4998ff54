"""``forgia model pull``."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App


@click.command(short_help="Copy a model's files to a folder.")
@click.argument("model")
@click.option("--to", type=click.Path(path_type=Path), help="A folder that does not exist yet; default: NAME-VERSION.")
@click.pass_obj
def pull(app: App, *, model: str, to: Path | None) -> None:
    """Copy a model's files, its recipe and its provenance into a new folder; every byte is checked on the way.

    \b
    forgia model pull mill-failures@1.0.0 --to mill-failures
    """
    from forgia.registry.contents import contents
    from forgia.registry.materialise import pull as materialise
    from forgia.registry.models import find_model
    from forgia_cli.model.rendering import size_text, test_warning

    found = find_model(app.home, app.settings.organisation, model)
    folder = to or Path(f"{found.name}-{found.version or found.digest[7:19]}")
    if found.is_test:
        app.say(test_warning(found.ref))
    total = contents(found.layout, found.digest).size
    with app.progress(f"pulling {found.ref}", total) as advance:
        done = materialise(found.layout, found.digest, folder, advance=advance)
    app.say(f"{found.ref}: {done.files} files, {size_text(done.size)}, all verified")
    app.out(str(done.folder))
