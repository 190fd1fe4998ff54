"""The work of a preparation, cut so that every file has one task and every sum one order, whoever does the work when.

Arrange the rows by target, group and time alone; then each column by itself; then columns into matrices. A task leaves
whole files or none, and may be done again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia import digest, features
from forgia.dataset.dataset import Dataset
from forgia.features import NumericFeature
from forgia.splitting import PARTS
from forgia_jobs import integrity, request
from forgia_jobs.preparation import mapped, prepared
from forgia_jobs.preparation.mapped import ArrayFile, Matrix
from forgia_jobs.request import Role
from forgia_jobs.samples import data, edges, loading, pooled, tabular
from forgia_jobs.samples.pooled import Chunk

BLOCK_ROWS = 65_536
"""Rows of a matrix that are put together at a time."""
DTYPES = {"numeric": np.float32, "categorical": np.int64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to prepare and where; small, and sent to every worker."""

    data: Mapping[str, Any]
    """The key ``data`` of a request."""
    places: Mapping[str, str]
    """Dataset digest → folder."""
    folder: str
    """Where the files are made, on a disk that all workers see."""

    @property
    def role(self) -> Role:
        """What is asked of the data."""
        return request.role_of(self.data)

    def datasets(self) -> list[Dataset]:
        """Where it comes from. Raises: IntegrityError — another manifest lies there."""
        return integrity.datasets_at(self.places, self.role)

    def scratch(self, name: str) -> Path:
        """A file that goes when the data is prepared."""
        return Path(self.folder) / "scratch" / f"{name}.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """What is known once rows and samples have their order."""

    features: Mapping[str, Any]
    """Of the target; those of columns come later."""
    owners: tuple[str, ...]
    left_out: int
    notes: tuple[str, ...]
    test_groups: tuple[str, ...]
    arrays: Mapping[str, ArrayFile]
    has_cuts: bool


def verify_file(path: str, expected: str) -> None:
    """Digest a file of a dataset. Raises: IntegrityError — other bytes."""
    digest.verify_file(Path(path), expected)


def arrange(order: Order) -> Arranged:
    """Order rows, find samples, split them; reads the columns that say so and no other, and all of those at once."""
    role = order.role
    keys = replace(role.columns, numeric=(), categorical=(), derived=())
    table = data.pool(order.datasets(), keys, needs_target=role.output != "score")
    layout = loading.tabular_kind(role).arrange(role, table)
    learnt = table.take(pa.array(layout.rows[layout.learnt]))
    names, codes = prepared.owner_codes(layout.owners)
    written = {
        "target": layout.target,
        "groups": layout.groups,
        "owners": codes,
        **{f"split-{part}": layout.split.part(part) for part in PARTS},
        **{f"own-{name}": array for name, array in layout.own.items()},
    }
    for name, array in {"rows": layout.rows, "learnt": layout.learnt, "cuts": layout.cuts}.items():
        if array is not None:
            keep(order.scratch(name), array)
    return Arranged(
        features=tabular.fit(role, learnt, keys).to_json(),
        owners=names,
        left_out=layout.left_out,
        notes=layout.notes,
        test_groups=layout.test_groups,
        arrays={name: write(order, name, iter([array]), like=array) for name, array in written.items()},
        has_cuts=layout.cuts is not None,
    )


def measure(order: Order, index: int, *, arranged: Arranged) -> dict[str, Any]:
    """One measurement: its values in the order of the rows, and what the training part says of them."""
    feature = numeric_features(order.role)[index]
    values = read_column(order, feature.sources, feature.values, dtype=np.float64)
    learnt = np.load(order.scratch("learnt"), mmap_mode="r")
    fitted = features.fit_numeric(feature, values[learnt])
    shown = values.astype(np.float32)
    del values
    if arranged.has_cuts:
        output = str(arranged.features["output"])
        fitted = edges.place_one(fitted, shown[learnt], np.load(order.scratch("cuts")), output=output)
    keep(order.scratch(f"numeric-{index}"), shown)
    return asdict(fitted)


def classify(order: Order, index: int) -> dict[str, Any]:
    """One category: its codes in the order of the rows, and which texts the training part has."""
    name = order.role.columns.categorical[index]
    is_learnt = np.zeros(pooled.row_count(order.datasets()), dtype=bool)
    is_learnt[np.load(order.scratch("rows"))[np.load(order.scratch("learnt"))]] = True
    counts: Counter[str] = Counter()
    for chunk in pooled.chunks(order.datasets(), (name,)):
        counts += features.count_categories(chunk.table.column(name).filter(pa.array(is_learnt[chunk.rows])))
    feature = features.fit_categorical(name, counts)

    def encode(table: pa.Table) -> Matrix:
        return features.codes(table.column(name), feature.categories)

    keep(order.scratch(f"categorical-{index}"), read_column(order, (name,), encode, dtype=np.int64))
    return asdict(feature)


def stack(order: Order, name: str, width: int) -> ArrayFile:
    """The columns of a kind side by side, a block of rows at a time."""
    columns = [np.load(order.scratch(f"{name}-{index}"), mmap_mode="r") for index in range(width)]
    rows = len(np.load(order.scratch("rows"), mmap_mode="r"))

    def blocks() -> Iterator[Matrix]:
        for start in range(0, rows, BLOCK_ROWS):
            part = slice(start, min(start + BLOCK_ROWS, rows))
            block = np.empty((part.stop - part.start, width), dtype=DTYPES[name])
            for index, column in enumerate(columns):
                block[:, index] = column[part]
            yield block

    return write(order, name, blocks(), like=np.empty((0, width), dtype=DTYPES[name]), rows=rows)


def numeric_features(role: Role) -> list[NumericFeature]:
    """The measurements of a role before anything is known of them: those of the table, then those made of two."""
    made = [NumericFeature(name=item.name, operation=item.operation, of=item.of) for item in role.columns.derived]
    return [*(NumericFeature(name=name, unit=role.units.get(name)) for name in role.columns.numeric), *made]


def joined(arranged: Arranged, numeric: list[dict[str, Any]], categorical: list[dict[str, Any]]) -> dict[str, Any]:
    """The value of ``features.json`` of all columns."""
    found = features.FeatureSpec.from_json({**arranged.features, "numeric": numeric, "categorical": categorical})
    return found.to_json()


def read_column(
    order: Order, names: tuple[str, ...], values: Callable[[pa.Table], Matrix], *, dtype: npt.DTypeLike
) -> Matrix:
    """What ``values`` makes of these columns, a row group at a time, in the order of the rows."""
    datasets = order.datasets()
    whole = np.empty(pooled.row_count(datasets), dtype=dtype)
    for chunk in pooled.chunks(datasets, tuple(dict.fromkeys(names))):
        fill(whole, chunk, values)
    rows = np.load(order.scratch("rows"), mmap_mode="r")
    is_in_order = len(rows) == len(whole) and bool((rows[1:] > rows[:-1]).all())
    return whole if is_in_order else whole[rows]


def fill(whole: Matrix, chunk: Chunk, values: Callable[[pa.Table], Matrix]) -> None:
    """Put a chunk's values where they belong."""
    whole[chunk.rows] = values(chunk.table)


def write(order: Order, name: str, blocks: Iterator[Matrix], *, like: Matrix, rows: int | None = None) -> ArrayFile:
    """Write an array of the result, beside its place until it is whole."""
    final = prepared.array_path(Path(order.folder), name)
    beside = final.with_name(f"{final.name}.{os.getpid()}.part")
    shape = like.shape if rows is None else (rows, *like.shape[1:])
    found = mapped.write(beside, blocks, shape=shape, dtype=like.dtype)
    if found.count:
        beside.replace(final)
    return found


def keep(path: Path, array: Matrix) -> None:
    """Write a file of the scratch folder, beside its place until it is whole."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("wb") as file:
        np.save(file, array)
    beside.replace(path)
