"""What one organisation used in a month, by project and recipe, with prices where prices are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from forgia.dataset.report import POLICY, STYLE
from forgia.errors import NotFound, UserError
from forgia.grant import Holder
from forgia.quota.page import SUM_HEADERS, UNKNOWN, euro, holder, hours, table
from forgia.quota.rates import HOUR_S, RateCard
from forgia.quota.tally import Sum, Tally


def organisation_of(text: str, known: Iterable[Holder]) -> Holder:
    """The organisation that somebody wrote, as ``site/name`` or by its name alone where one site has it.

    Raises: NotFound; UserError — several sites have it, or it is no organisation.
    """
    firms = sorted({Holder(one.path[:2]) for one in known if len(one.path) >= 2})
    found = [firm for firm in firms if text in (str(firm), firm.path[1])]
    if len(found) > 1:
        raise UserError(f"organisation {text!r}: name one of {', '.join(map(str, found))}")
    if not found:
        raise NotFound("organisation", text, known=[firm.path[1] for firm in firms])
    return found[0]


def to_json(tally: Tally, firm: Holder, card: RateCard) -> dict[str, Any]:
    """The invoice for a program. Amounts are billing-seconds, and the site's units beside them."""
    lines = [{"project": project, "recipe": recipe, **one.to_json()} for (project, recipe), one in by_size(tally)]
    corrections = [
        {"seq": row.seq, "holder": holder(row), "reason": row.reason, "net_s": row.net_s, "units": row.units}
        for row in tally.adjustments
    ]
    return {
        "month": tally.month,
        "organisation": str(firm),
        "rate_card": card_json(card),
        "lines": lines,
        "adjustments": corrections,
        "total": tally.total.to_json(),
    }


def card_json(card: RateCard) -> dict[str, Any]:
    """The prices that were taken; None: not known."""
    return {
        "profile": card.profile or None,
        "unit": card.unit,
        "units_per_gpu_h": None if card.gpu is None else float(card.gpu),
        "units_per_node_h": None if card.node is None else float(card.node),
        "eur_per_unit": None if card.eur is None else float(card.eur),
    }


def by_size(tally: Tally) -> list[tuple[tuple[str, str], Sum]]:
    """Projects in order, and of each the dearest recipe first."""
    return sorted(tally.by_recipe.items(), key=lambda pair: (pair[0][0], -pair[1].net_s, pair[0][1]))


def prices(card: RateCard) -> str:
    """The rate card in one line."""
    parts = [f"1 {card.unit} = {HOUR_S:,} billing-seconds"]
    parts += [f"1 GPU-h = {float(card.gpu):g} {card.unit}"] if card.gpu is not None else []
    parts += [f"1 node-h = {float(card.node):g} {card.unit}"] if card.node is not None else []
    parts.append(f"{float(card.eur):g} € a {card.unit}" if card.eur is not None else "no price in euro is known")
    return f"{card.profile or 'no profile of this site'}: {'; '.join(parts)}"


def rows(tally: Tally) -> Iterator[tuple[str, ...]]:
    """Project, recipe and sums; then what was adjusted, then the total."""
    for (project, recipe), one in by_size(tally):
        yield project or UNKNOWN, recipe, *cells(one)
    for row in tally.adjustments:
        yield holder(row), f"adjustment: {row.reason}", *cells(adjusted(row.net_s))
    yield "total", "", *cells(tally.total)


def cells(one: Sum) -> tuple[str, ...]:
    """A sum as ``SUM_HEADERS`` name it."""
    amounts = (one.gpu_s, one.billing_s, one.refund_s, one.adjusted_s, one.net_s)
    return f"{one.attempts:,}", *(hours(amount) for amount in amounts), euro(one)


def adjusted(net_s: int) -> Sum:
    """The sum of one adjustment, whose price stands in the total."""
    return Sum(adjusted_s=net_s, net_s=net_s)


def html(tally: Tally, firm: Holder, card: RateCard) -> str:
    """The invoice as a page of its own."""
    title = f"{firm}: {tally.month}"
    lines = table(("project", "recipe", *SUM_HEADERS), list(rows(tally)), words=2)
    note = f'<p class="soft">Amounts in {escape(card.unit)}. {escape(prices(card))}.</p>'
    body = f"<h1>{escape(title)}</h1>{note}{lines}"
    head = f'<meta charset="utf-8">{POLICY}<meta name="viewport" content="width=device-width">'
    head += f"<title>{escape(title)}</title>"
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'
