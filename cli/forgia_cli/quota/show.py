"""``forgia quota show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.quota.asking import profile_option, unit_option


@click.command()
@click.argument("holder", required=False)
@unit_option
@profile_option
@json_option
@click.pass_obj
def show(app: App, *, holder: str | None, unit: str | None, profile: str | None, as_json: bool) -> None:
    """Show budgets, a firm a line: granted, used, held, left, pace (1 lands on the end), days left; HOLDER: all of it.

    Staff sees every firm, everybody else their own. Grants that are over count only where there is no other.

    \b
    forgia quota show
    forgia quota show leonardo/acme --unit node-h
    """
    from forgia_cli.quota.asking import known_holder, the_office
    from forgia_cli.quota.rendering import HEADERS, Views, line_json, line_row
    from forgia_cli.quota.seeing import detail, detail_text, firms

    views = Views(app, unit=unit, profile=profile)
    if holder:
        office = the_office(app)
        seen = detail(office, known_holder(office, holder))
        view = views.of(seen.line.holder.path[0])
        if as_json:
            app.show_json(seen.to_json(view))
        else:
            app.out(detail_text(seen, view))
        return
    lines = [(line, views.of(line.holder.path[0])) for line in firms(app)]
    if as_json:
        app.show_json({"holders": [line_json(line, view) for line, view in lines]})
    elif lines:
        app.table(HEADERS, [line_row(line, view) for line, view in lines])
    else:
        app.say("no budget is in sight; staff gives one with forgia quota grant")
