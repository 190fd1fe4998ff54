"""A month of the ledger as one HTML page that needs nothing else: no script, no address outside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo

from forgia.dataset import svg
from forgia.dataset.report import POLICY, STYLE
from forgia.dataset.svg import figure
from forgia.quota.daily import midnight
from forgia.quota.rates import HOUR_S
from forgia.quota.records import GrantState
from forgia.quota.report import Row
from forgia.quota.slices import ZONE, Month
from forgia.quota.tally import Sum, Tally

WIDTH, BASE, HEIGHT = 720, 170, 190
OWN_STYLE = "svg .ideal{fill:none;stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 3}svg.days{max-width:60rem}"
SUM_HEADERS = ("attempts", "GPU-h", "charged", "refunded", "adjusted", "total", "€")
UNKNOWN = "–"


def html(tally: Tally, span: Month, *, grants: Sequence[GrantState], title: str, digest: str = "") -> str:
    """The page, from the sums of the month's rows."""
    unit = tally.unit or "billing-h"
    body = "".join(
        (
            f"<h1>{escape(title)}</h1>",
            f'<p class="soft">{span.name} · amounts in {escape(unit)} · written by forgia from its ledger</p>',
            facts(tally, unit),
            f"<h2>Day by day</h2>{burn(tally, span, grants, unit)}",
            f"<h2>Organisations</h2>{shares(tally)}{sums('organisation', tally.by_organisation.items())}",
            f"<h2>Projects and recipes</h2>{sums('project · recipe', recipes(tally))}",
            f"<h2>The dearest attempts</h2>{attempts(tally.largest)}",
            f"<h2>Adjustments</h2>{adjustments(tally.adjustments)}",
            closing(tally, digest),
        )
    )
    head = f'<meta charset="utf-8">{POLICY}<meta name="viewport" content="width=device-width">'
    style = f"<title>{escape(title)}</title><style>{STYLE}{OWN_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{style}</head><body>{body}</body></html>\n'


def write_html(
    path: Path, rows: Iterable[Row], tally: Tally, *, span: Month, grants: Sequence[GrantState], title: str
) -> None:
    """Take the rows, which the tally counts, and write the page."""
    for _ in rows:
        pass
    path.write_text(html(tally, span, grants=grants, title=title), encoding="utf-8")


def hours(billing_s: int) -> str:
    """Billing-seconds as the site's unit, for a person."""
    return figure(round(billing_s / HOUR_S, 1))


def euro(one: Sum) -> str:
    """The cost; a dash where no price is known."""
    if one.cost_eur is None:
        return UNKNOWN
    return f"{one.cost_eur:,.2f}" + (" + unpriced" if one.unpriced else "")


def facts(tally: Tally, unit: str) -> str:
    """The figures at the head."""
    total = tally.total
    pairs = (
        ("attempts", f"{total.attempts:,}"),
        (f"{unit} in all", hours(total.net_s)),
        ("GPU-h", hours(total.gpu_s)),
        ("refunded", hours(total.refund_s)),
        ("adjusted", hours(total.adjusted_s)),
        ("€", euro(total)),
    )
    items = "".join(f"<li><b>{escape(text)}</b>{escape(name)}</li>" for name, text in pairs)
    return f'<ul class="facts">{items}</ul>'


def burn(tally: Tally, span: Month, grants: Sequence[GrantState], unit: str) -> str:
    """Bars of what was used each day, against the line of an even use of all grants."""
    days = list(days_of(span, tally.zone))
    used = [tally.by_day.get(day, 0) for day in days]
    even = [ideal(grants, day, tally.zone) for day in days]
    note = (
        f"Bars: used by the attempts that ended on the day. Line: even use of every grant valid then ({escape(unit)})."
    )
    return f'{day_bars(days, used, even, unit)}<p class="soft">{note}</p>'


def days_of(span: Month, zone: str) -> Iterable[date]:
    """Every day of a month."""
    day, last = (moment.astimezone(ZoneInfo(zone)).date() for moment in (span.begin, span.end))
    while day < last:
        yield day
        day += timedelta(days=1)


