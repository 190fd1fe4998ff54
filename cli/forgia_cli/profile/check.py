"""``forgia profile check``."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def check(app: App, *, file: Path) -> None:
    """Check a profile file; every problem is listed at once.

    \b
    forgia profile check my-cluster.yaml
    """
    from forgia.profile import load

    found = load(file)
    app.out(f"{found.name}: a {found.scheduler} profile without problems")
