"""Blocks of CSV text into Arrow batches: Arrow's reader for what is right, a second look at what is not.

A block that Arrow refuses is cut into pieces, and only the pieces it refuses too are read as text and converted column
by column, so that each bad row is found with its line and every reason, and the good rows beside it are kept.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from forgia.dataset import convert
from forgia.dataset.blocks import Block, cut
from forgia.dataset.convert import Target
from forgia.dataset.dialect import MISSING, Dialect
from forgia.dataset.kinds import FALSE_WORDS, TRUE_WORDS

PIECE_BYTES = 128 << 10
NULLS = sorted(MISSING)
TRUE_SPELLINGS, FALSE_SPELLINGS = (
    sorted({spelling for word in words for spelling in (word, word.upper(), word.capitalize())})
    for words in (TRUE_WORDS, FALSE_WORDS)
)
LONGEST_LINES = 50
"""Lines that one row may have in a block that needed a second look."""
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
LONGEST_TEXT = 500
"""Characters of a rejected row that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row that did not parse."""

    source: str
    line: int | None
    """Counted from 1; for Parquet the number of the row; None for a file that has none."""
    reason: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One column to take from a source."""

    index: int
    """Its place in the file, from 0."""
    header: str
    name: str
    """Its name in the batches."""
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a block became."""

    batch: pa.RecordBatch
    rejects: tuple[Reject, ...] = ()


class Parser:
    """Parses the blocks of one file; safe to call from several threads."""

    def __init__(self, source: str, dialect: Dialect, fields: Sequence[Field]) -> None:
        self.source, self.dialect, self.fields = source, dialect, tuple(fields)
        self.width = len(dialect.header)
        self.schema = pa.schema([(field.name, field.target.type) for field in fields])
        self._names = [str(index) for index in range(self.width)]

    def parse(self, block: Block) -> Parsed:
        """Rows and rejects of a block, in order."""
        data = squeezed(block.data) if self.dialect.delimiter == " " else block.data
        try:
            if data.count(b'"') % 2 or b"\0" in data:
                raise pa.ArrowInvalid("needs a second look")
            return Parsed(batch=self._typed(data))
        except pa.ArrowInvalid:
            return self._piecewise(Block(data=data, line=block.line))

    def _typed(self, data: bytes) -> pa.RecordBatch:
        """All rows at once. Raises: ArrowInvalid — at least one row is not right."""
        if data.isspace() or not data:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        types = {str(field.index): convert.csv_type(field.target) for field in self.fields}
        table = self._read(data, types, None)
        if b'"' in data and table.num_rows != rows_expected(data):
            raise pa.ArrowInvalid("values over several lines, or quotation marks that hide rows")
        arrays = []
        for field in self.fields:
            values = merged(table.column(str(field.index)))
            if values.type == field.target.type or not convert.is_text(values.type):
                arrays.append(convert.finish(values, field.target))
                continue
            converted, bad = convert.from_texts(values, field.target)
            if bad is not None:
                raise pa.ArrowInvalid(f"column {field.header}")
            arrays.append(converted)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _read(self, data: bytes, types: dict[str, pa.DataType], handler: object | None) -> pa.Table:
        return pcsv.read_csv(
            pa.BufferReader(data),
            pcsv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(data) + 1),
            pcsv.ParseOptions(delimiter=self.dialect.delimiter, newlines_in_values=True, invalid_row_handler=handler),
            pcsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=NULLS,
                strings_can_be_null=True,
                decimal_point=self.dialect.decimal,
                true_values=TRUE_SPELLINGS,
                false_values=FALSE_SPELLINGS,
            ),
        )

    def _piecewise(self, block: Block) -> Parsed:
        batches: list[pa.RecordBatch] = []
        rejects: list[Reject] = []
        for piece in pieces(block):
            try:
                if piece.data.count(b'"') % 2 or b"\0" in piece.data:
                    raise pa.ArrowInvalid("needs a second look")
                batches.append(self._typed(piece.data))
            except pa.ArrowInvalid:
                batch, found = self._row_by_row(piece)
                batches.append(batch)
                rejects += found
        table = pa.Table.from_batches(batches, schema=self.schema)
        return Parsed(batch=whole(table), rejects=tuple(rejects))

    def _row_by_row(self, piece: Block) -> tuple[pa.RecordBatch, list[Reject]]:
        rejects: list[Reject] = []
        rows: list[tuple[int, list[str], str]] = []
        for line, raw in records(piece, self.dialect.delimiter):
            row = self._cells(raw)
            if isinstance(row, str):
                rejects.append(self._reject(line, row, raw))
            elif row:
                rows.append((line, row, raw.decode("utf-8", "replace")))
        arrays: list[pa.Array] = []
        reasons: list[list[str]] = [[] for _ in rows]
        for field in self.fields:
            cells = (row[field.index] for _, row, _ in rows)
            texts = pa.array([None if cell in MISSING else cell for cell in cells], pa.string())
            values, bad = convert.from_texts(texts, field.target)
            arrays.append(values)
            for place in pc.indices_nonzero(bad).to_pylist() if bad is not None else ():
                reasons[place].append(f"{field.header}: {texts[place].as_py()!r} is not {field.target.what}")
        rejects += [
            self._reject(line, "; ".join(why), text) for (line, _, text), why in zip(rows, reasons, strict=True) if why
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        kept = batch.filter(pa.array([not why for why in reasons], pa.bool_()))
        return kept, sorted(rejects, key=lambda reject: reject.line or 0)

    def _cells(self, raw: bytes) -> list[str] | str:
        """The values of a row, or why it has none."""
        if b"\0" in raw:
            return "holds a NUL byte"
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"not UTF-8 text: {error.reason} at byte {error.start}"
        rows = strict_rows(text, self.dialect.delimiter)
        if isinstance(rows, str):
            return f"quotation marks do not match: {rows}"
        row = rows[0] if rows else []
        return row if len(row) in (0, self.width) else f"{len(row)} values instead of {self.width}"

    def _reject(self, line: int, reason: str, raw: bytes | str) -> Reject:
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        return Reject(source=self.source, line=line, reason=reason, text=text.rstrip("\r\n")[:LONGEST_TEXT])


def pieces(block: Block) -> Iterator[Block]:
    """A block cut further at the ends of rows."""
    start, line = 0, block.line
    while start < len(block.data):
        part = block.data[start : start + PIECE_BYTES]
        end = len(part) if start + PIECE_BYTES >= len(block.data) else cut(part) or len(block.data) - start
        part = block.data[start : start + end]
        yield Block(data=part, line=line)
        line += part.count(b"\n")
        start += end


def records(piece: Block, delimiter: str = ",") -> Iterator[tuple[int, bytes]]:
    """Rows with their line number; a row goes on over lines only where its quotation marks then match.

    A mark that is never closed costs its own line, not the rows below it.
    """
    lines = piece.data.splitlines(keepends=True) if b"\n" not in piece.data else _LINES.findall(piece.data)
    place = 0
    while place < len(lines):
        end = place + 1
        if lines[place].count(b'"') % 2 and not is_row(lines[place], delimiter):
            ends = range(end + 1, min(end + LONGEST_LINES, len(lines)) + 1)
            end = next((n for n in ends if is_row(b"".join(lines[place:n]), delimiter)), end)
        yield piece.line + place, b"".join(lines[place:end])
        place = end


def is_row(raw: bytes, delimiter: str) -> bool:
    """Whether these bytes are one row."""
    rows = strict_rows(raw.decode("utf-8", "replace"), delimiter)
    return not isinstance(rows, str) and len(rows) == 1


def strict_rows(text: str, delimiter: str) -> list[list[str]] | str:
    """The rows of a text, empty lines left out; why not, where its quotation marks do not match."""
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        return str(error)


def rows_expected(data: bytes) -> int:
    """Lines that are not empty."""
    if b"\n\n" not in data and b"\n\r\n" not in data and not data.startswith((b"\n", b"\r")):
        return data.count(b"\n") + (not data.endswith(b"\n"))
    plain = data.replace(b"\r", b"").lstrip(b"\n")
    doubled = sum(len(run) - 1 for run in re.findall(rb"\n{2,}", plain))
    return plain.count(b"\n") - doubled + (not plain.endswith(b"\n"))


def squeezed(data: bytes) -> bytes:
    """Lines of values parted by runs of spaces, with one space between and none around."""
    return re.sub(rb"(?m)^ +| +(?=\r?$)", b"", re.sub(rb"[ \t]+", b" ", data))


def merged(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def whole(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    found = table.combine_chunks().to_batches()
    return found[0] if found else pa.RecordBatch.from_pylist([], schema=table.schema)
