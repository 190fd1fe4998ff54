"""What staff reads from the ledger, as the command line tells it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from forgia.grant import Holder, HoldRequest, Terms, Usage
from forgia.quota.ledger import open_ledger

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ACME = Holder(("leonardo", "acme", "main", "anna"))


@pytest.fixture
def ledger(home):
    """Two firms: one that used a lot every day of three weeks, one that did nothing; and a row nobody can judge."""
    with open_ledger(home.ledger) as found:
        me = found.actor_of()
        times = {"valid_from": NOW - 40 * DAY, "valid_until": NOW + 20 * DAY}
        for firm in ("acme", "borea"):
            found.grant(Terms(holder=Holder(("leonardo", firm)), amount=850_000, **times), by=me, reason="test")
        facts = {"recipe": "mill@1.0.0", "datasets": ["mill@3"], "user": "anna"}
        request = HoldRequest(
            key="mill-1@1",
            run_id="mill-1",
            holder=ACME,
            resource="gpu",
            rate=8,
            walltime_s=5000,
            attempts=5,
            facts=facts,
        )
        found.hold(request, by=me)
        usages = [(usage(number), "mill-1@1" if number < 5 else None, ACME) for number in range(21)]
        odd = Usage(key="leonardo:99", cluster="leonardo", job_id="99", state="ODD", billing_s=0, quarantined="odd")
        found.post_usages([*usages, (odd, None, None)], by=me)
        found.assign("anna", "member", Holder(("leonardo", "acme")), by=me, reason="test")
        yield found


def usage(number: int) -> Usage:
    end = NOW - (number + 1) * DAY
    return Usage(
        key=f"leonardo:{number}",
        cluster="leonardo",
        job_id=str(number),
        state="COMPLETED",
        billing_s=32_000,
        ends_job=False,
        rate=8,
        seconds=4000,
        start=end - timedelta(seconds=4000),
        end=end,
        account="aifac",
        gpus=1,
        nodes=1,
    )


@pytest.fixture
def month(ledger) -> str:
    """One that has charges in it."""
    from forgia.quota.slices import month_name

    return month_name(NOW - 10 * DAY)


def told(outcome) -> dict:
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_a_report_is_told_in_every_format(ledger, month, forgia_command, tmp_path):
    sums = told(forgia_command("quota", "report", "--month", month, "--json"))
    assert sums["total"]["net_s"] == 32_000 * sums["total"]["attempts"] > 0
    lines = list(
        csv.DictReader(io.StringIO(forgia_command("quota", "report", "--month", month, "--format", "csv").stdout))
    )
    assert sum(int(line["net_s"]) for line in lines) == sums["total"]["net_s"]
    assert {line["unit"] for line in lines} == {"local core-h"}
    table = forgia_command("quota", "report", "--month", month)
    assert "leonardo/acme" in table.stdout
    for form in ("parquet", "html"):
        made = forgia_command("quota", "report", "--month", month, "--format", form, "-o", tmp_path / f"r.{form}")
        assert made.exit_code == 0
        assert (tmp_path / f"r.{form}.sha256").read_text().split()[0] in made.stderr


def test_parquet_is_not_printed_and_a_wrong_month_or_holder_is_told(ledger, forgia_command):
    assert forgia_command("quota", "report", "--format", "parquet").exit_code == 2
    assert forgia_command("quota", "report", "--month", "november").exit_code == 2
    wrong = forgia_command("quota", "report", "--holder", "leonardo/acne")
    assert (wrong.exit_code, "acme" in wrong.stderr) == (3, True)


def test_an_invoice_is_told_by_project_and_recipe(ledger, month, forgia_command, tmp_path):
    found = told(forgia_command("quota", "invoice", "--month", month, "--organisation", "acme", "--json"))
    assert found["organisation"] == "leonardo/acme"
    assert sum(line["net_s"] for line in found["lines"]) == found["total"]["net_s"]
    assert found["total"]["cost_eur"] is None
    text = forgia_command("quota", "invoice", "--month", month, "--organisation", "acme")
    assert "no price in euro is known" in text.stdout
    assert forgia_command("quota", "invoice", "--organisation", "acme", "--html", tmp_path / "a.html").exit_code == 0
    assert "leonardo/acme" in (tmp_path / "a.html").read_text()


def test_a_forecast_has_dates_where_there_is_use_and_says_where_there_is_none(ledger, forgia_command):
    found = told(forgia_command("quota", "forecast", "--json"))["forecasts"]
    acme, borea = sorted(found, key=lambda one: one["holder"])
    assert acme["used_up"]["10%"] is not None
    assert acme["used_up"]["10%"] <= acme["used_up"]["90%"] <= acme["end"]
    assert borea["remark"].startswith("nothing has been charged yet")
    text = forgia_command("quota", "forecast", "leonardo/acme")
    assert acme["used_up"]["50%"] in text.stdout
    assert forgia_command("quota", "forecast").stderr.startswith("leonardo/borea: nothing has been charged")


def test_alerts_are_told_once_and_all_of_them_on_demand(ledger, forgia_command, tmp_path):
    files = ("--prometheus", tmp_path / "quota.prom", "--ood", tmp_path / "balance.json")
    first = forgia_command("quota", "alerts", *files)
    assert first.exit_code == 0
    assert "grant 2 of leonardo/acme: 8" in first.stdout
    assert "grant 3 of leonardo/borea: hardly used (pace 0.00)" in first.stdout
    assert "1 rows of the accounting wait" in first.stdout
    again = forgia_command("quota", "alerts")
    assert (again.stdout, "nothing new" in again.stderr) == ("", True)
    every = told(forgia_command("quota", "alerts", "--all", "--json"))
    assert len(every["alerts"]) == every["standing"] == len(first.stdout.splitlines())
    assert 'kind="idle"' in (tmp_path / "quota.prom").read_text()
    balances = json.loads((tmp_path / "balance.json").read_text())["balances"]
    assert [(one["user"], one["project"]) for one in balances] == [("anna", "leonardo/acme")]
    assert 0 <= balances[0]["value"] <= 20


def test_alerts_fail_only_where_that_is_asked_for(ledger, forgia_command):
    assert forgia_command("quota", "alerts").exit_code == 0
    assert forgia_command("quota", "alerts", "--fail-on", "warning").exit_code == 1
    assert forgia_command("quota", "alerts", "--fail-on", "critical").exit_code == 0


def test_the_sites_own_count_is_compared(ledger, forgia_command, tmp_path):
    line = "aifac 20260101 20270101 2000 {used} {used} 60.3 100 50\n"
    (tmp_path / "saldo").write_text(line.format(used=21 * 32_000 // 3600 * 2))
    found = told(forgia_command("quota", "alerts", "--all", "--counted", tmp_path / "saldo", "--json"))["alerts"]
    assert [one["subject"] for one in found if one["kind"] == "drift"] == ["aifac"]
    assert forgia_command("quota", "alerts", "--counted", tmp_path / "nothing").exit_code == 2
    assert forgia_command("quota", "alerts", "--counted", tmp_path / "saldo", "--counted-by", "sald").exit_code == 3


def test_pace_says_who_yields_and_why(ledger, forgia_command):
    found = told(forgia_command("quota", "pace", "--json"))["organisations"]
    assert [(one["organisation"], one["nice"] > 0) for one in found] == [
        ("leonardo/borea", False),
        ("leonardo/acme", True),
    ]
    assert "leonardo/acme is ahead" in forgia_command("quota", "pace").stdout


def test_what_a_run_would_do_is_told_and_nothing_is_held(ledger, home, forgia_command, monkeypatch):
    monkeypatch.setenv("FORGIA_ORGANISATION", "acme")
    me = ledger.actor_of()
    before = [(grant.free, grant.held) for grant in ledger.grants(by=me)]
    wish = ("predictive-maintenance", "--profile", "leonardo-booster", "--account", "aifac", "--test")
    found = told(forgia_command("quota", "what-if", *wish, "--json"))
    assert found["holder"].startswith("leonardo/acme/main/")
    assert found["worst"] > 0
    assert found["forecasts"]["now"]["days_known"] == 21
    text = forgia_command("quota", "what-if", *wish)
    assert "at worst:" in text.stdout
    assert "forecast:" in text.stdout
    assert [(grant.free, grant.held) for grant in ledger.grants(by=me)] == before


def test_without_a_ledger_every_report_says_how_to_make_one(forgia_command):
    for verb in (("report",), ("invoice", "--organisation", "acme"), ("forecast",), ("alerts",), ("pace",)):
        outcome = forgia_command("quota", *verb)
        assert (outcome.exit_code, "forgia quota init" in outcome.stderr) == (3, True)
