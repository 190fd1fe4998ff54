"""``forgia demo``: the main job, end to end, as a user would type it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from forgia.errors import ForgiaError
from forgia_cli.app import App

FIRMS = ("alfa", "beta", "gamma")
RECIPE = "press-failures"
NEXT = """
What to try next:
  cd {folder}{activate}
  forgia model show {recipe}                       figures, data, recipe and files of the model
  forgia dataset show beta                         what an Italian export became
  forgia plan {recipe} --profile leonardo-booster --account NAME --set resources.gpus_per_node=1
  forgia run {recipe} --set train.seed=1           another seed: another version
  forgia dataset add mine /path/to/export.csv      your own data; then
  forgia init my-failures --from predictive-maintenance --data mine && forgia run my-failures
"""


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default="forgia-demo", show_default=True, help="Where.")
@click.pass_obj
def demo(app: App, *, folder: Path) -> None:
    """The whole way on generated data of three firms: exports, datasets, recipe, run, model, prediction.

    Everything stays in one folder; run it again and it goes on where it stood.

    \b
    forgia demo --folder /tmp/forgia-demo
    """
    from forgia import samples, store

    place = store.private_directory(folder.absolute())
    exports = store.private_directory(place / "exports")
    generator = app.catalogue.generator("three-firms")
    app.say(f"Three firms, three exports of the same kind of machine, each in its own way: {exports}")
    files = {path.name.partition(".")[0]: path for path in samples.generate(generator, exports)}
    store.write_atomic(place / "forgia.toml", 'home = "home"\n')
    os.chdir(place)
    for name in [name for name in os.environ if name.startswith("FORGIA_")]:
        del os.environ[name]  # the folder's own settings hold
    for firm in FIRMS:
        step(app, "dataset", "add", firm, str(files[firm].relative_to(place)), "--owner", firm)
    if not (place / RECIPE).exists():
        bound = [part for firm in FIRMS for part in ("--data", firm)]
        step(app, "init", RECIPE, "--from", "predictive-maintenance", *bound)
    step(app, "check", RECIPE)
    step(app, "run", RECIPE)
    step(app, "model", "show", RECIPE)
    fresh = {path.name: path for path in samples.generate(generator, store.private_directory(place / "new"), seed=1)}
    step(app, "predict", RECIPE, str(fresh[files["beta"].name].relative_to(place)), "-o", "scored.parquet")
    app.say(NEXT.format(folder=place, recipe=RECIPE, activate=activation()))


def activation() -> str:
    """The line that puts ``forgia`` on the path, where it is not."""
    script = Path(sys.prefix) / "bin" / "activate"
    return f"\n  . {script}" if shutil.which("forgia") is None and script.is_file() else ""


def step(app: App, *arguments: str) -> None:
    """Show a command as one would type it, and run it. Raises: ForgiaError — it failed, and has said why."""
    from forgia_cli.main import invoke

    app.say(f"\n$ forgia {shlex.join(arguments)}")
    code = invoke(list(arguments))
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise ForgiaError(f"the demo stopped at: forgia {shlex.join(arguments)}")