def ideal(grants: Iterable[GrantState], day: date, zone: str = ZONE) -> int:
    """What even use of the grants that are valid would be on a day."""
    begin, end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
    return sum(one.balance.granted * overlap_s(one, begin, end) // max(length_s(one), 1) for one in grants)


def overlap_s(grant: GrantState, begin: datetime, end: datetime) -> int:
    """For how much of that time a grant is valid."""
    shared = min(grant.terms.valid_until, end) - max(grant.terms.valid_from, begin)
    return max(shared // timedelta(seconds=1), 0)


def length_s(grant: GrantState) -> int:
    """How long a grant is valid."""
    return (grant.terms.valid_until - grant.terms.valid_from) // timedelta(seconds=1)


def day_bars(days: Sequence[date], used: Sequence[int], even: Sequence[int], unit: str) -> str:
    """One bar a day and the line of an even use, as inline SVG."""
    top, width = max(*used, *even, 1), WIDTH / len(days)
    heights = [(BASE - 14) * max(amount, 0) / top for amount in used]
    bars = "".join(
        f'<rect x="{place * width + 1:.1f}" y="{BASE - height:.1f}" width="{width - 2:.1f}" height="{height:.1f}">'
        f"<title>{day}: {hours(amount)} {escape(unit)}</title></rect>"
        for place, (day, amount, height) in enumerate(zip(days, used, heights, strict=True))
    )
    steps = [(place * width, BASE - (BASE - 14) * amount / top) for place, amount in enumerate(even)]
    points = " ".join(f"{x:.1f},{y:.1f} {x + width:.1f},{y:.1f}" for x, y in steps)
    texts = ((0, BASE + 14, "start", str(days[0])), (WIDTH, BASE + 14, "end", str(days[-1])))
    scale = "".join(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>' for x, y, anchor, text in texts)
    scale += f'<text x="0" y="10">{hours(top)} {escape(unit)} a day</text>'
    axis = (
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/><polyline class="ideal" points="{points}"/>'
    )
    label = escape(f"use a day from {days[0]} to {days[-1]}, at most {hours(top)} {unit}")
    return f'<svg class="days" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{bars}{axis}{scale}</svg>'


def shares(tally: Tally) -> str:
    """A lying bar for each of the organisations that used most."""
    found = sorted(((one.net_s // HOUR_S, name) for name, one in tally.by_organisation.items()), reverse=True)[:20]
    values = [(name.rpartition("/")[2], max(amount, 0)) for amount, name in found]
    return svg.value_bars(values, rows=max(tally.total.net_s // HOUR_S, 1)) if values else "<p>Nothing was charged.</p>"


def recipes(tally: Tally) -> Iterable[tuple[str, Sum]]:
    """Each project and recipe with its sum."""
    return ((f"{project or UNKNOWN} · {recipe}", one) for (project, recipe), one in tally.by_recipe.items())


def sums(what: str, found: Iterable[tuple[str, Sum]]) -> str:
    """A table of sums, the largest first."""
    rows = [
        (
            name,
            f"{one.attempts:,}",
            *(hours(amount) for amount in (one.gpu_s, one.billing_s, one.refund_s, one.adjusted_s, one.net_s)),
            euro(one),
        )
        for name, one in sorted(found, key=lambda pair: (-pair[1].net_s, pair[0]))
    ]
    return table((what, *SUM_HEADERS), rows)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """A table whose first columns are words and whose others are numbers."""
    kinds = ["" if place < words else ' class="n"' for place in range(len(headers))]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, headers, strict=True))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def attempts(rows: Sequence[Row]) -> str:
    """The dearest attempts, a line each."""
    headers = ("job", "holder", "recipe", "state", "end (UTC)", "GPU-h", "total")
    cells = [
        (
            f"{row.cluster} {row.job}",
            holder(row),
            row.recipe or UNKNOWN,
            row.state,
            row.end or UNKNOWN,
            hours(row.gpu_s),
            hours(row.net_s),
        )
        for row in rows
    ]
    return table(headers, cells, words=5)


def holder(row: Row) -> str:
    """Who paid, as a path."""
    return "/".join(filter(None, (row.site, row.organisation, row.project, row.person)))


def adjustments(rows: Sequence[Row]) -> str:
    """Every adjustment with its reason."""
    cells = [(holder(row), row.reason, row.end or UNKNOWN, hours(row.net_s)) for row in rows]
    return table(("holder", "reason", "posted (UTC)", "total"), cells, words=3) if cells else "<p>None.</p>"


def closing(tally: Tally, digest: str) -> str:
    """How the figures came about."""
    cards = ", ".join(sorted(filter(None, tally.cards))) or "none known"
    notes = (
        "An attempt belongs to the month in which it ended, by the clock of the site.",
        "The total is what the ledger's postings of the month add up to: charged, less refunded, with adjustments.",
        f"Rate cards: {cards}. Where no price is known there is no amount in euro.",
        f"Rows of this report: {digest}" if digest else "",
    )
    return f'<footer class="soft">{"".join(f"<p>{escape(note)}</p>" for note in notes if note)}</footer>'
