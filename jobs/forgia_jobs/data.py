"""From Parquet to tensors: Arrow tables, numpy matrices, torch tensors over the same memory; never row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from forgia import features
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs import edges, splitting
from forgia_jobs.request import Columns, Role
from forgia_jobs.splitting import Split

DATASET = "_dataset"
"""Column added by pooling: position of the dataset a row came from. Never a feature."""
OWNER = "_owner"
"""Column added by pooling: organisation that owns the row. Never a feature: a model must not know whose row it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The pooled rows of a role, split, and as matrices."""

    spec: FeatureSpec
    split: Split
    groups: npt.NDArray[np.int64]
    """A number a row; rows of one number are not independent of each other."""
    owners: npt.NDArray[Any]
    """The organisation of each row."""
    numeric: npt.NDArray[np.float32]
    categorical: npt.NDArray[np.int64]
    target: npt.NDArray[np.float32]
    rows_without_target: int
    """Left out of every part."""

    def tensors(self, part: str, *, device: torch.device) -> dict[str, torch.Tensor]:
        """The batch of a whole part.

        Shapes: ``numeric`` (rows, features), ``categorical`` (rows, features), ``target`` (rows,).
        """
        rows = self.split.part(part)
        found = {"numeric": self.numeric[rows], "categorical": self.categorical[rows], "target": self.target[rows]}
        return {name: torch.from_numpy(matrix).to(device) for name, matrix in found.items()}

    def targets(self, part: str) -> npt.NDArray[np.float32]:
        """The true answers of a part."""
        return self.target[self.split.part(part)]


def load(role: Role, datasets: Sequence[Dataset]) -> Data:
    """Read, pool, split, and fit the features on the training part.

    Raises: UserError — the data cannot be split or learnt from.
    """
    table = pool(datasets, role.columns)
    answered = np.flatnonzero(table.column(role.columns.target).is_valid().to_numpy())
    left_out = table.num_rows - len(answered)
    table = table.take(pa.array(answered)) if left_out else table
    target = features.targets(table, role.columns.target)
    groups = group_rows(table, role.columns)
    split = split_rows(table, role, groups=groups, target=target)
    spec = features.fit(
        table.take(pa.array(split.train)),
        numeric=role.columns.numeric,
        categorical=role.columns.categorical,
        target=role.columns.target,
        derived=role.columns.derived,
        units=role.units,
    )
    matrices = spec.encode(table)
    spec = edges.place(spec, matrices["numeric"][split.train], target[split.train])
    return Data(
        spec=spec,
        split=split,
        groups=groups,
        owners=table.column(OWNER).to_numpy(),
        numeric=matrices["numeric"],
        categorical=matrices["categorical"],
        target=target,
        rows_without_target=left_out,
    )


def check_answers(data: Data) -> None:
    """Raises: UserError — a part knows one answer only: nothing could be learnt from it, or nothing measured on it."""
    if data.spec.output != "probability":
        return
    for part in splitting.PARTS:
        found = data.targets(part)
        if found.min() == found.max():
            only, other = ("true", "false") if found.max() else ("false", "true")
            raise UserError(
                f"{data.spec.target} is {only} in all {len(found):,} rows of the {part} part"
                f" ({int(data.target.sum()):,} of {len(data.target):,} rows are true in all)",
                hint=f"bind data with more rows that are {other}, or choose another split or seed in the recipe",
            )


def pool(datasets: Sequence[Dataset], columns: Columns) -> pa.Table:
    """All rows, dataset after dataset in the request's order; a column that one of them lacks is null there.

    Raises: UserError — a column has no common type, or the target is nowhere.
    """
    tables = []
    for position, dataset in enumerate(datasets):
        known = [name for name in columns.all if dataset.manifest.column(name) is not None]
        table = dataset.to_table(known)
        rows = table.num_rows
        table = table.append_column(DATASET, pa.array(np.full(rows, position, dtype=np.int32)))
        tables.append(table.append_column(OWNER, pa.repeat(pa.scalar(dataset.manifest.owner, pa.string()), rows)))
    try:
        pooled = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"the datasets cannot be pooled: {error}") from error
    if columns.target not in pooled.column_names:
        raise UserError(f"no dataset has the target {columns.target}")
    for name in columns.all:
        if name not in pooled.column_names:
            pooled = pooled.append_column(name, pa.nulls(pooled.num_rows))
    return pooled


def group_rows(table: pa.Table, columns: Columns) -> npt.NDArray[np.int64]:
    """A group number a row: episodes of the counter within dataset and group, else the owner's group, else the row.

    A machine's name means one machine of its owner: two firms' ``press-1`` are two groups.
    """
    names = (columns.group,) if columns.group else ()
    if columns.episodes_of:
        counter = table.column(columns.episodes_of).cast(pa.float64()).to_numpy()
        return splitting.episodes(counter, _labels(table, (DATASET, *names)))
    if names:
        return _labels(table, (OWNER, *names))
    return np.arange(table.num_rows)


def split_rows(table: pa.Table, role: Role, *, groups: npt.NDArray[np.int64], target: npt.NDArray[np.float32]) -> Split:
    """The three parts by the request's rule. Raises: UserError — too few groups or moments, or times are missing."""
    rule = role.split
    if rule.by == "group":
        return splitting.split_by_group(groups, target.astype(np.float64), fractions=rule.fractions, seed=rule.seed)
    if role.columns.time is None:
        raise UserError("the split is by time, but the data binds no time column")
    times = table.column(role.columns.time)
    if times.null_count:
        raise UserError(f"the split is by time, but {times.null_count} row(s) have no {role.columns.time}")
    return splitting.split_by_time(times.to_numpy(), fractions=rule.fractions)


def balanced_weights(target: torch.Tensor) -> torch.Tensor:
    """Weights with which true and false rows count the same in total; their mean is 1.

    Shapes: (rows,) to (rows,).
    Source: class_weight="balanced" of scikit-learn 1.9: n_samples / (n_classes * count of the class).
    """
    rows, true = len(target), float(target.sum())
    if not 0 < true < rows:
        return torch.ones_like(target)
    return torch.where(target > 0.5, rows / (2 * true), rows / (2 * (rows - true)))


def describe(data: Data) -> dict[str, Any]:
    """Rows, groups and mean target of each part, for records and the card."""
    return {
        part: {
            "rows": len(data.split.part(part)),
            "groups": len(np.unique(data.groups[data.split.part(part)])),
            "target_mean": float(data.targets(part).mean()),
        }
        for part in splitting.PARTS
    }


def owners(data: Data) -> Mapping[str, int]:
    """Rows by organisation."""
    names, counts = np.unique(data.owners.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _labels(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number for each distinct combination of these columns; a missing value is a value of its own."""
    found = np.zeros(table.num_rows, dtype=np.int64)
    for name in names:
        codes = table.column(name).combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
        found = np.unique(found * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    return found
