"""A report's rows add up to the ledger's postings of the month, in every format, and the page stands alone."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial

import pyarrow.parquet as pq
import pytest

from forgia.errors import NotFound, UserError
from forgia.grant import Actor, Holder, HoldRequest, Kind, Terms, Usage
from forgia.quota import daily, invoice
from forgia.quota.export import WRITERS, write
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.page import ideal, write_html
from forgia.quota.rates import RateCard
from forgia.quota.report import Sources, parse_month, rows
from forgia.quota.tally import Tally

BEGIN = datetime(2026, 10, 20, tzinfo=UTC)
NOVEMBER = parse_month("2026-11")
FIRMS = ("acme", "borea")
CARD = RateCard(profile="leonardo-booster", unit="local core-h", gpu=Fraction(8), eur=Fraction(1, 100))
SOURCES = Sources(card=lambda site: CARD if site == "leonardo" else RateCard(), versions={"mill-1": "3"})
FACTS = {"recipe": "mill@1.0.0", "recipe_digest": "sha256:00", "datasets": ["mill@3", "saw@1"], "profile": "x"}


def usage(number: int, end: datetime, seconds: int, **more) -> Usage:
    values = {"cluster": "leonardo", "job_id": str(number), "state": "COMPLETED", "rate": 8, "gpus": 1, "nodes": 1}
    times = {"start": end - timedelta(seconds=seconds), "end": end, "seconds": seconds, "billing_s": 8 * seconds}
    return Usage(key=f"leonardo:{number}", **{**values, **times, **more})


@pytest.fixture
def clock() -> dict[str, datetime]:
    return {"now": BEGIN + timedelta(days=1)}


@pytest.fixture
def ledger(tmp_path, clock) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "ledger.db", now=lambda: clock["now"]) as found:
        me = found.actor_of()
        for firm in FIRMS:
            times = {"valid_from": BEGIN, "valid_until": BEGIN + timedelta(days=90)}
            found.grant(Terms(holder=Holder(("leonardo", firm)), amount=10**7, **times), by=me, reason="test")
            found.grant(Terms(holder=Holder(("leonardo", firm)), amount=10**4, **times), by=me, reason="a small one")
        yield found


def fill(ledger: Ledger, clock: dict[str, datetime]) -> Actor:
    """Charges with and without holds, refunds, holds over two grants, adjustments, a reversal; over three months."""
    me, draw = ledger.actor_of(), random.Random(4)
    found: list[tuple[Usage, str | None, Holder | None]] = []
    for number in range(60):
        holder = Holder(("leonardo", draw.choice(FIRMS), "main", "anna"))
        end = BEGIN + timedelta(seconds=draw.randint(2 * 86_400, 50 * 86_400))
        seconds = draw.randint(1, 5000)
        refund = 8 * seconds if number % 7 == 0 else 0
        one = usage(number, end, seconds, refund_s=refund, state="NODE_FAIL" if refund else "COMPLETED")
        key = None
        if number % 6 == 0:
            key = f"mill-{number}@1"
            request = HoldRequest(
                key=key, run_id=key[:-2], holder=holder, resource="gpu", rate=8, walltime_s=5000, facts=FACTS
            )
            ledger.hold(request, by=me)
        found.append((one, key, holder))
    ledger.post_usages(found, by=me)
    clock["now"] = datetime(2026, 11, 10, tzinfo=UTC)
    ledger.adjust(2, 777, by=me, reason="=the site's count")
    charged = next(iter(ledger.entries(by=me, kinds=(Kind.CHARGE,), since=NOVEMBER.begin, until=NOVEMBER.end)))
    ledger.reverse(charged.seq, by=me, reason="another firm's job")
    return me


def posted(ledger: Ledger, by: Actor, holder: Holder | None = None) -> int:
    kinds = (Kind.CHARGE, Kind.REFUND, Kind.ADJUST)
    found = ledger.entries(by=by, holder=holder, kinds=kinds, since=NOVEMBER.begin, until=NOVEMBER.end)
    return sum(entry.total("spent") for entry in found)


@pytest.mark.parametrize("holder", [None, *(Holder(("leonardo", firm)) for firm in FIRMS)], ids=str)
def test_the_rows_add_up_to_the_postings_of_the_month(ledger, clock, holder):
    me = fill(ledger, clock)
    found = list(rows(ledger, NOVEMBER, by=me, sources=SOURCES, holder=holder))
    assert found
    assert sum(row.net_s for row in found) == posted(ledger, me, holder)
    assert all(row.net_s == row.billing_s - row.refund_s for row in found)
    for row in found:
        parts = (part.split("=") for part in row.grants.split())
        assert sum(int(amount) for _, amount in parts) == row.net_s


def test_every_format_has_the_same_sums_and_a_digest_beside_it(ledger, clock, tmp_path):
    me = fill(ledger, clock)
    sums = {}
    for form, writer in WRITERS.items():
        target, tally = tmp_path / f"november.{form}", Tally(month="2026-11")
        digests = {write(target, rows(ledger, NOVEMBER, by=me, sources=SOURCES), tally, writer)}
        digests.add(write(target, rows(ledger, NOVEMBER, by=me, sources=SOURCES), Tally(month="2026-11"), writer))
        expected = hashlib.sha256(target.read_bytes()).hexdigest()
        assert digests == {f"sha256:{expected}"}
        assert (tmp_path / f"{target.name}.sha256").read_text() == f"{expected}  {target.name}\n"
        sums[form] = tally.total.net_s
    with (tmp_path / "november.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert sum(int(row["net_s"]) for row in table) == sums["csv"] == posted(ledger, me)
    assert {row["reason"] for row in table} == {"", "'=the site's count", "another firm's job"}
    told = json.loads((tmp_path / "november.json").read_text())
    assert sum(row["net_s"] for row in told["rows"]) == told["total"]["net_s"] == sums["json"]
    parquet = pq.read_table(tmp_path / "november.parquet")
    assert sum(parquet["net_s"].to_pylist()) == sums["parquet"]
    assert str(parquet.schema.field("end").type) == "timestamp[ms, tz=UTC]"
    assert parquet["energy_j"].null_count == parquet.num_rows
    assert set(parquet["energy_valid"].to_pylist()) == {False}


def test_a_row_says_what_the_hold_knew_of_the_run(ledger, clock):
    me = ledger.actor_of()
    holder = Holder(("leonardo", "acme", "press", "anna"))
    request = HoldRequest(
        key="mill-1@1", run_id="mill-1", holder=holder, resource="gpu", rate=8, walltime_s=60, facts=FACTS
    )
    ledger.hold(request, by=me)
    end = datetime(2026, 11, 5, 10, tzinfo=UTC)
    one = usage(
        1, end, 3600, billing_s=28_800, refund_s=28_800, state="NODE_FAIL", gpus=2, user="anna", account="aifac"
    )
    ledger.post_usage(one, by=me, hold_key="mill-1@1")
    (row,) = rows(ledger, NOVEMBER, by=me, sources=SOURCES)
    assert (row.organisation, row.project, row.person, row.user, row.account) == (
        "acme",
        "press",
        "anna",
        "anna",
        "aifac",
    )
    assert (row.recipe, row.recipe_digest, row.datasets, row.model) == (
        "mill@1.0.0",
        "sha256:00",
        "mill@3 saw@1",
        "mill@3",
    )
    assert (row.job, row.key, row.run, row.state) == ("1", "leonardo:1", "mill-1", "NODE_FAIL")
    assert (row.start, row.end) == ("2026-11-05T09:00:00Z", "2026-11-05T10:00:00Z")
    assert (row.gpu_s, row.gpu_h, row.node_h, row.billing_s, row.refund_s, row.net_s) == (
        7200,
        2.0,
        1.0,
        28_800,
        28_800,
        0,
    )
    assert (row.unit, row.rate_card, row.cost_eur) == ("local core-h", "leonardo-booster", 0.0)


def test_a_job_belongs_to_the_month_of_its_end_by_the_clock_of_the_site(ledger):
    me, holder = ledger.actor_of(), Holder(("leonardo", "acme"))
    ends = (datetime(2026, 10, 31, 22, 59, 59, tzinfo=UTC), datetime(2026, 10, 31, 23, 0, tzinfo=UTC))
    for number, end in enumerate(ends):
        ledger.post_usage(usage(number, end, 600), by=me, holder=holder)
    assert [row.job for row in rows(ledger, NOVEMBER, by=me, sources=SOURCES)] == ["1"]
    assert [row.job for row in rows(ledger, parse_month("2026-10"), by=me, sources=SOURCES)] == ["0"]


def test_a_job_over_midnight_of_the_month_is_cut_for_the_slices(ledger):
    me, holder = ledger.actor_of(), Holder(("leonardo", "acme"))
    ledger.post_usage(usage(1, NOVEMBER.begin + timedelta(seconds=1000), 4000), by=me, holder=holder)
    ledger.post_usage(usage(2, NOVEMBER.begin + timedelta(seconds=5000), 1000), by=me, holder=holder)
    jsc = next(grant for grant in ledger.grants(by=me) if grant.spent)
    november = daily.used_by_month(ledger, [jsc], now=NOVEMBER.begin + timedelta(days=3))
    assert november == {jsc.id: {"2026-11": 8 * 2000}}


def test_no_price_is_invented(ledger):
    me, holder = ledger.actor_of(), Holder(("leonardo", "acme"))
    ledger.post_usage(usage(1, NOVEMBER.begin + timedelta(days=1), 3600), by=me, holder=holder)
    unpriced = Sources(card=lambda site: RateCard())
    tally = Tally(month="2026-11")
    (row,) = tally.passing(rows(ledger, NOVEMBER, by=me, sources=unpriced))
    assert (row.cost_eur, row.unit, row.units) == (None, "billing-h", 8.0)
    told = invoice.to_json(tally, holder, RateCard())
    assert told["total"]["cost_eur"] is None
    assert told["rate_card"]["eur_per_unit"] is None


def test_an_invoice_adds_up_and_names_refunds_and_adjustments(ledger, clock):
    me = fill(ledger, clock)
    firm = invoice.organisation_of("acme", [grant.holder for grant in ledger.grants(by=me)])
    tally = Tally(month="2026-11")
    for _ in tally.passing(rows(ledger, NOVEMBER, by=me, sources=SOURCES, holder=firm)):
        pass
    told = invoice.to_json(tally, firm, CARD)
    parts = [*told["lines"], *told["adjustments"]]
    assert sum(part["net_s"] for part in parts) == told["total"]["net_s"] == posted(ledger, me, firm)
    assert told["total"]["refund_s"] > 0
    assert told["total"]["cost_eur"] == pytest.approx(told["total"]["net_s"] / 3600 / 100)


def test_an_organisation_is_found_by_its_name_alone_where_one_site_has_it():
    known = [Holder(("leonardo", "acme")), Holder(("leonardo", "acme", "press")), Holder(("lumi", "borea"))]
    assert invoice.organisation_of("acme", known) == Holder(("leonardo", "acme"))
    with pytest.raises(UserError, match="name one of"):
        invoice.organisation_of("acme", [*known, Holder(("lumi", "acme"))])
    with pytest.raises(NotFound, match="acme"):
        invoice.organisation_of("acmee", known)


def test_the_page_stands_alone_and_runs_nothing_that_a_job_is_called(ledger, tmp_path):
    me, holder = ledger.actor_of(), Holder(("leonardo", "acme"))
    hostile = usage(1, NOVEMBER.begin + timedelta(days=1), 3600, state="<script>alert(1)</script>")
    ledger.post_usage(hostile, by=me, holder=holder)
    page = partial(write_html, span=NOVEMBER, grants=ledger.grants(by=me), title="Budgets of <b>all</b>")
    write(target := tmp_path / "a.html", rows(ledger, NOVEMBER, by=me, sources=SOURCES), Tally(month="2026-11"), page)
    text = target.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>all" not in text
    assert "default-src 'none'" in text
    assert not any(word in text for word in ("http:", "https:", 'src="', "url("))
    assert text.count("<rect") >= 30
    assert 'class="ideal"' in text


def test_even_use_over_all_days_is_all_of_the_grant(ledger):
    grant = next(iter(ledger.grants(by=ledger.actor_of())))
    days = [(BEGIN + timedelta(days=place)).date() for place in range(-1, 92)]
    assert sum(ideal([grant], day) for day in days) == pytest.approx(grant.balance.granted, abs=len(days))


@pytest.mark.parametrize("text", ["2026-13", "november", "2026-1", "0000-01"])
def test_what_is_no_month_is_refused(text):
    with pytest.raises(UserError, match="2026-11"):
        parse_month(text)


def test_a_member_sees_the_rows_of_its_own_organisation_alone(ledger, clock):
    fill(ledger, clock)
    member = Actor(name="anna", role="member", holder=Holder(("leonardo", "acme", "main")))
    found = {row.organisation for row in rows(ledger, NOVEMBER, by=member, sources=SOURCES)}
    assert found == {"acme"}
