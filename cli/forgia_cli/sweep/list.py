"""``forgia sweep list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Print sweep ids only.")
@json_option
@click.pass_obj
def list_(app: App, *, quiet: bool, as_json: bool) -> None:
    """List the sweeps, newest first; where their members stand is as their journals say.

    \b
    forgia sweep list
    """
    from forgia import sweep as sweeps
    from forgia.run import Journal
    from forgia_cli.sweep.following import standing

    found = sorted(sweeps.sweeps(app.home), key=lambda sweep: sweep.created, reverse=True)
    if quiet:
        app.out("\n".join(sweep.id for sweep in found))
        return
    states = {item.id: [Journal(app.home.run(run_id)).status().state for run_id in item.run_ids] for item in found}
    if as_json:
        fields = ("id", "recipe", "version", "profile", "primary", "created")
        shown = [{name: getattr(item, name) for name in fields} | {"states": states[item.id]} for item in found]
        app.show_json({"sweeps": shown})
    elif not found:
        app.say("no sweeps yet; forgia sweep RECIPE --over NAME=VALUES starts one")
    else:
        rows = [
            (item.id, len(item.members), standing(states[item.id]), item.profile, item.created[:19].replace("T", " "))
            for item in found
        ]
        app.table(("sweep", "points", "state", "profile", "planned (UTC)"), rows)
