"""The data of a role: pooled, split so that nothing leaks, with the features that the training part says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from forgia import groups as grouping
from forgia import splitting
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia.groups import PART_WORDS
from forgia.splitting import Split
from forgia_jobs.request import Columns, Role
from forgia_jobs.samples import Flat, PartedSource, Samples, Source

DATASET, OWNER = grouping.DATASET, grouping.OWNER
"""Columns added by pooling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The pooled samples of a role, split, and what they look like to a network."""

    spec: FeatureSpec
    split: Split
    """Positions of samples."""
    groups: npt.NDArray[np.int64]
    """A number a sample; samples of one number are not independent of each other."""
    owners: npt.NDArray[Any]
    """The organisation of each sample."""
    source: Source
    target: npt.NDArray[Any]
    """An answer a sample."""
    left_out: int
    """Rows without an answer, in no part."""
    notes: tuple[str, ...] = ()
    """What else the card says of the data, a sentence each."""
    test_groups: tuple[str, ...] = ()
    """What the groups of the test part are called, where a column says it."""
    _placed: dict[torch.device, Source] = field(default_factory=dict, repr=False)
    """The source where samples of it were asked for: the parts of a device share its memory."""

    def samples(self, part: str, *, device: torch.device) -> Samples:
        """The samples of a part, on a device."""
        if device not in self._placed:
            self._placed[device] = self.source.to(device)
        source, positions = self._placed[device], self.split.part(part)
        copied = source.of_part(positions) if isinstance(source, PartedSource) else None
        if copied is not None:
            source, positions = copied, np.arange(len(positions))
        return Samples(source, positions, self.targets(part), device=device)

    def targets(self, part: str) -> npt.NDArray[Any]:
        """The true answers of a part."""
        return self.target[self.split.part(part)]

    def flat(self, part: str) -> Flat:
        """The samples of a part as a baseline sees them."""
        return self.source.flat(self.split.part(part))


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


def pool(datasets: Sequence[Dataset], columns: Columns, *, needs_target: bool = True) -> pa.Table:
    """All rows, dataset after dataset in the request's order; a column that one of them lacks is null there.

    Raises: UserError — a column has no common type, or the target is nowhere.
    """
    tables = []
    for position, dataset in enumerate(datasets):
        known = [name for name in columns.all if dataset.manifest.column(name) is not None]
        table = dataset.to_table(known)
        tables.append(grouping.marked(table, dataset.manifest, position=position, group=columns.group))
    try:
        pooled = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"the datasets cannot be pooled: {error}") from error
    if needs_target and columns.target not in pooled.column_names:
        raise UserError(f"no dataset has the target {columns.target}")
    for name in columns.all:
        if name not in pooled.column_names:
            pooled = pooled.append_column(name, pa.nulls(pooled.num_rows))
    return pooled


def group_rows(table: pa.Table, columns: Columns, *, is_sorted: bool = False) -> npt.NDArray[np.int64]:
    """A group number a row: episodes of the counter within dataset and group, else the owner's group, else the row.

    A machine's name means one machine of its owner, a file's name a file of its dataset: ``forgia.groups``.
    Args: is_sorted — groups are numbered by their names, so that their parts do not depend on the order of the rows.
    """
    if columns.episodes_of:
        counter = table.column(columns.episodes_of).cast(pa.float64()).to_numpy()
        within = (DATASET, columns.group) if columns.group else (DATASET,)
        return splitting.episodes(counter, grouping.numbered(table, within, is_sorted=False))
    if not columns.group:
        return np.arange(table.num_rows)
    return grouping.of_rows(table, columns.group, is_sorted=is_sorted)


def dataset_rows(table: pa.Table) -> npt.NDArray[np.int64]:
    """The dataset of each row, as a number: the series of data that names no group."""
    return grouping.numbered(table, (DATASET,), is_sorted=True)


def group_names(
    table: pa.Table, columns: Columns, groups: npt.NDArray[np.int64], *, of: npt.NDArray[np.int64]
) -> tuple[str, ...]:
    """What these groups are called, in the order of their numbers; none where no column says it.

    One that shares its name with another is told with its dataset, or its owner. Args: groups — a number for each row
    of the table; of — those that are meant, as often as one likes.
    """
    if not columns.group or columns.episodes_of:
        return ()
    numbers, rows = np.unique(groups, return_index=True)
    told = [name for name in (columns.group, grouping.FILES_OF, OWNER) if name in table.column_names]
    known = table.select(told).take(pa.array(rows)).to_pylist()
    count = Counter(row[columns.group] for row in known)
    return tuple(
        f"{name} of {row.get(grouping.FILES_OF) or row[OWNER]}" if count[name := row[columns.group]] > 1 else str(name)
        for row, is_meant in zip(known, np.isin(numbers, of), strict=True)
        if is_meant
    )


def given_parts(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """The part that each row says it belongs to, as a position in ``splitting.PARTS``; training where it says nothing.

    Raises: UserError — a word that names no part.
    """
    column = table.column(name).cast(pa.string()).combine_chunks().dictionary_encode()
    words = [str(word).strip().casefold() for word in column.dictionary.to_pylist()]
    if strange := sorted(set(words) - set(PART_WORDS)):
        raise UserError(f"{name}: {', '.join(strange)}: a part is called {', '.join(PART_WORDS)}")
    numbers = np.asarray([*(PART_WORDS[word] for word in words), 0], dtype=np.int64)
    return np.asarray(numbers[pc.fill_null(column.indices, len(words)).to_numpy(zero_copy_only=False)])


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


def owner_rows(table: pa.Table) -> npt.NDArray[Any]:
    """The organisation of each row; equal names are one object, however many rows there are."""
    found = table.column(OWNER).dictionary_encode().combine_chunks()
    return found.dictionary.to_numpy(zero_copy_only=False)[found.indices.to_numpy()]  # type: ignore[no-any-return]


def balanced_weights(target: torch.Tensor) -> torch.Tensor:
    """Weights with which each class, or true and false, counts the same in total; their mean is 1.

    Shapes: (rows,) to (rows,).
    Source: class_weight="balanced" of scikit-learn 1.9: n_samples / (n_classes * count of the class).
    """
    _, codes, counts = torch.unique(target, return_inverse=True, return_counts=True)
    weights: torch.Tensor = len(target) / (len(counts) * counts.float())
    return weights.index_select(0, codes)


def describe(data: Data) -> dict[str, Any]:
    """Rows, groups and mean target of each part, for records and the card."""
    return {
        part: {
            "rows": len(data.split.part(part)),
            "groups": len(np.unique(data.groups[data.split.part(part)])),
            **_answers(data, part),
        }
        for part in splitting.PARTS
    }


def _answers(data: Data, part: str) -> dict[str, Any]:
    """How many samples of each class, or the mean of the target."""
    found = data.targets(part)
    if data.spec.output != "classes":
        return {"target_mean": float(found.mean())}
    counts = np.bincount(found, minlength=len(data.spec.classes))
    return {"classes": dict(zip(data.spec.classes, counts.tolist(), strict=True))}


def owners(data: Data) -> Mapping[str, int]:
    """Rows by organisation."""
    names, counts = np.unique(data.owners.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))
