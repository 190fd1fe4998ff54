"""A sample is a row of a table: a machine at one moment, a part at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from forgia import features
from forgia_jobs.request import Role
from forgia_jobs.samples import Flat, Positions, Source, data, hosting
from forgia_jobs.samples.tabular import Layout

Matrix = npt.NDArray[Any]
ROWS_AT_ONCE = 8192
"""Rows predicted at once."""
HELD_TWICE = 256 * 2**20
"""Bytes of a part's rows that are copied out of all, so that a batch is found by one look and not by two."""


class RowSource:
    """Two matrices over the same rows."""

    rows_at_once = ROWS_AT_ONCE

    def __init__(self, numeric: Tensor, categorical: Tensor) -> None:
        """Shapes: (rows, features) float32 in the spec's units, NaN where missing; (rows, features) int64."""
        self.numeric, self.categorical = numeric, categorical

    def to(self, device: torch.device) -> Source:
        """Both matrices there, unless they are too large; where they are already, the very same memory."""
        if hosting.is_too_large((self.numeric, self.categorical), device):
            return hosting.HostSource(self, device)
        return RowSource(self.numeric.to(device), self.categorical.to(device))

    def of_part(self, positions: Positions) -> RowSource | None:
        """These rows alone, one after the other; None where they are too many to be held twice."""
        whole = (self.numeric, self.categorical)
        row = sum(matrix.shape[1] * matrix.element_size() for matrix in whole)
        if len(positions) * row > HELD_TWICE:
            return None
        places = torch.from_numpy(np.ascontiguousarray(positions)).to(self.numeric.device)
        return RowSource(*(matrix.index_select(0, places) for matrix in whole))

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """``numeric`` and ``categorical``, (batch, features) each."""
        return {
            "numeric": self.numeric.index_select(0, chosen),
            "categorical": self.categorical.index_select(0, chosen),
        }

    def flat(self, chosen: Positions) -> Flat:
        """The rows as they are."""
        numbers, codes = self.numeric.numpy()[chosen], self.categorical.numpy()[chosen]
        return Flat(
            matrix=np.concatenate([numbers, codes], axis=1).astype(np.float64),
            is_category=(*[False] * numbers.shape[1], *[True] * codes.shape[1]),
        )


def arrange(role: Role, table: pa.Table) -> Layout:
    """The rows with an answer, as they come; edges lie where the answer of the training part changes."""
    answered = np.flatnonzero(table.column(role.columns.target).is_valid().to_numpy())
    left_out = table.num_rows - len(answered)
    table = table.take(pa.array(answered)) if left_out else table
    target = features.targets(table, role.columns.target)
    groups = data.group_rows(table, role.columns, is_sorted=True)
    split = data.split_rows(table, role, groups=groups, target=target)
    return Layout(
        rows=answered,
        learnt=split.train,
        split=split,
        groups=groups,
        owners=data.owner_rows(table),
        target=target,
        left_out=left_out,
        cuts=target[split.train],
        test_groups=data.group_names(table, role.columns, groups, of=groups[split.test]),
    )


def source(role: Role, matrices: Mapping[str, Matrix], own: Mapping[str, Matrix]) -> RowSource:  # noqa: ARG001 — a Kind
    """The rows of both matrices."""
    return RowSource(torch.from_numpy(matrices["numeric"]), torch.from_numpy(matrices["categorical"]))
