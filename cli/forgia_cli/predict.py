"""``forgia predict``."""

from __future__ import annotations

from pathlib import Path

import click

from forgia_cli.app import App

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
PLACE = click.Path(path_type=Path, exists=True)


@click.command(short_help="Score new data with a registered model.")
@click.argument("model")
@click.argument("sources", metavar="INPUT...", nargs=-1, required=True, type=PLACE)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Parquet, or CSV by its suffix.")
@click.option("--threshold", type=float, help="Probability or score from which it is a yes; default: the model's own.")
@click.option("--mapping", type=FILE, help="What the input's columns are, where their headers do not tell.")
@click.option("--format", "form", metavar="NAME", help="cmapss: NASA's run-to-failure files of engines.")
@click.pass_obj
def predict(
    app: App,
    /,
    *,
    model: str,
    sources: tuple[Path, ...],
    output: Path,
    threshold: float | None,
    mapping: Path | None,
    form: str | None,
) -> None:
    """Score the rows of INPUT with a registered model; every byte of the model is checked first.

    INPUT is read as forgia dataset add reads: other headers, units and formats are bound to the model's columns. For a
    model of images it is image files, or folders of them. A bare name of a model means its latest version that is not
    of a run with --test, if there is one.

    \b
    forgia predict mill-failures@1.0.0 new.csv -o scored.parquet
    forgia predict castings@1.0.0 photos/ -o classes.csv
    """
    from forgia.dataset.dialect import ReadOptions
    from forgia.dataset.mapping import load as load_mapping
    from forgia.registry.models import find_model
    from forgia.scoring import load_release, score_file, score_images
    from forgia.vocabulary import Vocabulary
    from forgia_cli.model.rendering import scored_text, test_warning

    found = find_model(app.home, app.settings.organisation, model)
    if found.is_test:
        app.say(test_warning(found.ref))
    loaded = load_release(app.home, app.settings.organisation, found.ref)
    loaded.threshold(threshold)
    if loaded.spec.samples["kind"] == "images":
        with app.progress("looking at images") as advance:
            seen = score_images(loaded, sources, output, threshold=threshold, advance=advance)
        app.say(scored_text(seen))
        return
    if len(sources) > 1 or sources[0].is_dir():
        raise click.UsageError(f"{model} reads one table; name one file")
    source, vocabulary = sources[0], Vocabulary.load(app.catalogue)
    entries = load_mapping(mapping, vocabulary) if mapping else None
    with app.progress(f"scoring {source.name}", source.stat().st_size) as advance:
        done = score_file(
            loaded,
            source,
            output,
            vocabulary=vocabulary,
            threshold=threshold,
            mapping=entries,
            options=ReadOptions(format=form, is_import=False),
            advance=advance,
        )
    if done.unused:
        app.say(f"not used, and not in the output: {', '.join(map(repr, done.unused))}")
    app.say(scored_text(done))
