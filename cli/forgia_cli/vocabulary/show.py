"""``forgia vocabulary show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("concept_id", metavar="CONCEPT")
@json_option
@click.pass_obj
def show(app: App, *, concept_id: str, as_json: bool) -> None:
    """Show a concept: its meaning, unit, usual range and the words firms use for it.

    \b
    forgia vocabulary show torque
    """
    from forgia.vocabulary import Vocabulary

    concept = Vocabulary.load(app.catalogue).get(concept_id)
    if as_json:
        app.show_json(concept.to_json())
        return
    facts = concept.to_json()
    for key in ("label", "synonyms"):
        words = facts.pop(key)
        for language, text in words.items():
            facts[f"{key} ({language})"] = ", ".join(text) if isinstance(text, list) else text
    facts["range"] = f"{concept.range[0]:g} to {concept.range[1]:g} {concept.unit or ''}" if concept.range else None
    app.table(("field", "value"), [(key, value) for key, value in facts.items() if value not in (None, "", False)])
