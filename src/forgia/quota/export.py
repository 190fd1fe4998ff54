"""A month's rows as a file: CSV, Parquet, JSON. Written beside and renamed, with its digest in a file next to it.

The same rows are the same bytes, so that a digest that was sent to somebody can be checked.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from forgia import digest, store
from forgia.quota.report import Row
from forgia.quota.tally import Tally

SCHEMA_VERSION = 1
BATCH = 10_000
FORMULA = frozenset("=+-@\t\r")
"""What a spreadsheet takes for the begin of a formula; anybody on the account may name a job so.

Source: https://owasp.org/www-community/attacks/CSV_Injection
"""
TYPES: Mapping[Any, str] = {int: "int64", float: "float64", str: "string", bool: "bool_"}
TIMES = ("start", "end")

Writer = Callable[[Path, Iterable[Row], Tally], None]


def write(target: Path, rows: Iterable[Row], tally: Tally, writer: Writer) -> str:
    """Write the rows, each passing the tally, and the digest beside them; returns the digest."""
    with publishing(target) as beside:
        writer(beside, tally.passing(rows), tally)
        found = digest.of_file(beside)
    store.write_atomic(target.with_name(f"{target.name}.sha256"), f"{digest.hexadecimal(found)}  {target.name}\n")
    return found


@contextlib.contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """A private file to write beside the target, which takes its name when the block ends well, and goes when not."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    descriptor = store.create(beside, os.O_EXCL)
    try:
        yield beside
        os.fsync(descriptor)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    store.sync_directory(target.parent)


def write_csv(path: Path, rows: Iterable[Row], _tally: Tally) -> None:
    """One line a row below a line of names; nothing where nothing is known."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        for row in rows:
            writer.writerow(row if FORMULA.isdisjoint(first_letters(row)) else [harmless(cell) for cell in row])


def first_letters(row: Row) -> list[str]:
    """Of the cells that are texts."""
    return [cell[:1] for cell in row if cell.__class__ is str]


def harmless(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; a number stays what it is."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in FORMULA else cell


def write_json(path: Path, rows: Iterable[Row], tally: Tally) -> None:
    """One object with the rows, one a line, and their sums."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"schema_version": {SCHEMA_VERSION}, "rows": [')
        for place, row in enumerate(rows):
            file.write((",\n" if place else "\n") + json.dumps(row._asdict(), ensure_ascii=False))
        sums = json.dumps(tally.to_json(), ensure_ascii=False)
        file.write(f"\n], {sums[1:]}\n")


def write_parquet(path: Path, rows: Iterable[Row], _tally: Tally) -> None:
    """One table, times as timestamps in UTC."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, arrow_type(pa, name, kind)) for name, kind in get_type_hints(Row).items()])
    iterator = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(iterator, BATCH)):
            arrays = [
                column(pa, schema.field(name), list(cells))
                for name, cells in zip(Row._fields, zip(*some, strict=True), strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def arrow_type(pa: Any, name: str, kind: Any) -> Any:
    """The column's type."""
    plain = next((one for one in get_args(kind) if one is not NoneType), kind)
    return pa.timestamp("ms", tz="UTC") if name in TIMES else getattr(pa, TYPES[plain])()


def column(pa: Any, field: Any, cells: list[Any]) -> Any:
    """One column's cells."""
    return pa.array(cells).cast(field.type) if field.name in TIMES else pa.array(cells, type=field.type)


WRITERS: Mapping[str, Writer] = {"csv": write_csv, "json": write_json, "parquet": write_parquet}
"""By the name of the format."""
