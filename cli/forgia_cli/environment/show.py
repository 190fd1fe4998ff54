"""``forgia environment show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("environment")
@json_option
@click.pass_obj
def show(app: App, *, environment: str, as_json: bool) -> None:
    """Show a built environment: what it stands on, and every package. ENVIRONMENT: the beginning of its digest.

    \b
    forgia environment show 3f1c
    """
    from forgia import environment as environments

    found = environments.find(app.home, environment)
    if as_json:
        app.show_json({"environment": found.to_json(), "file": str(app.home.environment_archive(found.archive))})
        return
    told = {key: value for key, value in found.to_json().items() if key not in ("schema_version", "base", "packages")}
    told |= {f"base.{key}": value for key, value in found.to_json()["base"].items()}
    told["file"] = app.home.environment_archive(found.archive)
    app.table(("field", "value"), [(key, str(value)) for key, value in told.items()])
    app.out("")
    app.table(("package", "version"), found.packages)
