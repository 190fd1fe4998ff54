"""Watching a run until it ends, and what is said when it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forgia.errors import JobFailed
from forgia.paths import RunPaths
from forgia.run import RunStatus, open_run
from forgia.store import read_json
from forgia.sweep import evaluation
from forgia_cli.app import App


def follow(app: App, run_id: str) -> None:
    """Show progress until the run has ended; Ctrl-C leaves it going. Raises: JobFailed — it ended badly."""
    paths = open_run(app.home, run_id)
    before = ""
    try:
        with app.progress(run_id, total=1.0) as advance:
            done = 0.0
            for status in app.client.wait(run_id):
                if status.state != before:
                    before = status.state
                    app.say(
                        f"run {run_id}: {status.state}{f' (attempt {status.attempt})' if status.attempt > 1 else ''}"
                    )
                share = progress_share(paths)
                advance(max(share - done, 0.0))
                done = max(share, done)
    except KeyboardInterrupt:
        app.say(f"\nrun {run_id} goes on; come back with: forgia job wait {run_id}")
        raise
    if words := app.client.settle():
        app.say(f"warning: {words}")
    if not status.state.is_success:
        raise failure(paths, status)


def failure(paths: RunPaths, status: RunStatus) -> JobFailed:
    """The error that says why and where to read more."""
    log = paths.stderr(status.attempt, 0)
    return JobFailed(
        status.run_id, state=str(status.state), reason=status.reason or "no reason was given", log_path=log
    )


def progress_share(paths: RunPaths) -> float:
    """How much of the planned training is done, by the last line of the metrics; 0 to 1."""
    last = next(metric_lines_backwards(paths), {})
    share = last.get("progress")
    return float(share) if isinstance(share, int | float) else 0.0


def metric_lines_backwards(paths: RunPaths) -> Iterator[dict[str, Any]]:
    """The newest metric lines first, read from the end of the file."""
    import json

    if not paths.metrics.is_file():
        return
    with paths.metrics.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8192))
        tail = file.read().split(b"\n")
    for line in reversed(tail):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def collected(app: App, run_id: str) -> None:
    """Register the release and say what it is and what to do with it."""
    request = read_json(app.home.run(run_id).request)
    found = app.client.finish(run_id)
    ref = f"{request['recipe']['name']}@{found.version}"
    app.out(f"{ref}  {found.digest}")
    if unknown := evaluation(app.home.run(run_id)).get("unknown"):
        app.say(f"note: {unknown}")
    if request.get("test"):
        app.say(f"note: made with small test settings; {found.name} alone means it only while it has no other version")
    is_text = any(role.get("output") == "tokens" for role in request["data"].values())
    use = f"forgia model pull {ref}" if is_text else f"forgia predict {ref} new.csv -o scored.parquet"
    app.say(f"next: forgia model show {ref}  ·  {use}")
