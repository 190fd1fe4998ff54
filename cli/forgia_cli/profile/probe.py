"""``forgia profile probe``: a profile beside the live cluster."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App, json_option


@click.command()
@click.argument("name", required=False)
@click.option("--partition", metavar="NAME", help="Look at this partition instead of the profile's.")
@click.option("--write", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write what was seen to FILE.")
@json_option
@click.pass_obj
def probe(app: App, *, name: str | None, partition: str | None, file: Path | None, as_json: bool) -> None:
    """Compare a profile with the cluster this machine belongs to; one call each of five commands, as a plain user.

    FILE becomes a profile named as the file, verified today; what SLURM does not tell stays as it was.

    \b
    forgia profile probe leonardo-booster --write cluster-profiles/leonardo-mine.yaml
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from forgia import cluster, probe

    chosen = app.client.open_profile(name)
    found = cluster.ask()
    compared = probe.compare(chosen.model_copy(update={"partition": partition}) if partition else chosen, found)
    rows = [(item.field, probe.written(item.profile), probe.written(item.cluster)) for item in compared.differences]
    if as_json:
        told = {"profile": chosen.name, "cluster": found.name, "slurm": found.version, "remarks": compared.remarks}
        app.show_json({**told, "differences": [asdict(item) for item in compared.differences]})
    elif rows:
        app.table(("field", f"{chosen.name} says", f"cluster {found.name or 'here'} says"), rows)
    else:
        app.out(f"{chosen.name}: no difference to what cluster {found.name or 'here'} tells")
    for remark in compared.remarks:
        app.say(f"note: {remark}")
    if file:
        probe.write(file, compared, found, today=datetime.now(UTC).date())
        app.say(f"written: {file}")
