"""The pooled rows of several datasets, a row group at a time: the same rows as ``data.pool``, never all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia_jobs.samples.data import DATASET, OWNER


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows in a row."""

    start: int
    """Their first row in the pool."""
    table: pa.Table

    @property
    def rows(self) -> slice:
        """Where they lie in the pool."""
        return slice(self.start, self.start + self.table.num_rows)


def row_count(datasets: Sequence[Dataset]) -> int:
    """Rows of all datasets."""
    return sum(file.rows for dataset in datasets for file in dataset.manifest.files)


def schema(datasets: Sequence[Dataset], columns: Sequence[str]) -> pa.Schema:
    """The types that columns have in the pool; null for one that no dataset has.

    Raises: UserError — a column has no common type.
    """
    found = []
    for dataset in datasets:
        written = pq.read_schema(dataset.files()[0])
        known = [written.field(name).remove_metadata() for name in columns if name in written.names]
        found.append(pa.schema(known))
    try:
        unified = pa.unify_schemas(found, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"the datasets cannot be pooled: {error}") from error
    absent = [pa.field(name, pa.null()) for name in columns if name not in unified.names]
    return pa.schema([*unified, *absent])


def chunks(datasets: Sequence[Dataset], columns: Sequence[str]) -> Iterator[Chunk]:
    """All rows in the order of the pool, with the dataset and the owner of each.

    Raises: UserError — a column has no common type.
    """
    kinds, start = schema(datasets, columns), 0
    for position, dataset in enumerate(datasets):
        for path in dataset.files():
            with pq.ParquetFile(path) as file:
                known = [name for name in columns if name in file.schema_arrow.names]
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, columns=known)
                    rows = file.metadata.row_group(group).num_rows
                    typed = _typed(table, kinds, rows=rows)
                    typed = typed.append_column(DATASET, pa.array(np.full(rows, position, dtype=np.int32)))
                    owner = pa.repeat(pa.scalar(dataset.manifest.owner, pa.string()), rows)
                    yield Chunk(start=start, table=typed.append_column(OWNER, owner))
                    start += rows


def _typed(table: pa.Table, kinds: pa.Schema, *, rows: int) -> pa.Table:
    """The columns of the pool, in its types; null where this file has none."""
    columns = [
        table.column(item.name).cast(item.type) if item.name in table.column_names else pa.nulls(rows, item.type)
        for item in kinds
    ]
    return pa.table(columns, schema=kinds)
