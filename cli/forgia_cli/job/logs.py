"""``forgia job logs``."""

from __future__ import annotations

import click

from forgia_cli.app import App


@click.command()
@click.argument("run", default="last")
@click.option(
    "-f", "--follow", "following", is_flag=True, help="Go on until the run has ended; Ctrl-C leaves it going."
)
@click.option("--rank", type=click.IntRange(0), help="Only this rank.")
@click.option("--attempt", type=click.IntRange(1), help="Only this attempt; default: all.")
@click.pass_obj
def logs(app: App, *, run: str, following: bool, rank: int | None, attempt: int | None) -> None:
    """Print what the ranks wrote, each line with its rank. RUN: an id, its beginning, or last.

    \b
    forgia job logs last -f
    """
    from forgia.logs import LogReader
    from forgia.run import open_run

    paths = open_run(app.home, run)
    reader = LogReader(paths, rank=rank, attempt=attempt)
    try:
        for _ in app.client.wait(paths.root.name) if following else (None,):
            for line in reader.new_lines():
                app.out(line)
        for line in reader.rest():
            app.out(line)
        if not reader.files():
            asked = [
                f"{name} {number}" for name, number in (("attempt", attempt), ("rank", rank)) if number is not None
            ]
            app.say(f"run {paths.root.name}: nothing was written" + (f" by {', '.join(asked)}" if asked else " yet"))
    except KeyboardInterrupt:
        app.say(f"\nrun {paths.root.name} goes on; come back with: forgia job logs {paths.root.name} -f")
        raise
