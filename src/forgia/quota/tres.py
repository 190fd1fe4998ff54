"""What an allocation held (SLURM's TRES) and what it costs a second. Integers and fractions, never floats.

Source: slurm.conf(5), TRESBillingWeights and AccountingStorageTRES, and sacct(1), SLURM 22.05 and 25.05
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forgia.profile import Billing

NOT_KNOWN = 2**63
"""From here on a number is one of SLURM's ways to say that there is none, such as 18446744073709551614."""
MEMORY_UNITS_MB = {"K": Fraction(1, 1024), "M": Fraction(1), "G": Fraction(1024), "T": Fraction(1024**2)}
THOUSANDS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)([KMGT]?)$")
CLOCK = re.compile(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?$")
MB_PER_GB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """``forgia.profile.Billing`` with its defaults, for showing budgets without what checks profiles."""

    unit: str
    per_core: float = 0.0
    per_gpu: float = 0.0
    per_gb: float = 0.0
    per_node: float = 0.0
    core_step: int = 1
    gb_step: float | None = None
    combine: str = "max"
    eur_per_unit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tres:
    """An allocation by its parts; what was not counted is 0."""

    billing: int | None = None
    """SLURM's own rate; None: this SLURM does not count it."""
    cores: int = 0
    gpus: int = 0
    memory_mb: int = 0
    nodes: int = 0


@lru_cache(maxsize=4096)
def parse(text: str) -> Tres:
    """Of ``billing=32,cpu=32,gres/gpu=4,mem=494000M,node=1``. Raises: ValueError — it is no such list."""
    values = {}
    for word in filter(None, text.split(",")):
        name, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"{word!r} is no amount of a resource")
        values[name] = value
    return Tres(
        billing=known(values["billing"]) if "billing" in values else None,
        cores=known(values.get("cpu", "0")) or 0,
        gpus=gpus(values),
        memory_mb=memory_mb(values["mem"]) if "mem" in values else 0,
        nodes=known(values.get("node", "0")) or 0,
    )


def gpus(values: Mapping[str, str]) -> int:
    """Each GPU once: ``gres/gpu`` counts those that ``gres/gpu:a100`` counts again by their kind."""
    if "gres/gpu" in values:
        return known(values["gres/gpu"]) or 0
    return sum(known(value) or 0 for name, value in values.items() if name.startswith("gres/gpu:"))


def known(text: str) -> int | None:
    """A count, with a unit or without; None where SLURM says that it has none. Raises: ValueError — no count."""
    match = QUANTITY.match(text)
    if not match:
        raise ValueError(f"{text!r} is no count")
    value = math.floor(Fraction(match[1]) * THOUSANDS[match[2]])
    return None if value >= NOT_KNOWN else value


def memory_mb(text: str) -> int:
    """Whole megabytes of ``494000M`` or ``1.50G``. Raises: ValueError — no amount of memory."""
    match = QUANTITY.match(text)
    if not match:
        raise ValueError(f"{text!r} is no amount of memory")
    return math.floor(Fraction(match[1]) * MEMORY_UNITS_MB[match[2] or "M"])


def seconds(text: str) -> int:
    """Of a clock with any number of days, ``40-01:02:03``; fractions are dropped. Raises: ValueError — no clock."""
    match = CLOCK.match(text)
    if not match:
        raise ValueError(f"{text!r} is no length of time")
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def rate(tres: Tres, billing: Billing | None) -> int | Fraction | None:
    """Billing units of the allocation: SLURM's where it counts them, else by the site's formula; None: no rule."""
    if tres.billing is not None:
        return tres.billing
    return by_formula(tres, billing) if billing else None


def by_formula(tres: Tres, billing: Billing | Formula) -> Fraction:
    """The profile's charge an hour, of an allocation that is spread evenly over its nodes."""
    nodes = max(tres.nodes, 1)
    packs = -(-Fraction(tres.cores, nodes) // billing.core_step) * billing.core_step
    memory = Fraction(tres.memory_mb, nodes * MB_PER_GB)
    if billing.gb_step:
        step = exact(billing.gb_step)
        memory = -(-memory // step) * step
    parts = (
        exact(billing.per_core) * packs,
        exact(billing.per_gpu) * Fraction(tres.gpus, nodes),
        exact(billing.per_gb) * memory,
        exact(billing.per_node),
    )
    return nodes * (max(parts) if billing.combine == "max" else sum(parts, Fraction(0)))


def exact(number: float) -> Fraction:
    """The number as it is written, not as the machine keeps it."""
    return Fraction(repr(number))
