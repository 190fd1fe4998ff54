"""The chain: each posting's hash covers the posting and the hash before it, so that no past one can change unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

FIELDS = (
    "seq",
    "time",
    "at",
    "kind",
    "actor",
    "role",
    "reason",
    "key",
    "holder",
    "run_id",
    "hold_key",
    "facts",
    "prev_hash",
)
"""Columns of a posting that its hash covers, in order; its lines follow, in the order of their accounts."""

LARGEST = 2**53 - 1
"""Amounts beyond this are not the same in every reader of JSON. Source: RFC 8785, appendix D."""


ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
"""Made once: every posting is encoded twice, and ``json.dumps`` would make one each time."""


def canonical(value: Any) -> str:
    """One text for a JSON value: sorted keys, no white space, ASCII."""
    return ENCODER.encode(value)


def hash_of(posting: Mapping[str, Any], lines: Sequence[tuple[str, int]]) -> str:
    """64 hex digits over the canonical JSON of a posting's fields and lines."""
    covered = [*(posting[name] for name in FIELDS), sorted(lines)]
    return hashlib.sha256(canonical(covered).encode()).hexdigest()
