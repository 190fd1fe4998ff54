"""Rate cards: what an hour of a GPU, of a node or of the site's unit is in billing-seconds, and back; and euro.

Inwards everything is exact and what is asked is rounded up; floats are only for showing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from forgia.errors import UserError
from forgia.quota import tres

if TYPE_CHECKING:
    from pathlib import Path

    from forgia.catalogue import Catalogue
    from forgia.profile import Billing, Profile

HOUR_S = 3600
UNITS = ("gpu-h", "node-h", "units", "billing-s")
"""What an amount can be written and shown in; ``units`` are the site's own."""
AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCard:
    """Billing units of the things that people count in. SLURM's billing is taken to be the profile's charge an hour."""

    profile: str = ""
    """Empty: no profile stands behind it, and only billing is known."""
    unit: str = "billing-h"
    """The site's own."""
    gpu: Fraction | None = None
    """Of a GPU with its share of the node; None: the profile bills no GPUs."""
    node: Fraction | None = None
    """Of a whole node; None: its size is not known."""
    eur: Fraction | None = None
    """Of one of the site's units; None: no price is known, and none is invented."""

    @property
    def units(self) -> tuple[str, ...]:
        """The units that this card converts, the most telling first."""
        return tuple(name for name in UNITS if self._rate(name) is not None)

    def billing_s(self, amount: Fraction, unit: str) -> int:
        """Billing-seconds of so much, rounded up. Raises: UserError — the card does not know the unit."""
        return math.ceil(amount * self._seconds(unit))

    def amount(self, billing_s: int, unit: str) -> float:
        """Billing-seconds in a unit, for showing. Raises: UserError — the card does not know the unit."""
        return float(billing_s / self._seconds(unit))

    def euro(self, billing_s: int) -> float | None:
        """What so much costs, for showing; None where no price is known."""
        return None if self.eur is None else float(Fraction(billing_s, HOUR_S) * self.eur)

    def label(self, unit: str) -> str:
        """How a unit is called in tables."""
        return {"gpu-h": "GPU-h", "node-h": "node-h", "units": self.unit, "billing-s": "billing-s"}[unit]

    def _rate(self, unit: str) -> Fraction | None:
        """Billing units that an hour of it keeps busy."""
        return {"gpu-h": self.gpu, "node-h": self.node, "units": Fraction(1), "billing-s": Fraction(1, HOUR_S)}[unit]

    def _seconds(self, unit: str) -> Fraction:
        rate = self._rate(unit)
        if rate is None:
            source = f"profile {self.profile}" if self.profile else "what is known here (no profile of this site)"
            hint = f"use one of {', '.join(self.units)}, or name a profile that bills it with --profile"
            raise UserError(f"{source} says nothing of what a {unit} costs", hint=hint)
        return rate * HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """What of a profile a card is made of."""

    profile: str
    site: str
    formula: tres.Formula | Billing | None
    cores: int = 0
    """Of a node; 0: not known."""
    gpus: int = 0
    memory_mb: int = 0

    def card(self) -> RateCard:
        """The card. Raises: UserError — the profile does not say how its site bills."""
        billing = self.formula
        if billing is None:
            hint = "write the amount with --billing-s, or add billing to the profile"
            raise UserError(f"profile {self.profile} does not say how its site bills", hint=hint)
        node = self._node(billing)
        return RateCard(
            profile=self.profile,
            unit=billing.unit,
            gpu=node / self.gpus if node and self.gpus else tres.exact(billing.per_gpu) or None,
            node=node,
            eur=None if billing.eur_per_unit is None else tres.exact(billing.eur_per_unit),
        )

    def _node(self, billing: tres.Formula | Billing) -> Fraction | None:
        """Billing units of a whole node; its memory counts only where nothing else does, being rounded in profiles."""
        whole = tres.Tres(nodes=1, cores=self.cores, gpus=self.gpus)
        memory = tres.Tres(nodes=1, memory_mb=self.memory_mb)
        return tres.by_formula(whole, billing) or tres.by_formula(memory, billing) or None


def card_of(profile: Profile) -> RateCard:
    """The card of a profile. Raises: UserError — it does not say how its site bills, or it bills nothing."""
    return _bills(profile).card()


def _bills(profile: Profile) -> Bills:
    return Bills(
        profile=profile.name,
        site=profile.site or profile.name,
        formula=profile.billing,
        cores=profile.cpus_per_node or 0,
        gpus=(profile.gpu.per_node or 0) if profile.gpu else 0,
        memory_mb=profile.memory_mb_per_node or 0,
    )


def card_of_site(catalogue: Catalogue, site: str, *, preferred: str = "") -> RateCard:
    """The card of a site's profile: the preferred one if it is the site's, else the first that bills GPUs.

    Without any profile of the site, a card that knows billing and nothing else.
    """
    cards = [found.card() for found in bills_of_site(catalogue, site) if found.formula]
    cards.sort(key=lambda card: (card.profile != preferred, card.gpu is None))
    return cards[0] if cards else RateCard()


def bills_of_site(catalogue: Catalogue, site: str) -> Iterator[Bills]:
    """How the profiles bill whose budgets are this site's. Raises: UserError — a profile that cannot be read."""
    for path in catalogue.profiles().values():
        if site in path.read_text(encoding="utf-8"):  # parsing the others would only take time
            found = read_bills(path)
            if found.site == site:
                yield found


def read_bills(path: Path) -> Bills:
    """Of a profile file only what a card needs, unchecked where it makes sense: checking takes longer than the rest.

    Raises: UserError — with every problem of the profile, where it makes none.
    """
    from forgia import document

    fields = document.load(path).value
    billing, gpu = fields.get("billing"), fields.get("gpu") or {}
    try:
        return Bills(
            profile=str(fields["name"]),
            site=str(fields.get("site") or fields["name"]),
            formula=_formula(billing) if billing is not None else None,
            cores=int(fields.get("cpus_per_node") or 0),
            gpus=int(gpu.get("per_node") or 0),
            memory_mb=int(fields.get("memory_mb_per_node") or 0),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        from forgia import profile

        return _bills(profile.load(path))


def _formula(billing: dict[str, Any]) -> tres.Formula:
    """Raises: TypeError, ValueError — it is none."""
    kinds = {"unit": str, "combine": str, "core_step": int}
    given = {name: value for name, value in billing.items() if value is not None}
    return tres.Formula(**{name: kinds.get(name, float)(value) for name, value in given.items()})


def parse_amount(text: str, *, name: str = "amount") -> Fraction:
    """More than nothing, in digits with at most one point. Raises: UserError — anything else."""
    plain = text.strip()
    if not AMOUNT.fullmatch(plain):
        hint = "write it in digits with a point before decimals and nothing between thousands: 5000 or 0.5"
        raise UserError(f"{name} {text!r} is not an amount", hint=hint)
    amount = Fraction(plain)
    if not amount:
        raise UserError(f"{name} {text!r}: more than 0 is needed")
    return amount
