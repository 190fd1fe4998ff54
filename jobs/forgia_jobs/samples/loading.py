"""From datasets to samples: the kind that a recipe names, and the module that reads it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forgia.dataset.dataset import Dataset
from forgia.errors import NotFound, UserError
from forgia_jobs.preparation import prepared
from forgia_jobs.request import Role
from forgia_jobs.samples import tabular
from forgia_jobs.samples.data import Data
from forgia_jobs.samples.tabular import Kind

KINDS = {
    "rows": "forgia_jobs.samples.rows",
    "windows": "forgia_jobs.samples.windows",
    "images": "forgia_jobs.samples.images",
    "tokens": "forgia_jobs.samples.tokens",
    "forecasts": "forgia_jobs.samples.forecasts",
}
"""Kind of sample → the module that reads it, imported when asked for: by its ``load(role, datasets)``, or, where it
reads one long table, by its ``arrange`` and ``source`` (``forgia_jobs.samples.tabular``)."""
TABULAR = frozenset({"rows", "windows"})
"""Kinds that come from one long table."""


def load(role: Role, datasets: Sequence[Dataset], *, ready: Path | None = None) -> Data:
    """Read, pool and split the data of a role, or map what was prepared of it: the same bits.

    Args: ready — the folder of prepared data, verified.
    Raises: NotFound — no such kind of sample. UserError — the data cannot be split or learnt from.
    """
    kind, module = _module(role)
    if kind not in TABULAR:
        found: Data = module.load(role, datasets)
        return found
    return tabular.load(role, datasets, module) if ready is None else prepared.load(role, ready, module)


def tabular_kind(role: Role) -> Kind:
    """The module of a kind that can be prepared. Raises: UserError — of this kind nothing needs to be."""
    kind, module = _module(role)
    if kind not in TABULAR:
        known = " and ".join(sorted(TABULAR))
        raise UserError(f"samples of kind {kind} are read as they are: only {known} are prepared", hint="forgia run")
    found: Kind = module
    return found


def _module(role: Role) -> tuple[str, Any]:
    """The kind of a role's samples and its module. Raises: NotFound."""
    kind = "forecasts" if role.samples.get("horizon") else role.samples["kind"]
    if kind not in KINDS:
        raise NotFound("kind of sample", kind, known=KINDS)
    return kind, importlib.import_module(KINDS[kind])
