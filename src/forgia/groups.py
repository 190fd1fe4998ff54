"""Which rows belong together: the machines and runs of pooled datasets, numbered, and rows of them at the same time.

A machine's name means one machine of its owner, whichever of his datasets it is in: two exports of one press are one
press. Where the names are those of the files that rows came from, each means a file of its dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgia.dataset.dataset import Dataset
from forgia.dataset.manifest import Manifest

DATASET = "_dataset"
"""Column added by pooling: position of the dataset a row came from. Never a feature."""
OWNER = "_owner"
"""Column added by pooling: organisation that owns the row. Never a feature: a model must not know whose row it is."""
FILES_OF = "_files_of"
"""Column added by pooling where groups are called by files' names: the dataset whose files they are; null elsewhere."""
PART_WORDS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "valid", "val"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
"""What data calls a part → its position among train, validation and test."""

Numbers = npt.NDArray[np.int64]
MOST_NAMED = 20
"""Names in a sentence, before it says how many more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Rows that have their time in common with another row of their group."""

    rows: int
    groups: int
    across: int
    """Groups in which such rows are of different datasets."""
    example: tuple[int, int] | None
    """Positions, in the order that was given, of two such rows of different datasets."""


def is_of_files(manifest: Manifest, name: str | None) -> bool:
    """Whether a dataset's column holds the names of the files that its rows came from."""
    column = manifest.column(name) if name else None
    return column is not None and column.source == manifest.options.get("file_column")


def marked(table: pa.Table, manifest: Manifest, *, position: int, group: str | None) -> pa.Table:
    """A dataset's rows with what pooling must not lose: dataset, owner, and whether groups are files of it."""
    rows = table.num_rows
    added = {
        DATASET: pa.array(np.full(rows, position, dtype=np.int32)),
        OWNER: pa.repeat(pa.scalar(manifest.owner, pa.string()), rows),
    }
    if is_of_files(manifest, group):
        added[FILES_OF] = pa.repeat(pa.scalar(manifest.name, pa.string()), rows)
    for name, values in added.items():
        table = table.append_column(name, values)
    return table


def pooled(datasets: Sequence[Dataset], names: Sequence[str], *, group: str | None) -> pa.Table | None:
    """These columns of all datasets, null where one lacks them; None where they cannot be read or have no common type,
    which the job will say."""
    tables = []
    try:
        for position, item in enumerate(datasets):
            known = [name for name in names if item.manifest.column(name) is not None]
            tables.append(marked(item.to_table(known), item.manifest, position=position, group=group))
        found = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowException, OSError):
        return None
    for name in names:
        if name not in found.column_names:
            found = found.append_column(name, pa.nulls(found.num_rows))
    return found


def of_rows(table: pa.Table, group: str, *, is_sorted: bool = True) -> Numbers:
    """The number of each row's group, by owner and name. Args: is_sorted — as ``numbered``."""
    names = [name for name in (OWNER, FILES_OF, group) if name in table.column_names]
    return numbered(table, names, is_sorted=is_sorted)


def numbered(table: pa.Table, names: Sequence[str], *, is_sorted: bool) -> Numbers:
    """A number for each distinct combination of these columns; a missing value is a value of its own.

    Args: is_sorted — by the values, so that the same rows in another order are numbered alike; else as values appear.
    """
    found = np.zeros(table.num_rows, dtype=np.int64)
    for name in names:
        codes = _codes(table.column(name), is_sorted=is_sorted)
        found = np.unique(found * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    return found


def _codes(column: pa.ChunkedArray, *, is_sorted: bool) -> Numbers:
    if pa.types.is_null(column.type):
        return np.zeros(len(column), dtype=np.int64)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    if not is_sorted:
        return np.asarray(encoded.indices.to_numpy(), dtype=np.int64)
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return np.asarray(ranks[encoded.indices.to_numpy()])


def repeated(groups: Numbers, times: npt.NDArray[Any], datasets: npt.NDArray[Any]) -> Repeated:
    """Times that a group has more than once. Args: all by group and time, rows of one moment dataset after dataset."""
    is_again = (groups[1:] == groups[:-1]) & (times[1:] == times[:-1])
    is_across = is_again & (datasets[1:] != datasets[:-1])
    is_one = np.append(is_again, False) | np.append(False, is_again)
    place = int(is_across.argmax()) if is_across.any() else None
    return Repeated(
        rows=int(is_one.sum()),
        groups=len(np.unique(groups[is_one])),
        across=len(np.unique(groups[1:][is_across])),
        example=None if place is None else (place, place + 1),
    )


def across_sentence(name: str, value: object, *, time: str, found: Repeated, refs: Sequence[str]) -> str:
    """Why one group cannot be a series of both datasets. Args: refs — of the example."""
    more = f" (as {found.across - 1:,} more have)" if found.across > 1 else ""
    return f"{name} {value} has rows of the same {time} in {' and in '.join(refs)}{more}; they would be one series"


ACROSS_HINT = (
    "bind one of the datasets, or leave out of one what both hold; if they are different machines or runs, give them "
    "different names (runs that are files: forgia dataset add --file-column)"
)


def repeated_sentence(name: str, *, time: str, found: Repeated) -> str:
    """How many rows are not the only one of their moment."""
    return (
        f"{found.rows:,} rows in {found.groups:,} of the series ({name}) share their {time} with another row of their "
        "series; windows show them one after the other, as if time had passed"
    )


def short_sentence(name: str, short: int, *, of: int, beginning: int) -> str:
    """How many series are at their beginning from their first row to their last."""
    return (
        f"{short:,} of {of:,} series ({name}) have fewer rows than the {beginning:,} that tell the normal level "
        "(samples.beginning): what is wrong in them counts as normal"
    )


def listed(names: Sequence[str], *, most: int = MOST_NAMED) -> str:
    """Names in a sentence, shortened where they are many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
