"""``forgia run``: submit, wait, collect."""

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
@click.pass_obj
def run(
    app: App,
    *,
    recipe: str | None,
    profile: str | None,
    account: str | None,
    sets: tuple[str, ...],
    test: bool,
    again: bool,
) -> None:
    """Train, evaluate and register: from a recipe to a versioned model.

    Ctrl-C leaves the run going; the last line says how to come back.

    \b
    forgia run mill-failures --set train.seed=1
    """
    from forgia_cli.following import collected, follow
    from forgia_cli.planning import planned, says

    plan = planned(app, recipe, profile=profile, account=account, sets=sets, test=test)
    says(app, plan)
    started = app.client.start(plan, again=again)
    app.say(following_sentence(started.run_id, str(started.status.state), is_new=started.is_new))
    follow(app, started.run_id)
    collected(app, started.run_id)


def following_sentence(run_id: str, state: str, *, is_new: bool) -> str:
    """What became of the request."""
    if is_new:
        return f"run {run_id}: submitted"
    return f"run {run_id}: this very request has been asked before and is {state} (--again asks for a fresh run)"
