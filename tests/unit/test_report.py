"""The profile report: plain findings, pictures, and nothing that runs or leaves the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forgia.dataset import report, svg
from forgia.dataset.findings import findings, of_column
from forgia.dataset.manifest import Column, Manifest, Source
from forgia.dataset.profiling import Profiler

NASTY = "<script>alert('x')</script>\"&"


def manifest(**changed: Any) -> Manifest:
    fields: dict[str, Any] = {"name": "mill-7", "version": 2, "owner": "alfa", "created": "2026-11-22T10:00:00Z"}
    source = Source(name="mill.csv", digest="sha256:" + "0" * 64, size=10)
    return Manifest(**(fields | {"sources": (source,), "rows": 1000} | changed))


@pytest.fixture(scope="module")
def troubled() -> dict[str, Any]:
    """A table with one of every trouble."""
    random = np.random.default_rng(0)
    torque = random.normal(40, 2, 1000)
    torque[:10] = 4000
    columns = {
        "torque": ("number", "N.m", pa.array(torque)),
        "air": ("number", "K", pa.array(random.normal(23, 1, 1000))),
        "same": ("number", None, pa.array(np.ones(1000))),
        "gaps": ("number", "V", pa.array(np.arange(1000.0), mask=np.arange(1000) % 10 == 0)),
        "grade": ("category", None, pa.array([NASTY, "M"] * 500)),
        "failed": ("boolean", None, pa.array(np.arange(1000) < 30)),
        "when": ("time", None, pa.array(np.arange(1000)[::-1] * 1_000_000).cast(pa.timestamp("us", "UTC"))),
    }
    batch = pa.record_batch({name: values for name, (_, _, values) in columns.items()})
    described = [
        Column(name=name, source=f"{name} {NASTY}", kind=kind, unit=unit, concept=name)
        for name, (kind, unit, _) in columns.items()
    ]
    profiler = Profiler(described, typical_ranges={"air": (230, 330)})
    profiler.update(batch)
    profiler.update(batch.slice(900, 50))
    return profiler.result()


class Tags(HTMLParser):
    """Every tag opened and closed, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_trouble_is_told_in_plain_words(troubled: dict[str, Any]) -> None:
    told = "\n".join(map(str, findings(troubled)))
    assert "same: the same value in every row" in told
    assert "gaps: 10" in told and "are missing" in told
    assert "air: 1,050 values lie beyond what is usual (230 to 330 K)" in told
    assert re.search(r"torque: .* far out, below .* or above .* N.m", told)
    assert "failed: only" in told and "are true" in told
    assert "50 of 1,050 rows repeat an earlier one" in told
    assert "when: time goes back" in told


def test_what_spoils_a_model_comes_first(troubled: dict[str, Any]) -> None:
    weights = [finding.weight for finding in findings(troubled)]
    assert weights == sorted(weights)
    assert weights[0] == 0


def test_a_table_without_trouble_says_so() -> None:
    profiler = Profiler([Column(name="x", source="x", kind="number")])
    profiler.update(pa.record_batch({"x": np.random.default_rng(0).random(500)}))
    assert findings(profiler.result()) == []
    assert "Nothing: no constant column" in report.html(manifest(), profiler.result())


def test_the_page_is_well_formed_and_escapes_what_the_data_says(troubled: dict[str, Any]) -> None:
    page = report.html(manifest(title=NASTY, owner="o'x", licence=NASTY), troubled)
    tags = Tags(page)
    assert tags.open == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert sum(tag == "article" for tag, _ in tags.seen) == 7


def test_the_page_loads_and_runs_nothing(troubled: dict[str, Any]) -> None:
    page = report.html(manifest(), troubled)
    assert not re.search(r"https?://|@import|url\(|javascript:| on\w+=", page)
    assert "default-src 'none'" in page
    assert not {"script", "link", "img", "iframe", "object", "form"} & {tag for tag, _ in Tags(page).seen}


def test_numbers_and_classes_have_a_picture_with_words_for_those_who_cannot_see_it(troubled: dict[str, Any]) -> None:
    labels = [
        attributes["aria-label"] or ""
        for tag, attributes in Tags(report.html(manifest(), troubled)).seen
        if tag == "svg"
    ]
    assert any("histogram from" in label for label in labels)
    assert any("counts of" in label and "true: " in label for label in labels)
    assert any("missing" in label for label in labels)


def test_the_terminal_table_has_a_row_a_column(troubled: dict[str, Any]) -> None:
    headers, rows = report.table(troubled)
    assert {len(row) for row in rows} == {len(headers)}
    assert [row[0] for row in rows] == [item["name"] for item in troubled["columns"]]
    cells = {row[0]: dict(zip(headers, row, strict=True)) for row in rows}
    assert cells["same"]["note"] == "constant"
    assert cells["when"]["smallest"] == "1970-01-01T00:00:00Z"
    assert cells["grade"]["values"] == "2"


def test_an_empty_table_still_makes_a_page() -> None:
    result = Profiler([Column(name="x", source="x", kind="number"), Column(name="t", source="t", kind="time")]).result()
    assert "no rows at all" in report.html(manifest(rows=0), result)
    assert len(report.table(result)[1]) == 2


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0 %"), (0.00001, "< 0.1 %"), (0.034, "3.4 %"), (0.99999, "> 99.9 %"), (1, "100 %")]
)
def test_a_share_is_never_rounded_to_nothing_or_to_all(part: float, text: str) -> None:
    assert svg.share(part) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (3.0, "3"), (1234567, "1,234,567"), (0.000123456, "0.0001235"), (1528.41, "1,528.4")],
)
def test_figures_keep_what_a_person_reads(value: float | None, text: str) -> None:
    assert svg.figure(value) == text


def test_a_share_is_told_without_a_unit() -> None:
    column = {
        "name": "health_index",
        "kind": "number",
        "concept": "health_index",
        "unit": "1",
        "nulls_share": 0,
        "beyond_typical_range": 3,
        "typical_range": [0, 1],
    }
    assert "(0 to 1);" in str(next(iter(of_column(column))))
