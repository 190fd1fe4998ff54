"""Which classes each part has samples of: what nothing can be learnt from, and what will never be judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia.errors import UserError
from forgia.groups import listed
from forgia.splitting import PARTS, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The class of each sample."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]
    """Position among the names, a sample."""

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Labels:
        """Of a column without nulls."""
        written = column.cast(pa.string()).to_numpy()
        names, codes = np.unique(written.astype(str), return_inverse=True)
        return cls(names=tuple(names.tolist()), codes=codes.astype(np.int64))

    @property
    def indicators(self) -> npt.NDArray[np.float32]:
        """What a split shares out. Shapes: (samples, classes)."""
        return np.eye(len(self.names), dtype=np.float32)[self.codes]

    def counts(self, rows: Any = slice(None)) -> dict[str, int]:
        """Samples of each class. Args: rows — of these alone."""
        found = np.bincount(self.codes[rows], minlength=len(self.names))
        return dict(zip(self.names, found.tolist(), strict=True))


def check_names(labels: Labels, *, normal: str | None, setting: str) -> None:
    """Raises: UserError — fewer than two classes, or an unknown normal one. Args: setting — of the normal class."""
    counts = labels.counts()
    if len(counts) < 2:
        raise UserError(f"all images are {', '.join(counts) or 'without a class'}; there is nothing to tell apart")
    if normal is None or normal in counts:
        return
    known = listed([f"{name} {count:,}" for name, count in counts.items()])
    most = max(counts, key=lambda name: counts[name])
    raise UserError(
        f"no image is {normal}, the normal class of the recipe; there are {', '.join(counts)} (images: {known})",
        hint=f"say which one means that nothing is wrong, such as --set {setting}={most}, or write it in recipe.yaml",
    )


def check_parts(labels: Labels, split: Split, *, normal: str | None, setting: str) -> None:
    """Raises: UserError — a class that is nowhere in the training part, or a part that says nothing of the normal one
    or of a defect. Args: setting — of the split's seed."""
    counts, hint = labels.counts(), f"bind more such images, or choose another split: --set {setting}=N"
    learnt = labels.counts(split.train)
    if missing := [name for name in labels.names if not learnt[name]]:
        told = ", ".join(f"{name} {counts[name]:,}" for name in missing)
        raise UserError(f"the training part has no image of {', '.join(missing)} (images in all: {told})", hint=hint)
    for part in PARTS if normal is not None else ():
        there = labels.counts(split.part(part))
        good = there[normal or ""]
        if good in (0, sum(there.values())):
            raise UserError(f"every image of the {part} part is {normal if good else 'defective'}", hint=hint)


WITHOUT = {
    "validation": "weights and threshold are chosen without any",
    "test": "no figure says how well such are told apart",
}
"""Part → what it means that it has no image of a class."""


def never_judged(labels: Labels, split: Split) -> Iterator[str]:
    """A sentence for each part but the training part that has no image of some class."""
    counts = labels.counts()
    for part, what in WITHOUT.items():
        there = labels.counts(split.part(part))
        if missing := [f"{name} ({counts[name]:,} in all)" for name in labels.names if not there[name]]:
            yield f"the {part} part has no image of {listed(missing)}: {what}"
