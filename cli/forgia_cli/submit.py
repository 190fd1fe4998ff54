"""``forgia submit``: send and come back at once."""

from __future__ import annotations

import click

from forgia_cli.app import App, account_option, profile_option, set_option, test_option


@click.command()
@click.argument("recipe", required=False)
@profile_option
@account_option
@set_option
@test_option
@click.option("--again", is_flag=True, help="A fresh run even if this very request has run before.")
@click.option("-q", "--quiet", is_flag=True, help="Print the run id only.")
@click.pass_obj
def submit(
    app: App,
    *,
    recipe: str | None,
    profile: str | None,
    account: str | None,
    sets: tuple[str, ...],
    test: bool,
    again: bool,
    quiet: bool,
) -> None:
    """Send a recipe to the scheduler and come back at once.

    \b
    forgia submit mill-failures --profile slurm-local
    """
    from forgia_cli.planning import planned, says
    from forgia_cli.run import following_sentence

    plan = planned(app, recipe, profile=profile, account=account, sets=sets, test=test)
    says(app, plan)
    started = app.client.start(plan, again=again)
    if quiet:
        app.out(started.run_id)
        return
    app.out(following_sentence(started.run_id, str(started.status.state), is_new=started.is_new))
    app.say(f"next: forgia job wait {started.run_id}")
