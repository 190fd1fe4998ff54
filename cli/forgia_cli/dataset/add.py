"""``forgia dataset add``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from forgia_cli.app import App, json_option
from forgia_cli.dataset.options import import_options


@click.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@import_options
@click.option("--owner", metavar="FIRM", help="Who the data belongs to (default: the organisation of the settings).")
@click.option("--dry-run", is_flag=True, help="Show what each column would become and stop.")
@click.option(
    "--write-mapping", metavar="FILE", type=click.Path(path_type=Path), help="Save a mapping file for what is open."
)
@json_option
@click.pass_obj
def add(
    app: App,
    /,
    *,
    name: str,
    paths: tuple[Path, ...],
    owner: str | None,
    dry_run: bool,
    write_mapping: Path | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Read an export (CSV, Parquet, .gz, .zst, or a folder of them), bind its columns to the vocabulary, convert their
    units and store it as the next version of dataset NAME. A folder that holds one folder of images (PNG, JPEG, BMP) a
    class becomes a dataset of images; a table beside them with the columns file, class and part may say more. A folder
    of Markdown becomes a dataset of documents; of .txt, too, with --format documents.

    \b
    forgia dataset add mill-7 export.csv
    forgia dataset add line-3 exports/ --mapping line-3.yaml
    forgia dataset add castings photos/
    forgia dataset add manuals manuals/ --format documents
    """
    from forgia.dataset import ingest
    from forgia_cli.dataset.options import terms_of, vocabulary_of
    from forgia_cli.dataset.view import ask_for, say_files, say_kept, show_added, show_plan

    vocabulary = vocabulary_of(app)
    terms = terms_of(said, vocabulary)
    ask = ask_for(app, vocabulary) if app.is_terminal and not (terms.keep_unbound or dry_run or write_mapping) else None
    plan = ingest.prepare(paths, vocabulary, terms, ask=ask, before=ingest.columns_before(app.home, name))
    say_files(app, plan)
    say_kept(app, plan)
    if write_mapping and plan.open_questions:
        from forgia import store

        store.write_atomic(write_mapping, plan.mapping_text())
        app.say(f"wrote {write_mapping}: check it, then pass it with --mapping {write_mapping}")
    elif write_mapping:
        app.say(f"every column is bound; {write_mapping} was not written")
    if dry_run:
        show_plan(app, plan, as_json=as_json)
        return
    with app.progress(f"reading {name}", plan.size) as advance:
        added = ingest.add(
            app.home,
            name,
            paths,
            owner=owner or app.settings.organisation,
            vocabulary=vocabulary,
            terms=terms,
            plan=plan,
            advance=advance,
        )
    show_added(app, added, as_json=as_json)
