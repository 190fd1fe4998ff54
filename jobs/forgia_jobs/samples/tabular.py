"""Kinds of sample that are read from one long table: what they share, whether the table is in memory or prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia import features
from forgia.dataset.dataset import Dataset
from forgia.features import FeatureSpec
from forgia.splitting import Split
from forgia_jobs.request import Columns, Role
from forgia_jobs.samples import Positions, Source, data, edges, usual
from forgia_jobs.samples.data import Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which rows of the pooled table are kept, in which order, and which samples they make."""

    rows: Positions
    """Rows of the pooled table, in the order in which the matrices hold them."""
    learnt: Positions
    """Positions in ``rows`` of those that the features are fitted on."""
    split: Split
    """Positions of samples."""
    groups: npt.NDArray[np.int64]
    owners: npt.NDArray[Any]
    target: npt.NDArray[Any]
    left_out: int
    cuts: npt.NDArray[np.float32] | None = None
    """An answer for each of ``learnt``, where the edges of intervals are to lie where it changes."""
    own: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """What the kind wants to know of its samples besides, such as where windows end."""
    notes: tuple[str, ...] = ()
    """What the card says of the data besides, a sentence each."""
    test_groups: tuple[str, ...] = ()
    """What the groups of the test part are called, where a column says it."""


class Kind(Protocol):
    """A module of ``forgia_jobs.samples`` whose samples come from one table."""

    def arrange(self, role: Role, table: pa.Table) -> Layout:
        """The layout; reads target, group, time, episodes, part, dataset and owner, and no other column.

        Raises: UserError — the data cannot be split or learnt from.
        """
        ...

    def source(
        self, role: Role, matrices: Mapping[str, npt.NDArray[Any]], own: Mapping[str, npt.NDArray[Any]]
    ) -> Source:
        """The samples over these matrices, whose memory it shares."""
        ...


def load(role: Role, datasets: Sequence[Dataset], kind: Kind) -> Data:
    """Read, pool, arrange, and fit the features on the training part, all in memory.

    Raises: UserError — the data cannot be split or learnt from.
    """
    table = data.pool(datasets, role.columns, needs_target=role.output != "score")
    layout = kind.arrange(role, table)
    if not np.array_equal(layout.rows, np.arange(table.num_rows)):
        table = table.take(pa.array(layout.rows))
    spec = fit(role, table.take(pa.array(layout.learnt)), role.columns)
    matrices = spec.encode(table)
    spec, matrices["numeric"] = usual.settle(spec, role, layout.own, matrices["numeric"], train=layout.split.train)
    if layout.cuts is not None:
        spec = edges.place(spec, matrices["numeric"][layout.learnt], layout.cuts)
    return Data(
        spec=spec,
        split=layout.split,
        groups=layout.groups,
        owners=layout.owners,
        source=kind.source(role, matrices, layout.own),
        target=layout.target,
        left_out=layout.left_out,
        notes=layout.notes,
        test_groups=layout.test_groups,
    )


def fit(role: Role, learnt: pa.Table, columns: Columns) -> FeatureSpec:
    """The spec of these columns, with what the role says of samples and answers."""
    spec = features.fit(
        learnt,
        numeric=columns.numeric,
        categorical=columns.categorical,
        target=columns.target,
        derived=columns.derived,
        units=role.units,
        output=role.output,
    )
    if role.cap is not None:
        target = np.minimum(features.targets(learnt, columns.target), role.cap)
        spread = float(np.nanstd(target)) or 1.0
        spec = replace(spec, cap=role.cap, target_mean=float(np.nanmean(target)), target_std=spread)
    about = {"group": columns.group, "time": columns.time} if role.samples["kind"] == "windows" else {}
    return replace(spec, samples={**role.samples, **about}, quantiles=role.quantiles)
