"""``forgia collect``: from outboxes to the registry."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("run", required=False)
@click.pass_obj
def collect(app: App, *, run: str | None) -> None:
    """Put finished releases into the registry, all of them or that of one RUN, and settle their budgets. Repeatable.

    \b
    forgia collect
    """
    from forgia.errors import ClusterError
    from forgia.run import open_run
    from forgia_cli.following import collected

    if run is not None:
        collected(app, open_run(app.home, run).root.name)
        return
    done, complaints = app.client.collect_finished()
    if words := app.client.settle():
        complaints.append(words)
    for release in done:
        app.out(f"{release.name}@{release.version}  {release.digest}")
    if not done and not complaints:
        app.say("nothing to collect")
    if complaints:
        raise ClusterError("; ".join(complaints), transient=True, hint="forgia collect again in a moment")
