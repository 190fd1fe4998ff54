"""Forgia: from a firm's CSV to a versioned model on SLURM GPU nodes.

    import forgia
    client = forgia.Client()
    client.add_dataset("mill-7", ["export.csv"])
    release = client.run(client.plan("mill-failures"))
    scores = release.predict(table)

Importing the package is cheap: what it offers is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgia.catalogue import Catalogue
    from forgia.client import Client
    from forgia.dataset.dataset import Dataset
    from forgia.errors import ForgiaError
    from forgia.plan import Plan
    from forgia.scoring import Model
    from forgia.settings import Settings

__all__ = ["Catalogue", "Client", "Dataset", "ForgiaError", "Model", "Plan", "Settings"]

PLACES = {
    "Catalogue": "forgia.catalogue",
    "Client": "forgia.client",
    "Dataset": "forgia.dataset.dataset",
    "ForgiaError": "forgia.errors",
    "Model": "forgia.scoring",
    "Plan": "forgia.plan",
    "Settings": "forgia.settings",
}
"""Public name → the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)
