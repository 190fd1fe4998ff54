"""A dataset's profile for people: one HTML page that needs nothing else, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from forgia.dataset import svg
from forgia.dataset.findings import Finding, findings
from forgia.dataset.manifest import Manifest
from forgia.dataset.svg import figure, share

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--paper:#fff;--panel:#f5f7f9;--line:#dbe1e8;--bar:#3a6ea5;
--bad:#b3261e;--look:#8a5a00;--know:#3a6ea5}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--paper:#14181e;--panel:#1c222b;--line:#313a46;
--bar:#7aabdf;--bad:#ff8a80;--look:#f0b95a;--know:#7aabdf}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:2rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2.25rem 0 .75rem}
h3{font-size:1rem;margin:0;overflow-wrap:anywhere}p{margin:.25rem 0}
.soft{color:var(--soft)}
.mono{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.8rem;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:1rem 0 0;padding:0;list-style:none}
.facts b{display:block;font-size:1.25rem;font-weight:600}
.findings{margin:0;padding:0;list-style:none;border:1px solid var(--line);border-radius:.4rem}
.findings li{padding:.45rem .8rem;border-top:1px solid var(--line)}.findings li:first-child{border-top:0}
.word{display:inline-block;min-width:6.5em;font-weight:600}.w0{color:var(--bad)}.w1{color:var(--look)}.w2{color:var(--know)}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr))}
article{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.8rem 1rem;break-inside:avoid}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.05rem .8rem;margin:.5rem 0;font-size:.85rem}
dt{color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
svg{display:block;width:100%;height:auto;margin:.5rem 0}svg rect{fill:var(--bar)}svg rect.rest{fill:var(--line)}
svg rect.part{fill:var(--bad)}svg text{font-size:10.5px;fill:var(--soft)}svg .axis{stroke:var(--soft);stroke-width:.7}
svg .fence{stroke:var(--bad);stroke-dasharray:3 3}
table{border-collapse:collapse;width:100%;font-size:.85rem}th,td{text-align:left;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}footer{margin-top:2.5rem;font-size:.85rem}
@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--panel:#fff;--line:#bbb;--bar:#3a6ea5}
body{max-width:none;padding:0}}
"""
POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
"""A second lock behind the escaping: the browser runs and loads nothing, whatever a column is called."""
WORDS = ("mend", "look at", "know")
"""What a finding asks of the reader, by its weight."""


def html(manifest: Manifest, profile: Mapping[str, Any]) -> str:
    """The report as one page: no script, no address outside it, every text from the data escaped."""
    found = findings(profile)
    title = escape(manifest.title or manifest.name)
    origin = escape(f"{manifest.ref} · owned by {manifest.owner} · {manifest.created}")
    body = "".join(
        (
            f"<h1>{title}</h1>",
            f'<p class="soft">{origin}</p>',
            facts(manifest, profile, found),
            f"<h2>What stands out</h2>{finding_list(found)}",
            f'<h2>Columns</h2><div class="wide">{overview(profile)}</div>',
            f'<h2>Each column</h2><div class="grid">{"".join(map(card, profile["columns"]))}</div>',
            closing(manifest, profile),
        )
    )
    head = f'<meta charset="utf-8">{POLICY}<meta name="viewport" content="width=device-width"><title>{title}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def table(profile: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the overview, one row a column of the data."""
    headers = ["column", "kind", "unit", "missing", "values", "smallest", "middle", "largest", "note"]
    notes: dict[str, int] = {}
    for finding in findings(profile):
        notes[finding.column] = notes.get(finding.column, 0) + 1
    return headers, [table_row(column, notes.get(column["name"], 0)) for column in profile["columns"]]


def table_row(column: Mapping[str, Any], notes: int) -> list[str]:
    """One column of the data in nine cells."""
    low, middle, high = span(column)
    note = "constant" if column.get("constant") else f"{notes} to look at" if notes else ""
    missing = share(column["nulls_share"]) if column["nulls"] else "0"
    return [column["name"], column["kind"], column["unit"] or "", missing, distinct(column), low, middle, high, note]


def span(column: Mapping[str, Any]) -> tuple[str, str, str]:
    """Smallest, middle and largest of a column, as text; the middle of a category is its commonest value."""
    if column["kind"] == "number":
        middle = (column.get("quantiles") or {}).get("0.5")
        return figure(column["min"]), figure(middle), figure(column["max"])
    if column["kind"] == "time":
        return column["first"] or "–", "", column["last"] or "–"
    top = column.get("top")
    return "", f"{svg.shortened(shown(top[0]['value']), 20)} ({top[0]['count']:,})" if top else "", ""


def distinct(column: Mapping[str, Any]) -> str:
    """How many different values there are, as far as it is known."""
    if "distinct" not in column:
        return ""
    return f"> {column['distinct']:,}" if column["distinct_is_more"] else f"{column['distinct']:,}"


