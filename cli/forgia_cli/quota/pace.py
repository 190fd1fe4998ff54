"""``forgia quota pace``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.option("--waiting", is_flag=True, help="In which order the jobs that wait would start if shares decided.")
@json_option
@click.pass_obj
def pace(app: App, *, waiting: bool, as_json: bool) -> None:
    """Tell who is ahead and who is behind inside the account, and how much the jobs of those ahead yield (nice).

    Pace is the share used or held over the share of the time that has passed. Who is not ahead, never yields.

    \b
    forgia quota pace
    """
    from forgia.quota.pace import standing_of, throttle, waiting_order
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.reporting import organisations

    office = the_office(app)
    if waiting:
        order = [(str(firm), one.name, one.cost) for firm, one in waiting_order(office.ledger, by=office.actor)]
        if as_json:
            fields = ("organisation", "hold", "billing_s")
            app.show_json({"waiting": [dict(zip(fields, row, strict=True)) for row in order]})
        else:
            app.table(("organisation", "hold", "billing-s"), order)
        return
    found = [standing_of(office.ledger, firm) for firm in organisations(office)]
    found.sort(key=lambda one: (one.pace.value or 0, one.holder))
    if as_json:
        told = [
            {
                "organisation": str(one.holder),
                "pace": None if one.pace.value is None else float(one.pace.value),
                "beside_account": float(one.relative),
                "nice": one.nice,
                "of_100_array_tasks_at_once": throttle(one.relative, 100),
                "why": one.sentence(),
            }
            for one in found
        ]
        app.show_json({"organisations": told})
    elif found:
        app.out("\n".join(one.sentence() for one in found))
    else:
        app.say("no organisation in sight has a budget that is valid now")
