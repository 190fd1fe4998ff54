"""``forgia quota sync``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("site", required=False)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="[ORG=]NAME",
    help="SLURM account that may use the limits' QOS: of all, or of one organisation; may be repeated.",
)
@click.option("--prefix", default="fg_", show_default=True, help="What the names of the QOS begin with.")
@click.option("--plan/--apply", "only_plan", default=True, help="Show what would change (default), or change it.")
@click.option("--reason", metavar="TEXT", help="Why, for the note in the ledger.")
@json_option
@click.pass_obj
def sync(
    app: App,
    *,
    site: str | None,
    accounts: tuple[str, ...],
    prefix: str,
    only_plan: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Write the ledger's budgets into SLURM as limits, a QOS an organisation. For operators of the cluster.

    Nothing is deleted, and no job that runs is ended by it. Safe to repeat: the second time nothing changes.

    \b
    forgia quota sync leonardo --account aifac_p02_042 --apply
    """
    from forgia.quota import sync as library
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.limiting import accounts_of, applied_json, applied_text, plan_json, plan_text

    office = the_office(app)
    planned = library.plan(office, accounts=accounts_of(accounts), site=site, prefix=prefix)
    if only_plan:
        app.show_json(plan_json(planned)) if as_json else app.out(plan_text(planned))
        return
    applied = library.apply(office, planned, reason=reason or library.REASON)
    app.show_json(applied_json(planned, applied)) if as_json else app.out(applied_text(planned, applied))
