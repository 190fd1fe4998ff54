"""Small plots as inline SVG: bars of counts and one bar of shares. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 360, 96
BASE = 78
"""Where the bars stand; below it is the scale."""


def histogram(edges: Sequence[float], counts: Sequence[int], *, unit: str | None, fences: Sequence[float] = ()) -> str:
    """Counts over equal bins as bars; dashed lines where ``fences`` fall inside the scale."""
    low, high = edges[0], edges[-1]
    tallest, width = max(*counts, 1), WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{place * width + 0.5:.1f}" y="{BASE - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'
        for place, count in enumerate(counts)
        # A bin that is not empty stays visible: the rare values are those that matter.
        if count and (height := max(1.5, (BASE - 4) * count / tallest))
    )
    lines = "".join(
        f'<line class="fence" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{BASE}"/>'
        for fence in fences
        if low < fence < high and (x := WIDTH * (fence - low) / (high - low)) is not None
    )
    label = f"histogram from {figure(low)} to {figure(high)} {unit or ''}".strip()
    left, right = figure(low), f"{figure(high)} {unit or ''}".strip()
    scale = _text(0, BASE + 14, left, "start") + _text(WIDTH, BASE + 14, right, "end")
    axis = f'<line class="axis" x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/>'
    return _picture(f"{bars}{lines}{axis}{scale}", label=label, height=HEIGHT)


def value_bars(values: Sequence[tuple[str, int]], *, rows: int) -> str:
    """One lying bar a value, with its count and share."""
    tallest = max((count for _, count in values), default=1) or 1
    pieces = []
    for place, (value, count) in enumerate(values):
        top, length = place * 18, max(1.0, 150 * count / tallest)
        pieces.append(_text(112, top + 12, shortened(value, 16), "end"))
        pieces.append(f'<rect x="118" y="{top + 3}" width="{length:.1f}" height="12"/>')
        pieces.append(_text(124 + length, top + 12, f"{count:,} ({share(count / rows if rows else 0)})", "start"))
    label = "counts of " + ", ".join(f"{value}: {count}" for value, count in values)
    return _picture("".join(pieces), label=label, height=max(18 * len(values), 18))


def share_bar(part: float, *, label: str) -> str:
    """A share of the whole as one filled bar."""
    filled = WIDTH * min(max(part, 0.0), 1.0)
    if part > 0:
        filled = max(filled, 1.5)
    inside = (
        f'<rect class="rest" x="0" y="2" width="{WIDTH}" height="8"/>'
        f'<rect class="part" x="0" y="2" width="{filled:.1f}" height="8"/>'
    )
    return _picture(inside, label=label, height=12)


def figure(value: float | int | None) -> str:
    """A number for a person's eye: four significant digits, more where a large value needs them."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    if 1e3 <= abs(value) < 1e9:
        return f"{value:,.1f}"
    return f"{value:.4g}"


def share(part: float) -> str:
    """A share as a percentage that never rounds something to nothing, nor nearly all to all."""
    percent = 100 * part
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent % 1 else f"{percent:.0f} %"


def shortened(text: str, length: int) -> str:
    """The text, cut with an ellipsis where it is too long."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _text(x: float, y: float, content: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def _picture(inside: str, *, label: str, height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{inside}</svg>'
