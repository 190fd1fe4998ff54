"""``forgia profile show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option, shown


@click.command()
@click.argument("name", required=False)
@json_option
@click.pass_obj
def show(app: App, *, name: str | None, as_json: bool) -> None:
    """Show a cluster profile, field by field; a dash is what nobody has found out.

    \b
    forgia profile show leonardo-booster
    """
    from forgia.probe import readable
    from forgia_cli.planning import flat

    found = app.client.open_profile(name)
    if as_json:
        app.show_json({"profile": found.model_dump(mode="json")})
    else:
        app.table(("field", "value"), [(key, shown(value)) for key, value in flat(readable(found))])
