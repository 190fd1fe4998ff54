"""Train, validation and test parts that share no group, or no moment: pure arithmetic on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia.errors import UserError

Rows = npt.NDArray[np.int64]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Row numbers of the three parts, each in the order of the data."""

    train: Rows
    validation: Rows
    test: Rows

    def part(self, name: str) -> Rows:
        """The rows of ``train``, ``validation`` or ``test``."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def split_by_group(
    groups: npt.NDArray[Any], weights: npt.NDArray[np.float64], *, fractions: tuple[float, float, float], seed: int
) -> Split:
    """Whole groups in one part each, with comparable shares of rows and of weight in every part.

    Args: groups — a label a row; weights — what to share out besides rows, such as 1 for a failure and 0 else, or a
    column of such for each class.
    Raises: UserError — fewer than three groups.
    """
    _, group_of_row = np.unique(groups, return_inverse=True)
    count = int(group_of_row.max()) + 1 if group_of_row.size else 0
    if count < len(PARTS):
        raise UserError(
            f"the data has {count} group(s); a train, a validation and a test part need at least {len(PARTS)}",
            hint="bind more machines or periods, or choose another split in the recipe",
        )
    columns = weights.reshape(len(groups), -1).T
    sizes = np.column_stack([np.bincount(group_of_row), *(np.bincount(group_of_row, weights=one) for one in columns)])
    part_of_group = _share_out(sizes.astype(np.float64), fractions=np.asarray(fractions), seed=seed)
    return _as_split(part_of_group[group_of_row])


def split_as_given(
    given: Rows,
    groups: npt.NDArray[Any],
    weights: npt.NDArray[np.float64],
    *,
    fractions: tuple[float, float, float],
    seed: int,
) -> Split:
    """The parts that the data itself names; where it names no validation part, whole training groups make one.

    Args: given — a position in PARTS a row.
    Raises: UserError — a part has no row, a group is in two of them, or the training part is a single group.
    """
    _, group_of_row = np.unique(groups, return_inverse=True)
    parts_of_groups = np.unique(np.column_stack([group_of_row, given]), axis=0)[:, 0]
    if twice := len(parts_of_groups) - len(np.unique(parts_of_groups)):
        raise UserError(f"{twice} group(s) of the data are in more than one part")
    for number in (0, 2):
        if not (given == number).any():
            raise UserError(f"the data names parts, but no row of it is in the {PARTS[number]} part")
    if not (given == 1).any():
        train = np.flatnonzero(given == 0)
        _, local = np.unique(group_of_row[train], return_inverse=True)
        if local.max() < 1:
            raise UserError("the training part is a single group, from which no validation part can be taken")
        sizes = np.column_stack([np.bincount(local), np.bincount(local, weights=weights[train])]).astype(np.float64)
        share = np.asarray(fractions[:2]) / sum(fractions[:2])
        given = given.copy()
        given[train] = _share_out(sizes, fractions=share, seed=seed)[local]
    return _as_split(given)


def split_by_time(times: npt.NDArray[Any], *, fractions: tuple[float, float, float]) -> Split:
    """The earliest rows train, the latest test; rows of one moment stay together.

    Raises: UserError — fewer than three different moments.
    """
    moments, moment_of_row = np.unique(times, return_inverse=True)
    if moments.size < len(PARTS):
        raise UserError(f"the data has {moments.size} different time(s); a split by time needs at least {len(PARTS)}")
    before = np.cumsum(np.bincount(moment_of_row)) / moment_of_row.size
    first = int(np.clip(np.searchsorted(before, fractions[0]), 0, moments.size - 3))
    second = int(np.clip(np.searchsorted(before, fractions[0] + fractions[1]), first + 1, moments.size - 2))
    return _as_split(np.digitize(moment_of_row, [first + 1, second + 1]))


def episodes(counter: npt.NDArray[np.float64], within: npt.NDArray[Any]) -> Rows:
    """A number for each run of rows between two drops of a counter, such as tool wear between two tool changes.

    Args: within — a label a row (machine, file); a counter is only compared with the one before under the same label.
    A missing count belongs to the episode before it.
    """
    labels = np.unique(within, return_inverse=True)[1]
    order = np.argsort(labels, kind="stable")
    ordered, counts = labels[order], _carried(counter[order], labels[order])
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (ordered[1:] != ordered[:-1]) | (counts[1:] < counts[:-1])
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.cumsum(starts) - 1
    return found


def _carried(counts: npt.NDArray[np.float64], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Missing counts replaced by the last one known under the same label."""
    rows = np.arange(len(counts))
    last_known = np.maximum.accumulate(np.where(np.isnan(counts), -1, rows)) if len(counts) else rows
    usable = (last_known >= 0) & (labels[last_known] == labels)
    return np.where(usable, counts[last_known], -np.inf)


def _share_out(sizes: npt.NDArray[np.float64], *, fractions: npt.NDArray[np.float64], seed: int) -> Rows:
    """Part of each group: in a random order, each goes where most is wanting of what it brings."""
    totals = np.maximum(sizes.sum(axis=0), 1e-12)
    wanting = np.outer(fractions, np.ones(sizes.shape[1]))
    part_of_group = np.full(len(sizes), -1)
    parts = empty = np.arange(len(fractions))
    for position, group in enumerate(order := np.random.default_rng(seed).permutation(len(sizes))):
        share = sizes[group] / totals
        candidates = empty if len(order) - position <= len(empty) else parts
        # Only what a part still wants counts as gain: a large group seldom lands in a small part that is nearly full.
        gain = np.minimum(wanting, share).sum(axis=1) + 1e-3 * (wanting / fractions[:, None]).sum(axis=1)
        part = int(candidates[np.argmax(gain[candidates])])
        part_of_group[group] = part
        empty = empty[empty != part]
        wanting[part] = np.maximum(wanting[part] - share, 0.0)
    return part_of_group


def _as_split(part_of_row: npt.NDArray[Any]) -> Split:
    found = [np.flatnonzero(part_of_row == number) for number in range(len(PARTS))]
    return Split(train=found[0], validation=found[1], test=found[2])