def shown(value: Any) -> str:
    """A value as the data would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def facts(manifest: Manifest, profile: Mapping[str, Any], found: list[Finding]) -> str:
    """The figures at the head of the page."""
    cells = sum(column["rows"] for column in profile["columns"])
    missing = sum(column["nulls"] for column in profile["columns"])
    grave = sum(finding.weight == 0 for finding in found)
    pairs = (
        ("rows", f"{profile['rows']:,}"),
        ("columns", f"{len(profile['columns'])}"),
        ("missing", share(missing / cells if cells else 0.0)),
        ("rows rejected", f"{manifest.rejected:,}"),
        ("to mend", f"{grave}"),
        ("to look at", f"{sum(finding.weight == 1 for finding in found)}"),
    )
    return f'<ul class="facts">{"".join(f"<li><b>{text}</b>{name}</li>" for name, text in pairs)}</ul>'


def finding_list(found: list[Finding]) -> str:
    """The findings in plain words; a word, not only a colour, says how grave each is."""
    if not found:
        return "<p>Nothing: no constant column, few missing values, no far-out values, no repeated rows.</p>"
    items = "".join(
        f'<li><span class="word w{finding.weight}">{WORDS[finding.weight]}</span>{escape(str(finding))}</li>'
        for finding in found
    )
    return f'<ul class="findings">{items}</ul>'


def overview(profile: Mapping[str, Any]) -> str:
    """The terminal's table as HTML."""
    headers, rows = table(profile)
    numeric = {"missing", "values", "smallest", "middle", "largest"}
    kinds = [' class="n"' if header in numeric else "" for header in headers]
    head = "".join(f"<th{kind}>{escape(header)}</th>" for header, kind in zip(headers, kinds, strict=True))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def card(column: Mapping[str, Any]) -> str:
    """One column: what it is, its figures, its picture, its gaps."""
    unit = f" · {escape(column['unit'])}" if column["unit"] else ""
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in figures(column))
    gaps = ""
    if column["nulls"]:
        label = f"{share(column['nulls_share'])} missing"
        gaps = f'<p class="soft">{column["nulls"]:,} values missing ({label.removesuffix(" missing")})</p>'
        gaps += svg.share_bar(column["nulls_share"], label=label)
    head = f'<h3>{escape(column["name"])}</h3><p class="soft">{escape(column["kind"])}{unit}</p>'
    return f"<article>{head}{picture(column)}<dl>{terms}</dl>{gaps}</article>"


def picture(column: Mapping[str, Any]) -> str:
    """The histogram of numbers, the bars of categories and classes; nothing for times and texts."""
    if histogram := column.get("histogram"):
        outliers = column["outliers"]
        fences = outliers["fences"] if outliers["count"] else ()
        return svg.histogram(histogram["edges"], histogram["counts"], unit=column["unit"], fences=fences)
    if top := column.get("top"):
        values = [(shown(item["value"]), item["count"]) for item in top]
        return svg.value_bars(values, rows=column["rows"] - column["nulls"])
    return ""


def figures(column: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of each figure of a column."""
    if column["source"] != column["name"]:
        yield "in the source", column["source"]
    if column["kind"] == "number":
        yield from number_figures(column)
    if column["kind"] == "time":
        yield "from – to", f"{column['first'] or '–'} – {column['last'] or '–'}"
        if column["largest_gap_s"] is not None:
            yield "largest gap", duration(column["largest_gap_s"])
            yield "in order", "yes" if not column["steps_back"] else f"no, {column['steps_back']:,} steps back"
    if "distinct" in column:
        yield "values", distinct(column)


def number_figures(column: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of each figure of a column of numbers."""
    yield "smallest – largest", f"{figure(column['min'])} – {figure(column['max'])}"
    yield "mean ± deviation", f"{figure(column['mean'])} ± {figure(column['std'])}"
    if quantiles := column["quantiles"]:
        yield "quartiles", " · ".join(figure(quantiles[key]) for key in ("0.25", "0.5", "0.75"))
        yield "1 % – 99 %", f"{figure(quantiles['0.01'])} – {figure(quantiles['0.99'])}"
    if column["typical_range"]:
        low, high = (figure(bound) for bound in column["typical_range"])
        yield "usual range", f"{low} – {high}; {column['beyond_typical_range']:,} beyond"
    if (outliers := column["outliers"]) and outliers["count"]:
        yield "far out", f"{outliers['count']:,} of {outliers['of']:,} sampled"


def duration(seconds: float) -> str:
    """A length of time in the unit a person would use."""
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{figure(round(seconds / length, 1))} {name}"
    return f"{figure(seconds)} s"


def closing(manifest: Manifest, profile: Mapping[str, Any]) -> str:
    """How the figures were made and what was read."""
    rules = [
        f"Quantiles, histograms and far-out values come from {profile['sample_rows']:,} rows spread evenly over "
        f"{profile['rows']:,}; everything else counts every row.",
        "Far out: beyond the quartiles by more than 3 interquartile ranges.",
        f"Repeated rows: {profile['duplicates']['rule']}.",
    ]
    sources = "".join(
        f'<li>{escape(item.name)}, {item.size:,} bytes<br><span class="mono">{escape(item.digest)}</span></li>'
        for item in manifest.sources
    )
    notes = "".join(f"<p>{escape(rule)}</p>" for rule in rules)
    licence = f"<p>Licence: {escape(manifest.licence)}</p>" if manifest.licence else ""
    return f'<footer class="soft"><h2>How this was made</h2>{notes}{licence}<ul>{sources}</ul></footer>'
