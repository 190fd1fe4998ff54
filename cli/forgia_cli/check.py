"""``forgia check``: everything that can be known before anything is sent."""

from __future__ import annotations

import click

from forgia_cli.app import App, account_option, profile_option, set_option, test_option


@click.command()
@click.argument("recipe", required=False)
@profile_option
@account_option
@set_option
@test_option
@click.pass_obj
def check(
    app: App, *, recipe: str | None, profile: str | None, account: str | None, sets: tuple[str, ...], test: bool
) -> None:
    """Check a recipe, its data and the fit to the cluster; every problem is listed at once.

    RECIPE is a folder or a name of the catalogue; default: the recipe here.

    \b
    forgia check mill-failures --profile slurm-local
    """
    from forgia_cli.planning import planned, says

    plan = planned(app, recipe, profile=profile, account=account, sets=sets, test=test)
    says(app, plan)
    request = plan.request
    app.out(f"{request['recipe']['name']} {request['recipe']['version']}: ready for {request['profile']['name']}")
