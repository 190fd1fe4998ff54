"""``forgia quota setting``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("name", required=False)
@click.argument("value", required=False)
@click.option("--reason", metavar="TEXT", help="Why; needed for a change.")
@json_option
@click.pass_obj
def setting(app: App, *, name: str | None, value: str | None, reason: str | None, as_json: bool) -> None:
    """Show the ledger's settings, or change one. VALUE: JSON, or words with commas between, which make a list.

    four_eyes: the changes that two people make, such as grant,sub_grant,extend,transfer,assign; [] for none.
    unmanaged: cluster → who pays for jobs that forgia did not submit.

    \b
    forgia quota setting four_eyes grant,extend,transfer --reason "rule of the desk"
    forgia quota setting unmanaged '{"leonardo": "leonardo/desk"}' --reason "the desk's own jobs"
    """
    from forgia.errors import UserError
    from forgia.quota import changes
    from forgia_cli.quota.asking import json_or_words, the_office
    from forgia_cli.quota.rendering import tell

    office = the_office(app)
    before = office.ledger.settings()
    if name is None and as_json:
        app.show_json({"settings": dict(before)})
    elif name is None:
        app.table(("setting", "value"), [(key, str(before[key])) for key in sorted(before)])
    elif value is None or not reason:
        raise UserError(f"setting {name}: write its value and --reason", hint="forgia quota setting --help")
    else:
        made = office.make(changes.setting(name, json_or_words(value)), reason=reason)
        tell(app, office, made, did=f"{name}: {before.get(name, 'none')} → {json_or_words(value)}")
