"""``forgia sweep show``."""

from __future__ import annotations

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("sweep", default="last")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with every digit.")
@json_option
@click.pass_obj
def show(app: App, *, sweep: str, as_csv: bool, as_json: bool) -> None:
    """Show a sweep: each point with its figures, state and run. SWEEP: an id, its beginning, or last.

    \b
    forgia sweep show last --csv > points.csv
    """
    from forgia import status
    from forgia import sweep as sweeps
    from forgia_cli.sweep.following import say_failures, standing, table

    found = sweeps.open_sweep(app.home, sweep)
    view = status.overview(app.home, app.client.scheduler, only=found.run_ids)
    results = sweeps.results(app.home, found)
    winner = sweeps.best(results, is_lower_better=found.is_lower_better)
    if as_json:
        best = winner.to_json() if winner else None
        points = [result.to_json() for result in results]
        about = {key: value for key, value in found.to_json().items() if key not in ("members", "schema_version")}
        app.show_json({"sweep": about, "points": points, "best": best, "unanswered": list(view.unanswered)})
    elif as_csv:
        app.out(csv_of(sweeps.headers(found.axes, found.primary), sweeps.rows(results)))
    else:
        table(app, found, results)
        app.say(f"sweep {found.id}: {standing(result.state for result in results)}")
        if all(result.state.is_final for result in results):
            say_failures(app, found, results)
        if winner:
            app.say(f"best: {winner.run_id}{f' ({found.recipe}@{winner.version})' if winner.version else ''}")
    if view.unanswered:
        from forgia.errors import ClusterError

        raise ClusterError("; ".join(view.unanswered), transient=True, hint="the states shown are the last known ones")


def csv_of(headers: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A table as CSV; what is not known is empty."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")
