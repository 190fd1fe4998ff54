"""``forgia job show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option

COSTS = ("cost", "speed")
"""Kinds of lines of the metrics that say what an attempt took; the last of them says most."""
UNTOLD = ("t", "kind", "progress")


@click.command()
@click.argument("run", default="last")
@json_option
@click.pass_obj
def show(app: App, *, run: str, as_json: bool) -> None:
    """Show a run: its states with their times, its reason, its latest figures. RUN: an id, its beginning, or last.

    \b
    forgia job show last
    """
    from forgia import causes
    from forgia.run import Journal, State, open_run
    from forgia_cli.following import metric_lines_backwards
    from forgia_cli.job.view import overview

    paths = open_run(app.home, run)
    view = overview(app)
    journal = Journal(paths)
    status = next((found for found in view.statuses if found.run_id == paths.root.name), journal.status())
    metrics = next(metric_lines_backwards(paths), {})
    costs = next((line for line in metric_lines_backwards(paths) if line.get("kind") in COSTS), {})
    if as_json:
        app.show_json(
            {
                "run": status.to_json(),
                "journal": journal.read(),
                "metrics": metrics,
                "costs": costs,
                "folder": str(paths.root),
            }
        )
    else:
        fields = {key: value for key, value in status.to_json().items() if value not in ("", None)}
        app.table(
            ("field", "value"), [*((key, str(value)) for key, value in fields.items()), ("folder", str(paths.root))]
        )
        if status.state in (State.FAILED, State.CANCELLED, State.LOST):
            app.out(
                f"\nwhy: {causes.explain_files(app.home, status.run_id).sentence}  (forgia job why {status.run_id})"
            )
        app.out("")
        rows = [(line["t"], line["event"], line["by"], line["attempt"], detail(line)) for line in journal.read()]
        app.table(("time (UTC)", "event", "by", "attempt", "detail"), rows)
        if metrics and metrics != costs:
            figures = (f"{key} {value}" for key, value in metrics.items() if key not in ("t", "kind"))
            app.out(f"\nlatest figures: {', '.join(figures)}")
        if costs:
            app.out("")
            app.table(
                ("the attempt took", "value"),
                [(named(key), said(value)) for key, value in costs.items() if key not in UNTOLD],
            )
    view.raise_if_unanswered()


def detail(line: dict[str, object]) -> str:
    """What a journal line says beyond its fixed fields."""
    return ", ".join(f"{key}={value}" for key, value in line.items() if key not in ("t", "event", "by", "attempt"))


def named(key: str) -> str:
    """A figure's name for a person: ``samples_per_s`` is told as ``samples per s``."""
    return key.replace("_", " ")


def said(value: object) -> str:
    """Four digits that count."""
    return f"{value:,.4g}" if isinstance(value, int | float) else str(value)
