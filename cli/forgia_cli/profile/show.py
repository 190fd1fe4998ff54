"""``forgia profile show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("name", required=False)
@json_option
@click.pass_obj
def show(app: App, *, name: str | None, as_json: bool) -> None:
    """Show a cluster profile, field by field; a dash is what nobody has found out.

    \b
    forgia profile show leonardo-booster
    """
    from forgia_cli.planning import flat

    found = app.client.open_profile(name).model_dump(mode="json")
    if as_json:
        app.show_json({"profile": found})
    else:
        app.table(
            ("field", "value"), [(key, "–" if value in (None, [], {}) else str(value)) for key, value in flat(found)]
        )
