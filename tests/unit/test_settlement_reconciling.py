"""What sites print, read into hours by account, and the ledger beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from forgia.errors import UserError
from forgia.quota import accounting, naive, reconcile
from forgia.quota.accounting import Row
from forgia.quota.usage import judge

RECORDED = Path(__file__).parent / "recorded" / "sacct"
SALDO = (RECORDED / "saldo-b.txt").read_text()
LUMI = (RECORDED / "lumi-allocations.txt").read_text()
IT4I = (RECORDED / "it4ifree.txt").read_text()
SREPORT = (RECORDED / "sreport-22.05.8.txt").read_text()


def test_saldo_is_read_by_its_columns_and_accounts_come_in_lower_case() -> None:
    first, second = reconcile.parse_saldo(SALDO)
    assert (first.account, second.account) == ("iscrb_example", "iscrb_wearusfm")
    assert (second.used_h, second.granted_h, second.unit) == (1_205_697, 2_000_000, "local h")
    assert (second.month_granted_h, second.month_used_h) == (164_383, 99_394)
    assert reconcile.parse_saldo("\n".join(SALDO.splitlines()[4:])) == (first, second)  # saldo -n: no header


def test_lumis_gpus_and_cores_are_counted_apart() -> None:
    assert [(row.account, row.used_h) for row in reconcile.parse_lumi(LUMI)] == [
        ("project_465002906", 150),
        ("project_465000001", 0),
    ]
    assert [row.used_h for row in reconcile.parse_lumi(LUMI, kind="core/hours")] == [20]
    with pytest.raises(UserError, match="core/hours"):
        reconcile.parse_lumi(LUMI, kind="qpu/hours")


def test_it4is_table_of_projects_counts_normalized_hours_and_not_those_of_single_users() -> None:
    (found,) = reconcile.parse_it4ifree(IT4I)
    assert (found.account, found.used_h, found.granted_h, found.unit) == ("open-xx-xx", 5169947, 6462499, "NCHs")


def test_sreports_accounts_are_counted_and_not_their_users_nor_other_resources() -> None:
    more = SREPORT + "lab|acme|||cpu|9999\n"
    (found,) = reconcile.parse_sreport(more)
    assert (found.account, found.used_h * 3600) == ("acme", 2354)
    hours = SREPORT.replace("TRES Seconds", "TRES Hours").replace("2354", "13")
    assert [row.used_h for row in reconcile.parse_sreport(hours)] == [13]


def recorded_rows() -> list[Row]:
    """What a SLURM 22.05.8 told of jobs that ended in every way there is; the sreport beside it is of the same jobs."""
    header, _, lines = (RECORDED / "sacct-22.05.8.txt").read_text().partition("\n")
    rows = list(accounting.parse(lines, header.split("|")))
    return [row for row in rows if isinstance(row, Row)]


def test_ours_is_what_slurmdbd_rolled_up_from_the_same_records_and_simpler_rules_are_below_it() -> None:
    found = naive.charges(recorded_rows(), now=datetime(2026, 11, 24, tzinfo=UTC))
    (count,) = reconcile.parse_sreport(SREPORT)
    ours = found.pop(naive.OURS)
    assert ours == count.used_h * 3600
    assert all(amount < ours for amount in found.values())
    assert not reconcile.compare([count], {"ACME": ours})[0].difference


def test_the_table_of_the_rules_has_a_line_for_each() -> None:
    lines = naive.table(recorded_rows(), now=datetime(2026, 11, 24, tzinfo=UTC), slurmdbd=2354)
    assert len(lines) == len(naive.RULES) + 2
    assert lines[1].endswith("2,354  100.0 %")
    assert naive.table([], now=datetime(2026, 11, 24, tzinfo=UTC))[1].endswith("–")


def test_a_job_that_was_resized_is_charged_as_the_site_does_and_pointed_out() -> None:
    rows = [row for row in recorded_rows() if row["JobName"] == "shrunk"]
    first, second = (judge(row, now=datetime(2026, 11, 24, tzinfo=UTC)) for row in rows)
    assert (first.usage.state, first.usage.ends_job, first.flag) == ("RESIZING", False, "")
    assert (second.usage.start, "resized" in second.flag) == (first.usage.start, True)


@pytest.mark.parametrize("command", list(reconcile.PARSERS))
@pytest.mark.parametrize("text", ["", "bash: command not found", "Usage reported in TRES Seconds\na|b|c|d|e|f\n"])
def test_what_is_no_output_of_the_command_is_refused(command: str, text: str) -> None:
    with pytest.raises(UserError):
        reconcile.PARSERS[command](text)


def drift(site_h: int, ours: int) -> reconcile.Drift:
    counts = [reconcile.SiteCount(account="iscrb_x", used_h=Fraction(site_h), unit="local h")]
    return reconcile.compare(counts, {"IscrB_X": ours})[0]


@pytest.mark.parametrize(
    ("site_h", "ours", "alarms"),
    [
        (100, 360_000, False),
        (100, 352_800, False),
        (100, 352_799, True),
        (100, 367_201, True),
        (0, 0, False),
        (0, 1, True),
    ],
)
def test_more_than_two_in_a_hundred_raises_an_alarm(site_h: int, ours: int, alarms: bool) -> None:
    found = drift(site_h, ours)
    assert found.alarms is alarms
    assert found.difference == site_h * 3600 - ours


def test_a_site_whose_unit_is_not_slurms_billing_is_compared_through_it() -> None:
    counts = [reconcile.SiteCount(account="project_1", used_h=Fraction(10), unit="gpu/hours")]
    (found,) = reconcile.compare(counts, {"project_1": 10 * 3600 * 64}, per_hour=Fraction(64))
    assert (found.difference, found.share) == (0, 0)
