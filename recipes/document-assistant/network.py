"""The network: a small one from nothing, or a base with adapters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from forgia.features import FeatureSpec
from forgia_jobs.text import language


def network(spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
    """What the parameters ask for. Raises: UserError — the base cannot be used, or not with documents apart."""
    if params["base"]:
        found = language.of_base(Path(params["base"]), spec, numbers=params["numbers"])
    else:
        shape = language.Shape(width=params["width"], layers=params["layers"], heads=params["heads"])
        found = language.small(spec, shape)
    if params["apart"]:
        language.check_apart(found)
    if not (params["base"] and params["rank"]):
        return found
    return language.adapted(found, rank=params["rank"], alpha=params["alpha"], dropout=params["dropout"])
