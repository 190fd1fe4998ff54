"""Sources opened for reading: what their columns are, and their rows as Arrow batches with the rejects beside."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forgia import units
from forgia.dataset import cmapss, convert, documents
from forgia.dataset.binding import Ask, Binding, Bindings, bind, resolve
from forgia.dataset.blocks import Block, blocks
from forgia.dataset.convert import TIME_TYPE, Target
from forgia.dataset.dialect import Dialect, ReadOptions, sniff, split_lines
from forgia.dataset.kinds import FALSE_WORDS, TRUE_WORDS, Look, look
from forgia.dataset.manifest import Column
from forgia.dataset.mapping import Entry
from forgia.dataset.naming import Matched, matched
from forgia.dataset.parse import Field, Parsed, Parser, Reject, merged
from forgia.dataset.source import HashedFile, decompressed, expand, format_of
from forgia.errors import ForgiaError, UserError, nearest
from forgia.vocabulary import Vocabulary, plain

HEAD_BYTES = 1 << 20
SAMPLE_ROWS = 2000
BATCH_ROWS = 131_072
NOWHERE = -1
"""Place of a column that the file itself does not hold."""
UNIT_KEY = b"unit"
"""Key of the metadata of a Parquet column under which its unit stands."""
Progress = Callable[[int], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file whose beginning was read."""

    path: Path
    format: str
    dialect: Dialect
    looks: Mapping[str, Look]
    """Header → what its values look like, in the file's order."""
    stated: Mapping[str, Entry] = field(default_factory=dict)
    """Header → the unit that the file states beside its headers, as forgia's own Parquet does, or what its format says
    of it."""
    table: pa.Table | None = field(default=None, compare=False)
    """Its rows, where the format is read as a whole."""
    beside: tuple[Path, ...] = ()
    """Other files that its rows come from."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Header → the value that all its rows have in a column that the file itself does not hold."""


def open_sources(paths: Iterable[Path], options: ReadOptions, *, complete: bool = False) -> list[Opened]:
    """Open the table files that these files and folders mean.

    Args: complete — answers are wanted, too, where the format keeps them in files of their own.
    Raises: UserError — as ``inspect``; NotFound — no such file.
    """
    named = list(paths)
    if options.format == documents.FORMAT or (options.format is None and documents.is_meant(named)):
        return [of_table(documents.read(named), documents.FORMAT, documents.STATED)]
    found = expand(named)
    if options.format == cmapss.FORMAT:
        read = cmapss.read(found, complete=complete)
        return [of_table(item, cmapss.FORMAT, cmapss.STATED) for item in read]
    return [inspect(path, options) for path in found]


def of_table(found: cmapss.Found | documents.Found, kind: str, stated: Mapping[str, Entry]) -> Opened:
    """A file whose format was read as a whole."""
    names = tuple(found.table.column_names)
    return Opened(
        path=found.path,
        format=kind,
        dialect=Dialect(encoding="", delimiter="", decimal=".", thousands="", header=names, skip=0, line=1),
        looks={name: look_of(merged(found.table.column(name)).slice(0, SAMPLE_ROWS)) for name in names},
        stated={name: stated[name] for name in names if name in stated},
        table=found.table,
        beside=found.beside,
    )


def inspect(path: Path, options: ReadOptions) -> Opened:
    """Read the beginning of a file. Raises: UserError — empty, no table, or a header that cannot be used."""
    kind = format_of(path)
    if kind == "parquet":
        return inspect_parquet(path)
    if documents.is_lines(path):
        return of_table(documents.Found(path=path, table=documents.lines(path)), "jsonl", {})
    head, complete = read_head(path, kind)
    try:
        dialect = sniff(path, head, options, complete=complete)
    except UserError as error:
        raise error if str(path) in error.message else UserError(f"{path}: {error.message}", hint=error.hint) from error
    rows = sample_rows(head, dialect, complete=complete)
    if not rows:
        raise UserError(f"{path}: the file has a header and no rows")
    looks = {
        name: look([row[place] for row in rows], decimal=dialect.decimal, thousands=dialect.thousands)
        for place, name in enumerate(dialect.header)
    }
    return Opened(path=path, format=kind, dialect=dialect, looks=looks)


