"""``forgia quota alerts``."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App, json_option

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what was told before; nothing is remembered.")
@click.option("--counted", type=FILE, metavar="FILE", help="What the site's own command printed, to compare with.")
@click.option("--counted-by", default="saldo", show_default=True, metavar="COMMAND", help="Which command that was.")
@click.option("--prometheus", type=FILE, metavar="FILE", help="Write metrics for the textfile collector (*.prom).")
@click.option("--ood", type=FILE, metavar="FILE", help="Write Open OnDemand's balance.json: days remaining.")
@click.option("--fail-on", type=click.Choice(("warning", "critical")), help="Exit with 1 if something so grave stands.")
@json_option
@click.pass_obj
def alerts(
    app: App,
    *,
    everything: bool,
    counted: Path | None,
    counted_by: str,
    fail_on: str | None,
    as_json: bool,
    prometheus: Path | None,
    ood: Path | None,
) -> int:
    """Tell what staff should know: budgets nearly or hardly used, ending, frozen; drift; rows nobody could judge.

    One digest a day: each thing is told once until it changes; critical ones at once. For cron: exits with 0.

    \b
    forgia quota alerts --prometheus /var/lib/node_exporter/forgia.prom
    """
    from forgia.quota.alerts import LEVELS, worst
    from forgia_cli.quota import alerting

    watch = alerting.look(app, counted=counted, counted_by=counted_by)
    alerting.publish(watch, prometheus=prometheus, ood=ood)
    told, waiting = (watch.alerts, 0) if everything else alerting.new(app, watch)
    if as_json:
        app.show_json(
            {"alerts": [alert.to_json() for alert in told], "standing": len(watch.alerts), "waiting": waiting}
        )
    else:
        app.out("\n".join(f"{alert.level:<8}  {alert.text}" for alert in told)) if told else None
        app.say(alerting.summary(len(told), len(watch.alerts), waiting))
    gravest = worst(watch.alerts)
    return int(bool(fail_on and gravest) and LEVELS.index(gravest) >= LEVELS.index(fail_on or ""))
