"""``forgia quota settle``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.quota.asking import Complaints


@click.command()
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="SLURM account; may be repeated.")
@click.option("--all-accounts", is_flag=True, help="Every account that you may see.")
@click.option("--cluster", metavar="NAME", help="SLURM's name of the cluster; default: the one of this machine.")
@click.option("-p", "--profile", "profiles", multiple=True, metavar="NAME", help="Charges by it where SLURM does not.")
@click.option("--owner", "owners", multiple=True, metavar="ACCOUNT=HOLDER", help="Who pays for jobs of nobody's.")
@json_option
@click.pass_obj
def settle(
    app: App,
    *,
    accounts: tuple[str, ...],
    all_accounts: bool,
    cluster: str | None,
    profiles: tuple[str, ...],
    owners: tuple[str, ...],
    as_json: bool,
) -> None:
    """Charge what SLURM's accounting says was used; safe to repeat, from cron as well. Not more often than every 5 min.

    \b
    forgia quota settle --account aifac_p02_042
    """
    from forgia.quota.window import settle_accounts
    from forgia_cli.quota.asking import the_office
    from forgia_cli.quota.settling import formulas, owners_of, settlement_json, settlement_text

    complaints = Complaints("settle")
    if bool(accounts) == all_accounts:
        complaints.add("--account", "name the accounts, or write --all-accounts")
    pays = complaints.take("--owner", lambda: owners_of(owners))
    complaints.raise_any()
    office = the_office(app)
    found = settle_accounts(
        office.ledger,
        accounts,
        home=app.home,
        by=office.actor,
        now=office.ledger.now(),
        cluster=cluster,
        formulas=formulas(app.client.open_profile(name) for name in profiles),
        owners=pays,
    )
    expired = office.ledger.expire(by=office.actor) if office.actor.role == "staff" else 0
    if as_json:
        app.show_json(settlement_json(found, expired=expired))
    else:
        app.out(settlement_text(found, expired=expired))
