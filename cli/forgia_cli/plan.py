"""``forgia plan``: what would be sent, what it costs at worst, and why each value is what it is."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option
from forgia_cli.wish import Wish, go_on_option, wish_options


@click.command()
@wish_options
@go_on_option
@json_option
@click.pass_obj
def plan(app: App, *, wish: Wish, goes_on_from: str, as_json: bool) -> None:
    """Show the exact script, the worst-case cost and the origin of each value; nothing is sent.

    \b
    forgia plan mill-failures --profile slurm-local --set train.epochs=5
    """
    from dataclasses import asdict

    from forgia_cli.planning import (
        budget_sentence,
        cost_sentence,
        environment_sentence,
        learnt_sentences,
        planned,
        rows,
    )

    found = planned(app, wish, goes_on_from=goes_on_from)
    script = app.client.script(found)
    if as_json:
        told = {"origins": dict(found.origins), "cost": asdict(found.cost), "warnings": list(found.warnings)}
        told |= {
            "learns_from": list(found.learnt),
            "left_out": {name: list(refs) for name, refs in found.left_out.items()},
        }
        app.show_json({"identity": found.identity, "request": found.request, **told, "script": script})
        return
    app.table(("field", "value", "from"), list(rows(found)))
    app.out(f"\ndata: {', '.join(found.inputs.values())}")
    for sentence in learnt_sentences(found):
        app.out(sentence)
    app.out(environment_sentence(app.home, found))
    app.out(f"identity: {found.identity}")
    app.out(cost_sentence(found))
    if words := budget_sentence(app, found):
        app.out(words)
    app.out(f"\n{script}")
