"""A sample is a window: consecutive rows of one group in the order of time, found where they lie in the long table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from forgia import features, splitting, windows
from forgia import groups as grouping
from forgia.errors import UserError
from forgia.splitting import Split
from forgia_jobs.request import Role
from forgia_jobs.samples import Flat, Positions, Source, data, hosting
from forgia_jobs.samples.tabular import Layout

Matrix = npt.NDArray[Any]
NUMBERS_AT_ONCE = 1 << 22
"""Numbers in the windows that are predicted at once: 16 MB of float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSource:
    """Matrices over the rows of all series, and the last row of each window."""

    numeric: Tensor
    """(rows, features) float32 in the spec's units, NaN where missing."""
    categorical: Tensor
    """(rows, features) int64."""
    ends: Tensor
    """(windows,) int64."""
    length: int

    @property
    def rows_at_once(self) -> int:
        """As many windows as hold some millions of numbers."""
        return max(NUMBERS_AT_ONCE // (self.length * max(self.numeric.shape[1], 1)), 1)

    def to(self, device: torch.device) -> Source:
        """The same there, unless it is too large; where it is already, the very same memory."""
        if hosting.is_too_large((self.numeric, self.categorical), device):
            return hosting.HostSource(self, device)
        moved = {name: getattr(self, name).to(device) for name in ("numeric", "categorical", "ends")}
        return replace(self, **moved)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """``numeric`` (batch, length, features), oldest row first; ``categorical`` of the last row."""
        ends = self.ends.index_select(0, chosen)
        return {
            "numeric": self._overlapping().index_select(0, ends + (1 - self.length)),
            "categorical": self.categorical.index_select(0, ends),
        }

    def _overlapping(self) -> Tensor:
        """Every window that could be, by its first row, over the memory of the rows. Shapes: (.., length, features)."""
        rows, width = self.numeric.shape
        # Of eight ways to gather windows the fastest, and at 30 rows twice as fast as one list of rows: docs/log.md.
        return self.numeric.as_strided((max(rows - self.length + 1, 0), self.length, width), (width, width, 1))

    def flat(self, chosen: Positions) -> Flat:
        """Each measurement's last value, mean, standard deviation and least-squares slope over the window."""
        found = []
        for start in range(0, len(chosen), self.rows_at_once):
            part = self.inputs(torch.from_numpy(chosen[start : start + self.rows_at_once]))
            found.append(np.concatenate([_summary(part["numeric"].numpy()), part["categorical"].numpy()], axis=1))
        codes = self.categorical.shape[1]
        matrix = np.concatenate(found) if found else np.zeros((0, 4 * self.numeric.shape[1] + codes))
        return Flat(matrix=matrix, is_category=(*[False] * (matrix.shape[1] - codes), *[True] * codes))


def _summary(seen: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Shapes: (windows, length, features) to (windows, 4 * features)."""
    values = seen.astype(np.float64)
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.where(known, values, 0.0).sum(axis=1) / count
    away = np.where(known, values - mean[:, None], 0.0)
    time = np.arange(values.shape[1]) - (values.shape[1] - 1) / 2
    slope = np.einsum("wlf,l->wf", away, time) / max(float((time**2).sum()), 1.0)
    return np.concatenate([values[:, -1], mean, np.sqrt((away**2).sum(axis=1) / count), slope], axis=1)


def arrange(role: Role, table: pa.Table) -> Layout:
    """All rows by series and time, and the windows among them that have answers.

    Raises: UserError — no series is long enough, rows have no time, or the data cannot be split.
    """
    kind = role.samples
    length = int(kind["length"])
    series, order = ordered(table, role)
    notes = list(remarks(table, role, series, order))
    if kind.get("lead_in"):
        taken = windows.led_in(series, length=length, is_mirrored=bool(kind.get("beginning")))
        series, order = series[taken], order[taken]
    table = table.take(pa.array(order))
    target = answers_of(table, role)
    ends = windows.last_rows(series, length=length, stride=int(kind.get("stride", 1)))
    is_answered = ~np.isnan(target[ends])
    if not is_answered.any():
        raise UserError(
            f"no series has {length} rows in a row with a value of {role.columns.target} at their end",
            hint="bind longer series, or make data.<role>.contract.samples.length smaller",
        )
    left_out, ends = int((~is_answered).sum()), ends[is_answered]
    split = split_windows(role, table, ends=ends, groups=series[ends], answers=target[ends])
    if kind.get("train_on") == "normal":
        split = replace(split, train=normal(split.train, target, ends, length=length, name=role.columns.target))
    return Layout(
        rows=order,
        learnt=np.flatnonzero(windows.covered(ends[split.train], rows=len(series), length=length)),
        split=split,
        groups=series[ends],
        owners=data.owner_rows(table)[ends],
        target=target[ends],
        left_out=left_out,
        own={"ends": ends, "firsts": windows.first_rows(series)},
        notes=tuple(notes),
        test_groups=data.group_names(table, role.columns, series, of=series[ends[split.test]]),
    )


def source(role: Role, matrices: Mapping[str, Matrix], own: Mapping[str, Matrix]) -> WindowSource:
    """The windows over both matrices."""
    return WindowSource(
        numeric=torch.from_numpy(matrices["numeric"]),
        categorical=torch.from_numpy(matrices["categorical"]),
        ends=torch.from_numpy(own["ends"]),
        length=int(role.samples["length"]),
    )


def ordered(table: pa.Table, role: Role) -> tuple[npt.NDArray[np.int64], Positions]:
    """The series of each row, by series and time, and which rows those are. Raises: UserError — rows without a time."""
    name = role.columns.time
    if name is None:
        raise UserError("windows are in the order of time, but the data binds no time column")
    times = table.column(name)
    if times.null_count:
        raise UserError(f"windows are in the order of time, but {times.null_count} row(s) have no {name}")
    by_name = role.columns.group is not None
    series = data.group_rows(table, role.columns, is_sorted=True) if by_name else data.dataset_rows(table)
    order = np.lexsort((times.to_numpy(), series))
    return series[order], order


def remarks(table: pa.Table, role: Role, series: npt.NDArray[np.int64], order: Positions) -> Iterator[str]:
    """What a person should know of the series, a sentence each. Args: series — of the rows in this order.

    Raises: UserError — a series has rows of one moment in two datasets.
    """
    name, time = role.columns.group or "dataset", str(role.columns.time)
    times, datasets = (table.column(column).to_numpy()[order] for column in (time, data.DATASET))
    found = grouping.repeated(series, times, datasets)
    if found.example:
        refs = [_ref(role, int(datasets[place])) for place in found.example]
        value = table.column(name)[int(order[found.example[0]])].as_py()
        text = grouping.across_sentence(name, value, time=time, found=found, refs=refs)
        raise UserError(text, hint=grouping.ACROSS_HINT)
    if found.rows:
        yield f"{grouping.repeated_sentence(name, time=time, found=found)}."
    beginning = int(role.samples.get("beginning", 0))
    lengths = np.diff([*windows.first_rows(series), len(series)])
    if short := int((lengths < beginning).sum()):
        yield f"{grouping.short_sentence(name, short, of=len(lengths), beginning=beginning)}."
    if role.output == "score" and not table.column(role.columns.target).is_valid().to_numpy().any():
        yield f"No row has a value of {role.columns.target}: all count as normal, and misses cannot be known."


def _ref(role: Role, position: int) -> str:
    known = role.datasets[position : position + 1]
    return f"{known[0].name}@{known[0].version}" if known else f"dataset {position}"


def normal(train: Positions, target: npt.NDArray[np.float32], ends: Positions, *, length: int, name: str) -> Positions:
    """Those of the training part's windows that show no row whose target is true. Raises: UserError — none is left."""
    kept = train[~shows_true(target, ends[train], length=length)]
    if not len(kept):
        raise UserError(
            f"every window of the training part ({len(train):,}) shows a row where {name} is true, and only windows "
            "without one train",
            hint=f"bind runs in which {name} is false at least at the beginning, or see whether the column means the "
            "opposite",
        )
    return kept


def answers_of(table: pa.Table, role: Role) -> npt.NDArray[np.float32]:
    """An answer a row, none above the role's cap; for scores, a row without a label counts as normal."""
    target = features.targets(table, role.columns.target)
    if role.output == "score":
        target = np.nan_to_num(target)
    return target if role.cap is None else np.minimum(target, np.float32(role.cap))


def shows_true(target: npt.NDArray[np.float32], ends: Positions, *, length: int) -> npt.NDArray[np.bool_]:
    """Whether the target is true in any row of the windows that end at these rows. Shapes: (rows,), (windows,)."""
    count = np.concatenate([[0], np.cumsum(target > 0.5)])
    return np.asarray(count[ends + 1] > count[ends + 1 - length])


def split_windows(
    role: Role, table: pa.Table, *, ends: Positions, groups: npt.NDArray[np.int64], answers: npt.NDArray[np.float32]
) -> Split:
    """Parts of the windows. Series that nobody labelled train and judge nothing, where others are labelled."""
    if role.split.by == "time":
        return splitting.split_by_time(table.column(role.columns.time).to_numpy()[ends], fractions=role.split.fractions)
    weights = np.abs(answers.astype(np.float64))
    judging = np.arange(len(ends))
    if role.output == "score":
        has_label = table.column(role.columns.target).is_valid().to_numpy()[ends]
        labelled = np.isin(groups, np.unique(groups[has_label]))
        judging = np.flatnonzero(labelled) if labelled.any() else judging
    found = _by_group(role, table.take(pa.array(ends[judging])), groups=groups[judging], weights=weights[judging])
    train, validation, test = (judging[found.part(part)] for part in splitting.PARTS)
    others = np.setdiff1d(np.arange(len(ends)), judging)
    return Split(train=np.sort(np.concatenate([train, others])), validation=validation, test=test)


def _by_group(role: Role, table: pa.Table, *, groups: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]) -> Split:
    rule = role.split
    if rule.by != "part" or role.columns.part is None:
        return splitting.split_by_group(groups, weights, fractions=rule.fractions, seed=rule.seed)
    given = data.given_parts(table, role.columns.part)
    found = splitting.split_as_given(given, groups, weights, fractions=rule.fractions, seed=rule.seed)
    if rule.judge == "every":
        return found
    is_last = np.append(groups[found.test][1:] != groups[found.test][:-1], True)
    return replace(found, test=found.test[is_last])
