"""What a card is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia.dataset.manifest import Manifest
from forgia_jobs.judging.evaluate import Evaluation
from forgia_jobs.request import Request
from forgia_jobs.samples.data import Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the card says."""

    run_id: str
    created: str
    request: Request
    data: Data
    manifests: Sequence[Manifest]
    evaluation: Evaluation
    training: Mapping[str, Any]
    """Steps, epochs, seconds, number of parameters."""
    cost: Mapping[str, Any]
    determinism: Mapping[str, Any]
    tensor_digest: str
    onnx_difference: float | None
    plots: Sequence[Path]
