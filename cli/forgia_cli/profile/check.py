"""``forgia profile check``."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App


@click.command()
@click.argument("profile")
@click.pass_obj
def check(app: App, *, profile: str) -> None:
    """Check a profile, by its name or its file; every problem is listed at once.

    \b
    forgia profile check my-cluster.yaml
    """
    from forgia.profile import load

    file = Path(profile)
    found = load(file if file.is_file() else app.catalogue.profile(profile))
    app.out(f"{found.name}: a {found.scheduler} profile without problems")