def read_head(path: Path, kind: str) -> tuple[bytes, bool]:
    """The first bytes (decompressed) and whether they are all. Raises: UserError — damaged."""
    file = HashedFile(path)
    try:
        stream = decompressed(file, kind)
        head = b""
        while len(head) <= HEAD_BYTES and (part := stream.read(HEAD_BYTES + 1 - len(head))):
            head += part
    except OSError as error:
        raise UserError(f"{path}: damaged or cut short: {error}") from error
    finally:
        file.release()
    if not head:
        raise UserError(f"{path}: the file is empty")
    return head[:HEAD_BYTES], len(head) <= HEAD_BYTES


def sample_rows(head: bytes, dialect: Dialect, *, complete: bool) -> list[list[str]]:
    """Rows of the beginning that have the right width, evenly taken."""
    text = (
        head.decode(dialect.encoding, "replace")
        .removeprefix("\ufeff")
        .encode()[dialect.skip :]
        .decode("utf-8", "replace")
    )
    lines = text.split("\n")
    kept = [line + "\n" for line in (lines if complete else lines[:-1])]
    step = max(1, len(kept) // SAMPLE_ROWS) if '"' not in text else 1
    rows = split_lines(kept[::step][: SAMPLE_ROWS * 2], dialect.delimiter)
    return [row for row, _ in rows if len(row) == len(dialect.header) and any(row)]


def inspect_parquet(path: Path) -> Opened:
    """Read the schema and the first rows of a Parquet file. Raises: UserError — damaged or nested."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            head = next(file.iter_batches(batch_size=SAMPLE_ROWS), None)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: damaged Parquet file: {error}") from error
    if head is None or head.num_rows == 0:
        raise UserError(f"{path}: the file holds no rows")
    if nested := [field.name for field in schema if pa.types.is_nested(field.type)]:
        raise UserError(f"{path}: columns {', '.join(nested)} are nested; flatten them first")
    dialect = Dialect(encoding="", delimiter="", decimal=".", thousands="", header=tuple(schema.names), skip=0, line=1)
    looks = {field.name: look_of(head.column(place)) for place, field in enumerate(schema)}
    stated = {item.name: Entry(unit=unit) for item in schema if (unit := unit_of(item))}
    return Opened(path=path, format="parquet", dialect=dialect, looks=looks, stated=stated)


def unit_metadata(unit: str | None) -> dict[bytes, bytes] | None:
    """How a Parquet column states its unit."""
    return {UNIT_KEY: unit.encode()} if unit else None


def unit_of(item: pa.Field) -> str | None:
    """The unit that a Parquet column states. Nothing where that is no unit."""
    unit = (item.metadata or {}).get(UNIT_KEY, b"").decode("utf-8", "replace")
    return unit if unit and units.is_known(unit) else None


def look_of(values: pa.Array) -> Look:
    """What a typed column looks like."""
    if pa.types.is_temporal(values.type):
        return Look(kind="time", times="iso")
    if pa.types.is_boolean(values.type):
        return Look(kind="boolean", words=frozenset(("0", "1")), boolean_share=1.0)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if values.null_count == len(values):
        return Look(kind="")
    found = look([None if item is None else str(item) for item in values.to_pylist()], decimal=".", thousands="")
    return replace(found, kind="number", numeric_share=1.0) if convert.is_numeric(values.type) else found


def target_of(binding: Binding, opened: Opened, options: ReadOptions, *, fixed: Column | None = None) -> Target:
    """What a bound column's values become; ``fixed`` is the column of a dataset it has to equal."""
    unit = fixed.unit if fixed else (binding.concept.unit if binding.concept else binding.unit)
    conversion = units.Conversion()
    if binding.concept and unit and binding.unit:
        conversion = units.conversion(binding.unit, unit)
    kind = fixed.kind if fixed else binding.kind
    counted = kind == "number" and binding.look.integer and whole_numbers(binding)
    integer = fixed.dtype == "int64" if fixed else counted
    types = {"number": pa.int64() if integer else pa.float64(), "boolean": pa.bool_(), "time": TIME_TYPE}
    return Target(
        kind=kind,
        type=types.get(kind, pa.string()),
        decimal=opened.dialect.decimal,
        thousands=opened.dialect.thousands,
        times=binding.look.times,
        zoned=binding.look.zoned,
        time_zone=options.time_zone,
        adverse=bool(binding.concept and binding.concept.adverse),
        plain=bool(binding.look.words) and binding.look.words <= TRUE_WORDS | FALSE_WORDS and not binding.true_values,
        true_values=binding.true_values,
        trim=binding.look.padded,
        conversion=conversion,
    )


def whole_numbers(binding: Binding) -> bool:
    """Whether integers in the sample promise integers for ever: counts and identifiers do, measurements do not."""
    if binding.concept:
        return not binding.concept.needs_unit and binding.concept.role in ("identifier", "counter")
    return (binding.look.high or 0) > 2**53 or (binding.look.low or 0) < -(2**53)


def rows_of(
    opened: Opened, fields: Sequence[Field], *, file: HashedFile, threads: int | None = None
) -> Iterator[Parsed]:
    """All rows of a file in order, parsed in parallel, a few blocks ahead of the reader."""
    if opened.constants:
        own = [field for field in fields if field.header not in opened.constants]
        bare = replace(opened, constants={})
        yield from (_with_constants(one, opened, fields) for one in rows_of(bare, own, file=file, threads=threads))
        return
    if opened.format == "parquet":
        yield from parquet_rows(opened, fields, file)
        return
    if opened.table is not None:
        yield from converted(opened, fields, opened.table.to_batches(BATCH_ROWS))
        file.digest()
        return
    parser = Parser(str(opened.path), opened.dialect, fields)
    stream = decompressed(file, opened.format)
    workers = threads or min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="forgia-parse") as pool:
        yield from in_order(pool, parser.parse, blocks(opened.path, stream, opened.dialect), ahead=workers + 1)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[Block], Parsed], items: Iterator[Block], *, ahead: int
) -> Iterator[Parsed]:
    """Results in the order of the items, never more than ``ahead`` of them under way."""
    waiting: deque[Future[Parsed]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def parquet_rows(opened: Opened, fields: Sequence[Field], file: HashedFile) -> Iterator[Parsed]:
    """Rows of a Parquet file; the digest is taken in a second pass, since Parquet is read from its end."""
    with pq.ParquetFile(opened.path) as source:
        columns = [field.header for field in fields]
        yield from converted(opened, fields, source.iter_batches(batch_size=BATCH_ROWS, columns=columns))
    file.digest()


def converted(opened: Opened, fields: Sequence[Field], batches: Iterable[pa.RecordBatch]) -> Iterator[Parsed]:
    """Typed rows as the dataset keeps them, with the rejects beside."""
    first = 1
    schema = pa.schema([(field.name, field.target.type) for field in fields])
    for batch in batches:
        arrays: list[pa.Array] = []
        reasons: dict[int, list[str]] = {}
        for item in fields:
            values, bad = convert.from_values(batch.column(item.header), item.target)
            arrays.append(values)
            for place in pc.indices_nonzero(bad).to_pylist() if bad is not None else ():
                found = batch.column(item.header)[place].as_py()
                reasons.setdefault(place, []).append(f"{item.header}: {found!r} is not {item.target.what}")
        rejects = tuple(
            Reject(
                source=str(opened.path),
                line=first + place,
                reason="; ".join(why),
                text=str(batch.slice(place, 1).to_pylist()[0]),
            )
            for place, why in sorted(reasons.items())
        )
        rows = pa.RecordBatch.from_arrays(arrays, schema=schema)
        if reasons:
            rows = rows.filter(pa.array([place not in reasons for place in range(batch.num_rows)], pa.bool_()))
        yield Parsed(batch=rows, rejects=rejects)
        first += batch.num_rows


def _with_constants(parsed: Parsed, opened: Opened, fields: Sequence[Field]) -> Parsed:
    """The columns that the file itself does not hold put where they belong."""
    rows = parsed.batch.num_rows
    arrays = [
        pa.repeat(pa.scalar(opened.constants[field.header], field.target.type), rows)
        if field.header in opened.constants
        else parsed.batch.column(field.name)
        for field in fields
    ]
    schema = pa.schema([(field.name, field.target.type) for field in fields])
    return replace(parsed, batch=pa.RecordBatch.from_arrays(arrays, schema=schema))


def fields_of(opened: Opened, bindings: Bindings, names: Sequence[str], options: ReadOptions) -> list[Field]:
    """The columns to take from a file, in its order."""
    places = {header: place for place, header in enumerate(opened.dialect.header)}
    used = [binding for binding in bindings.bound if not binding.ignored]
    return [
        Field(
            index=places.get(binding.header, NOWHERE),
            header=binding.header,
            name=name,
            target=target_of(binding, opened, options),
        )
        for binding, name in zip(used, names, strict=True)
    ]


def read_bound(
    paths: Sequence[Path] | Path,
    columns: Sequence[Column],
    *,
    vocabulary: Vocabulary,
    optional: Sequence[str] = (),
    options: ReadOptions | None = None,
    mapping: Mapping[str, Entry] | None = None,
    ask: Ask | None = None,
    origins: Sequence[Column] = (),
    on_bound: Callable[[Bindings, Sequence[Field]], Any] | None = None,
    on_reject: Callable[[Reject], Any] | None = None,
    advance: Progress | None = None,
) -> Iterator[pa.RecordBatch]:
    """New rows with the columns of an existing dataset, found by concept whatever this file calls them.

    Args: columns — the dataset's, in the order wanted; optional — names that may be missing (such as the target);
    origins — the same columns as other datasets tell of them; on_bound — told what a file's columns are, and which of
    them are read. Several columns of a concept are told apart by their headers, then by the numbers in them.
    Units: the columns' own. Columns that the file does not have, and may miss, are left out.
    Raises: UserError — a column is missing, ambiguous or in a unit that contradicts it; before the first batch.
    """
    plans = []
    known = [*columns, *origins]
    for opened in open_sources([paths] if isinstance(paths, Path) else paths, options or ReadOptions()):
        path = opened.path
        entries = {**opened.stated, **as_known(opened, known, vocabulary), **(mapping or {})}
        found = bind(opened.looks, vocabulary, mapping=entries, ask=ask, path=str(path))
        used = [binding for binding in found.bound if not binding.ignored]
        same = matched(used, columns, vocabulary, origins=origins)
        if missing := [one for one in columns if one.name not in same.found and one.name not in optional]:
            raise _missing(path, missing, found, same)
        fields = [_fixed(opened, same.found[one.name], one, options) for one in columns if one.name in same.found]
        if on_bound:
            on_bound(found, fields)
        plans.append((opened, fields))
    return _bound_batches(plans, on_reject, advance)


def as_known(opened: Opened, columns: Iterable[Column], vocabulary: Vocabulary) -> dict[str, Entry]:
    """What headers mean that a dataset has, too: its concept there, or none, where they say no other by themselves."""
    meanings: dict[str, set[str | None]] = {}
    for column in columns:
        for name in (column.source,) if column.concept else (column.source, column.name):
            meanings.setdefault(plain(name), set()).add(column.concept)
    found = {}
    for header, seen in opened.looks.items():
        meant = meanings.get(plain(header), set())
        if len(meant) != 1:
            continue
        (concept,) = meant
        said = opened.stated.get(header, Entry())
        if concept is None:
            found[header] = Entry(keep="auto", unit=said.unit)
        elif concept in vocabulary.concepts and not _says(header, seen, vocabulary, said, concept):
            found[header] = Entry(concept=concept, unit=said.unit)
    return found


def _says(header: str, seen: Look, vocabulary: Vocabulary, entry: Entry, concept: str) -> bool:
    """Whether a header names this concept by itself, or contradicts its own unit."""
    try:
        found = resolve(header, seen, vocabulary, entry)
    except UserError:
        return True
    return isinstance(found, Binding) and found.concept is not None and found.concept.id == concept


def _fixed(opened: Opened, binding: Binding, column: Column, options: ReadOptions | None) -> Field:
    """A column of this file, as the dataset keeps it."""
    target = target_of(binding, opened, options or ReadOptions(), fixed=column)
    place = opened.dialect.header.index(binding.header)
    return Field(index=place, header=binding.header, name=column.name, target=target)


def _bound_batches(
    plans: Sequence[tuple[Opened, list[Field]]], on_reject: Callable[[Reject], Any] | None, advance: Progress | None
) -> Iterator[pa.RecordBatch]:
    for opened, fields in plans:
        with HashedFile(opened.path, advance=advance) as file:
            for parsed in rows_of(opened, fields, file=file):
                if on_reject:
                    for reject in parsed.rejects:
                        on_reject(reject)
                if parsed.batch.num_rows:
                    yield parsed.batch


def _missing(path: Path, missing: Sequence[Column], found: Bindings, same: Matched) -> ForgiaError:
    names = ", ".join(f"{column.name} ({column.source!r})" for column in missing)
    text = f"{path}: no column for {names}"
    if found.questions:
        text += "; not bound: " + ", ".join(f"{question.header!r} ({question.why})" for question in found.questions)
    unclear = {column.name: same.unclear[column.name] for column in missing if column.name in same.unclear}
    for headers in dict.fromkeys(unclear.values()):
        wanted = ", ".join(name for name, could in unclear.items() if could == headers)
        text += f"; which of them is {wanted} cannot be told: {', '.join(map(repr, headers))}"
    near = list(_near([column for column in missing if column.name not in unclear], found, same))
    text += "".join(f"; {column.source!r} is near {header!r}, which is {what}" for column, header, what in near)
    if kept := [header for column, header, _ in near if not column.concept]:
        entries = ", ".join(f"{json.dumps(header, ensure_ascii=False)}: {{keep: auto}}" for header in kept)
        said = (
            "the training data kept the column without a concept, in whatever unit it had; if this one is in the same:"
            f" --mapping FILE.yaml with columns: {{{entries}}}"
        )
    elif found.questions:
        said = "--mapping FILE.yaml says what the columns are, for instance:\n" + found.mapping_text()
    elif unclear:
        sources = ", ".join(repr(column.source) for column in missing if column.name in unclear)
        said = (
            "columns of one concept are told apart by the headers of the training data, or by the numbers in them:"
            f" call them {sources}; leave out a column that is none of these: --mapping FILE.yaml with"
            ' columns: {"HEADER": {ignore: true}}'
        )
    else:
        said = ""
    return UserError(text, hint=said or None)


def _near(missing: Sequence[Column], found: Bindings, same: Matched) -> Iterator[tuple[Column, str, str]]:
    """Columns that were not taken and are called nearly as one that is missing: the header, and what it means."""
    taken = {binding.header for binding in same.found.values()}
    free = {binding.header: binding for binding in found.bound if binding.header not in taken}
    labels = {units.split_header(header)[0].casefold(): header for header in free}
    for column in missing:
        for label in nearest(units.split_header(column.source)[0].casefold(), labels)[:1]:
            binding = free[labels.pop(label)]
            meaning = f"read as {binding.concept.id}" if binding.concept else "without a concept"
            yield column, binding.header, "left out" if binding.ignored else meaning
