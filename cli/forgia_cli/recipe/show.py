"""``forgia recipe show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("recipe", required=False)
@json_option
@click.pass_obj
def show(app: App, *, recipe: str | None, as_json: bool) -> None:
    """Show what a recipe wants of the data, which knobs it has, and how it is judged.

    \b
    forgia recipe show predictive-maintenance
    """
    folder = app.client.open_recipe(recipe)
    found = folder.recipe
    if as_json:
        app.show_json({"recipe": found.model_dump(mode="json"), "folder": str(folder.root)})
        return
    app.out(f"{found.name} {found.version}: {found.title}\n{found.summary}\n")
    for role, binding in found.data.items():
        app.out(f"data {role}: {', '.join(binding.bound) or f'nothing bound; sample {binding.sample}'}")
        columns = binding.contract.columns
        app.table(
            ("concept", "role", "kind", "unit", "required"),
            [(c.concept, c.role, c.kind, c.unit, "yes" if c.required else "no") for c in columns],
        )
    app.out("")
    app.table(("parameter", "default", "meaning"), [(n, str(p.default), p.help) for n, p in found.params.items()])
    against = ", ".join(found.evaluate.baselines) or "none"
    app.out(f"\njudged by {', '.join(found.evaluate.metrics)}; baseline: {against}")
