"""What a person can say about files to read; shared by the commands that read them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from forgia.dataset.ingest import Terms
    from forgia.vocabulary import Vocabulary
    from forgia_cli.app import App

DELIMITER_WORDS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|", "\\t": "\t"}

_OPTIONS = (
    click.option(
        "--mapping", metavar="FILE", type=click.Path(path_type=Path), help="YAML file that says what columns are."
    ),
    click.option(
        "--keep-unbound",
        is_flag=True,
        help="Keep columns that have no concept as they are; never such as name a label.",
    ),
    click.option(
        "--max-rejects",
        type=click.FloatRange(0, 1),
        default=0.01,
        show_default=True,
        help="Share of rows that may be rejected.",
    ),
    click.option(
        "--format", "form", metavar="NAME", help="cmapss: NASA's run-to-failure files of engines; documents: texts."
    ),
    click.option(
        "--file-column", metavar="NAME", help="Keep the name of each row's file as this column, such as run_id."
    ),
    click.option("--no-header", is_flag=True, help="The first line is data already."),
    click.option("--columns", metavar="A,B,C", help="Names of all columns, instead of the header's."),
    click.option(
        "--delimiter",
        metavar="SIGN",
        help="comma, semicolon, tab, space, pipe or the sign itself (default: seen in the file).",
    ),
    click.option("--decimal", type=click.Choice([".", ","]), help="Decimal sign (default: seen in the file)."),
    click.option(
        "--thousands", metavar="SIGN", help="Sign between thousands; '' for none (default: seen in the file)."
    ),
    click.option("--encoding", metavar="NAME", help="Such as utf-8 or cp1252 (default: seen in the file)."),
    click.option(
        "--time-zone",
        metavar="ZONE",
        default="UTC",
        show_default=True,
        help="Of times without one, such as Europe/Rome.",
    ),
    click.option("--title", default="", help="What the dataset is, in one line."),
    click.option("--licence", default="", help="Under which terms it may be used."),
)


def import_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every option above, in that order."""
    return functools.reduce(lambda inner, option: option(inner), reversed(_OPTIONS), command)


def terms_of(said: Mapping[str, Any], vocabulary: Vocabulary) -> Terms:
    """The terms of an import from the options. Raises: UserError — a mapping file with mistakes, or no such zone."""
    from forgia.dataset import mapping
    from forgia.dataset.dialect import ReadOptions
    from forgia.dataset.ingest import Terms

    read = ReadOptions(
        delimiter=DELIMITER_WORDS.get(said["delimiter"] or "", said["delimiter"]),
        decimal=said["decimal"],
        thousands=said["thousands"],
        encoding=said["encoding"],
        header=not said["no_header"],
        columns=tuple(name.strip() for name in said["columns"].split(",")) if said["columns"] else (),
        time_zone=said["time_zone"],
        format=said["form"],
    )
    entries = mapping.load(said["mapping"], vocabulary) if said["mapping"] else None
    chosen = {key: said[key] for key in ("keep_unbound", "file_column", "max_rejects", "title", "licence")}
    return Terms(read=read, mapping=entries, **chosen)


def vocabulary_of(app: App) -> Vocabulary:
    """The vocabulary of the catalogue in sight."""
    from forgia.vocabulary import Vocabulary

    return Vocabulary.load(app.catalogue)
