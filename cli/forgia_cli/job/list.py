"""``forgia job list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.option("--open", "only_open", is_flag=True, help="Only runs that have not ended.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@click.option("-a", "--all", "unfold", is_flag=True, help="A line for each member of a sweep, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print run ids only.")
@json_option
@click.pass_obj
def list_(app: App, *, only_open: bool, limit: int, unfold: bool, quiet: bool, as_json: bool) -> None:
    """List the runs, newest first; a sweep is one line.

    \b
    forgia job list --open
    """
    from forgia_cli.job.view import overview

    view = overview(app)
    found = sorted(view.statuses, key=lambda status: status.planned, reverse=True)
    wanted = [status for status in found if not only_open or not status.state.is_final]
    shown = wanted[:limit]
    if as_json:
        app.show_json({"runs": [status.to_json() for status in shown], "unanswered": list(view.unanswered)})
    elif quiet:
        app.out("\n".join(status.run_id for status in shown))
    elif not shown:
        app.say("no run is open" if found else "no runs yet; forgia run starts one")
    else:
        from forgia_cli.sweep.folding import lines

        rows = lines(app.home, wanted, unfold=unfold)
        app.table(("run", "state", "attempt", "profile", "job", "planned (UTC)", "result"), rows[:limit])
        if len(rows) > limit and not only_open:
            app.say(f"{len(rows) - limit} older runs; -n shows more")
    view.raise_if_unanswered()
