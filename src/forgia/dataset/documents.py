"""Documents as rows: a file of plain text or Markdown is one; JSON lines are a table of whatever their objects say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pajson

from forgia.dataset.dialect import decode_head, encoding_of
from forgia.dataset.mapping import Entry
from forgia.dataset.source import is_table_name
from forgia.errors import NotFound, UserError

FORMAT = "documents"
MARKDOWN = (".md", ".markdown")
SUFFIXES = (*MARKDOWN, ".txt")
LINES_SUFFIXES = (".jsonl", ".ndjson")
STATED = {"document": Entry(concept="document_id"), "text": Entry(concept="text")}
"""Column → its concept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Some documents, read."""

    path: Path
    """The first file."""
    table: pa.Table
    beside: tuple[Path, ...] = ()
    """The other files."""


def is_meant(paths: Sequence[Path]) -> bool:
    """Whether Markdown is named, or a folder that holds some and no table; a file called ``.txt`` may be a table."""
    return any(map(_is_markdown, paths)) or any(map(_holds_markdown, (path for path in paths if path.is_dir())))


def read(paths: Sequence[Path]) -> Found:
    """Every document of these files and folders, named by its path below the folder.

    Raises: NotFound — no such file. UserError — no document, or a file that is empty or no text.
    """
    named: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            raise NotFound("file", str(path))
        inside = sorted(item for item in path.rglob("*") if _is_document(item)) if path.is_dir() else [path]
        named |= {item: item.relative_to(path if path.is_dir() else path.parent).as_posix() for item in inside}
    if not named:
        raise UserError(f"{paths[0]}: no document; forgia reads {' '.join(SUFFIXES)}")
    table = pa.table({"document": list(named.values()), "text": [text_of(path) for path in named]})
    first, *others = named
    return Found(path=first, table=table, beside=tuple(others))


def text_of(path: Path) -> str:
    """The text of a file. Raises: UserError — it is empty, or no text."""
    data = path.read_bytes()
    text = decode_head(path, data, encoding_of(path, data), complete=True)
    if not text.strip():
        raise UserError(f"{path}: the file is empty")
    return text


def lines(path: Path) -> pa.Table:
    """The objects of a file, one a line, as rows. Raises: UserError — not JSON, or an object holds objects or lists."""
    try:
        table = pajson.read_json(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not JSON lines: {error}") from error
    if nested := [field.name for field in table.schema if pa.types.is_nested(field.type)]:
        raise UserError(f"{path}: columns {', '.join(nested)} are nested; flatten them first")
    if not table.num_rows:
        raise UserError(f"{path}: the file holds no rows")
    return table


def is_lines(path: Path) -> bool:
    """Whether a file's name says that it holds JSON lines."""
    return path.name.lower().endswith(LINES_SUFFIXES)


def _is_markdown(path: Path) -> bool:
    return path.suffix.lower() in MARKDOWN


def _is_document(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _holds_markdown(folder: Path) -> bool:
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    return not any(map(is_table_name, names)) and any(_is_markdown(Path(name)) for name in names)
