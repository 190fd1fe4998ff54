"""``forgia sweep retry``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("sweep", default="last")
@click.option("--detach", is_flag=True, help="Send, and come back at once.")
@click.pass_obj
def retry(app: App, *, sweep: str, detach: bool) -> None:
    """Send the members that ended without a release once more, as one array of only those; then follow.

    \b
    forgia sweep retry last
    """
    from forgia import sweep as sweeps
    from forgia import sweeping
    from forgia_cli.sweep.following import conclude, follow

    found = sweeps.open_sweep(app.home, sweep)
    sent = sweeping.retry(app.home, found, app.client.scheduler, budget=app.client.budget)
    app.say(f"sweep {found.id}: {sent} of {len(found.members)} sent again")
    if not detach:
        follow(app, found)
        conclude(app, found)
