"""``forgia vocabulary list``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("word", required=False, default="")
@json_option
@click.pass_obj
def list_(app: App, *, word: str, as_json: bool) -> None:
    """List the concepts, or those that a WORD names in Italian or English.

    \b
    forgia vocabulary list vibrazione
    """
    from forgia.vocabulary import Vocabulary

    found = Vocabulary.load(app.catalogue).search(word)
    if as_json:
        app.show_json({"concepts": [concept.to_json() for concept in found]})
        return
    if not found:
        app.say(f"no concept is named {word!r}; forgia vocabulary list shows all of them")
        return
    rows = [(one.id, one.label["it"], one.label["en"], one.kind, one.unit, one.role) for one in found]
    app.table(("concept", "italiano", "english", "kind", "unit", "role"), rows)
