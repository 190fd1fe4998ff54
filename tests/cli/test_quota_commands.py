"""``forgia quota …`` as staff, an admin, a member and a program meet it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from forgia.grant import Holder, HoldRequest, Terms, Usage
from forgia.paths import HomePaths
from forgia.quota import access
from forgia.quota.ledger import Ledger, open_ledger
from forgia_cli.quota import settling

Forgia = Callable[..., Any]
WHY = ("--reason", "EHPC-AIF-2026PG01-042")
PERIOD = ("--from", "2026-11-01", "--until", "2099-02-01")


@pytest.fixture
def quota(forgia_command: Forgia) -> Callable[..., str]:
    """A command that must work; what it printed."""

    def run(*arguments: str) -> str:
        done = forgia_command("quota", *arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    return run


@pytest.fixture(scope="session")
def two_firms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with two firms of a thousand GPU-hours each, grants 2 and 3."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    begin, end = (datetime(year, month, day, 23, tzinfo=UTC) for year, month, day in ((2026, 10, 31), (2099, 1, 31)))
    with open_ledger(path) as made:
        for firm in ("acme", "beta"):
            holder = Holder.parse(f"leonardo/{firm}")
            terms = Terms(holder=holder, amount=1000 * 8 * 3600, valid_from=begin, valid_until=end)
            made.grant(terms, by=made.actor_of(), reason=WHY[1])
    return path


@pytest.fixture
def ledger(two_firms: Path, home: HomePaths) -> Iterator[Ledger]:
    """The same, a test's own, at the place where commands look."""
    home.quota.mkdir(parents=True)
    shutil.copy(two_firms, home.ledger)
    with open_ledger(home.ledger) as opened:
        yield opened


def become(monkeypatch: pytest.MonkeyPatch, quota: Callable[..., str], label: str, role: str, holder: str = "") -> None:
    """Whoever has the token is this person from here on."""
    secret = quota("token", label, role, *([holder] if holder else []), *WHY).strip()
    monkeypatch.setenv(access.TOKEN, secret)


def test_staff_gets_from_nothing_to_three_firms_with_budgets_one_member_each_and_one_frozen(
    forgia_command: Forgia, home: HomePaths
) -> None:
    missing = forgia_command("quota", "show")
    assert (missing.exit_code, "forgia quota init" in missing.stderr) == (3, True)
    made = forgia_command("quota", "init")
    assert made.exit_code == 0
    assert "forgia quota grant" in made.stderr
    firms = {"acme": ("--mode", "playground", "--months", "3"), "beta": ("--mode", "fast-lane", "--gpu-h", "20000")}
    firms["gamma"] = ("--node-h", "100", "--months", "1")
    for firm, terms in firms.items():
        done = forgia_command("quota", "grant", f"leonardo/{firm}", *terms, *WHY)
        assert done.exit_code == 0, done.output
        member = forgia_command("quota", "role", f"user-of-{firm}", "member", f"leonardo/{firm}", *WHY)
        assert member.stdout.endswith(f"user-of-{firm} at leonardo/{firm}: none → member\n")
    frozen = forgia_command("quota", "freeze", "6", "--reason", "contract under review")
    assert "grant 6 of leonardo/gamma open → frozen, 400.0 GPU-h left" in frozen.stdout
    rows = [line.split() for line in forgia_command("quota", "show").stdout.splitlines()[1:]]
    assert [(row[0], row[1], row[4], row[-1]) for row in rows] == [
        ("leonardo/acme", "5,000.0", "5,000.0", "open"),
        ("leonardo/beta", "20,000.0", "20,000.0", "open"),
        ("leonardo/gamma", "400.0", "400.0", "frozen"),
    ]
    assert forgia_command("quota", "verify").exit_code == 0
    assert home.ledger.stat().st_mode & 0o077 == 0


def test_a_ledger_is_never_made_anew(ledger: Ledger, forgia_command: Forgia) -> None:
    done = forgia_command("quota", "init")
    assert (done.exit_code, "is there already" in done.stderr) == (4, True)
    assert len(ledger.grants(by=ledger.actor_of())) == 2


@pytest.mark.parametrize(
    ("amount", "billing_s"),
    [(("--gpu-h", "1.5"), 43_200), (("--node-h", "2"), 230_400), (("--units", "0.001"), 4), (("--billing-s", "7"), 7)],
)
def test_an_amount_may_be_written_in_any_unit(
    ledger: Ledger, quota: Callable[..., str], amount: tuple[str, str], billing_s: int
) -> None:
    quota("grant", "leonardo/gamma", *amount, *PERIOD, *WHY)
    (found,) = ledger.grants(by=ledger.actor_of(), holder=Holder.parse("leonardo/gamma"))
    assert found.free == billing_s


def test_terms_go_into_the_grant_as_they_are_written(ledger: Ledger, quota: Callable[..., str]) -> None:
    words = ("--resource", "gpu", "--priority", "3", "--strategy", "cineca", "--overdraft", "10", "--title", "P02_42")
    quota("grant", "leonardo/gamma", "--gpu-h", "100", *PERIOD, *words, "--no-refund-node-fail", *WHY)
    (found,) = ledger.grants(by=ledger.actor_of(), holder=Holder.parse("leonardo/gamma"))
    terms = found.terms
    assert (terms.resource, terms.priority, terms.strategy, terms.title) == ("gpu", 3, "cineca", "P02_42")
    assert (terms.overdraft, terms.refund_node_fail) == (10 * 8 * 3600, False)
    assert terms.valid_from == datetime(2026, 10, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("grant", "leonardo/x", *PERIOD), 2, "--reason"),
        (("grant", "leonardo/x", *PERIOD, *WHY), 2, "say how much, in one unit"),
        (("grant", "leonardo/x", "--gpu-h", "1", "--node-h", "1", *PERIOD, *WHY), 2, "say how much, in one unit"),
        (("grant", "leonardo/x", "--gpu-h", "0", *PERIOD, *WHY), 2, "more than 0"),
        (("grant", "leonardo/x", "--gpu-h", "-4", *PERIOD, *WHY), 2, "not an amount"),
        (("grant", "leonardo/x", "--gpu-h", "1", "--from", "1/11/26", "--months", "1", *WHY), 2, "such as 2026-11-01"),
        (
            ("grant", "leonardo/x", "--gpu-h", "1", "--from", "2026-02-01", "--until", "2026-01-01", *WHY),
            2,
            "wrong way",
        ),
        (("grant", "leonardo/x", "--gpu-h", "1", "--until", "2099-01-01", "--months", "1", *WHY), 2, "one of them"),
        (("grant", "a/b/c/d/e", "--gpu-h", "1", *PERIOD, *WHY), 2, "site/organisation/project/person"),
        (("grant", "leonardo/x", "--gpu-h", "1", "-p", "karolina", *PERIOD, *WHY), 2, "is of the site karolina"),
        (("grant", "nowhere/x", "--gpu-h", "1", *PERIOD, *WHY), 2, "no profile of this site"),
        (("grant", "leonardo/x", "--mode", "playground", "--gpu-h", "5001", *WHY), 2, "at most 5,000"),
        (("grant", "leonardo/x", "--mode", "large-scale", *WHY), 2, "no fixed size"),
        (("grant", "leonardo/beta/p", "--parent", "2", "--gpu-h", "1", *PERIOD, *WHY), 2, "not below it"),
        (("grant", "leonardo", "--parent", "2", "--gpu-h", "1", *PERIOD, *WHY), 2, "above every grant"),
        (("grant", "leonardo/acme/p", "--parent", "9", "--gpu-h", "1", *PERIOD, *WHY), 3, "no grant named '9'"),
        (("transfer", "2", "2", "--gpu-h", "1", *WHY), 2, "name another grant"),
        (("transfer", "2", "3", "--gpu-h", "1001", *WHY), 4, "1,001.0 − 1,000.0 = 1.0 GPU-h short"),
        (("extend", "2", *WHY), 2, "until when, or how much more"),
        (("extend", "2", "--until", "2026-12-01", *WHY), 2, "when it ends already"),
        (("show", "leonardo/acne"), 3, "did you mean leonardo/acme"),
        (("ceiling", "leonardo/acme", "gpu=8", "jobs=many", *WHY), 2, "did you mean gpus?"),
        (("role", "anna", "member", *WHY), 2, "every other role has its place"),
        (("quarantine", "leonardo:1"), 2, "--reason"),
        (("approve", "77", *WHY), 3, "no request named '77'"),
        (("settle",), 2, "name the accounts"),
        (("settle", "--account", "a", "--owner", "b"), 2, "ACCOUNT=HOLDER"),
        (("setting", "four_eyes", "grnat", *WHY), 2, "no such verb"),
        (("setting", "four-eyes", "grant", *WHY), 2, "did you mean four_eyes?"),
        (("setting", "note", "x" * 20_000, *WHY), 2, "at most 10,000 characters"),
        (("grant", "leonardo/x", "--gpu-h", "1", "--from", "0001-01-01", "--months", "3", *WHY), 2, "a year from 2000"),
        (("grant", "leonardo/x", "--gpu-h", "1", "--from", "9999-12-31", "--months", "3", *WHY), 2, "a year from 2000"),
        (("grant", "leonardo/x", "--gpu-h", "1", "--from", "", "--months", "3", *WHY), 2, "--from: '' is no date"),
        (("grant", "leonardo/x", "--gpu-h", "1", "--until", "", *WHY), 2, "--until: '' is no date"),
        (("grant", "leonardo/x", "--gpu-h", "1", *PERIOD, "--priority", "9" * 20, *WHY), 2, "--priority"),
        (("extend", "2", "--until", "9999-12-31T23:59:59-12:00", *WHY), 2, "a year from 2000"),
        (("ceiling", "leonardo/acme", f"gpus={'9' * 20}", *WHY), 2, "with a whole number"),
        (("role", "an\nna", "member", "leonardo/acme", *WHY), 2, "is the name of nobody"),
        (("close", "2", "--reason", ""), 2, "say why"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_is_said_in_words_and_changes_nothing(
    ledger: Ledger, forgia_command: Forgia, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = len(list(ledger.entries(by=ledger.actor_of())))
    done = forgia_command("quota", *arguments)
    assert (done.exit_code, words in done.stderr) == (code, True), done.output
    assert "Traceback" not in done.output
    assert "bug in forgia" not in done.output
    assert len(list(ledger.entries(by=ledger.actor_of()))) == before


def test_every_problem_of_a_grant_is_said_at_once(ledger: Ledger, forgia_command: Forgia) -> None:
    done = forgia_command("quota", "grant", "Leo/x", "--gpu-h", "-5", "--from", "never", "--until", "soon", *WHY)
    assert "4 problem(s), nothing was done" in done.stderr
    for option in ("HOLDER", "amount", "--from", "--until"):
        assert f"grant: {option}: " in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("grant", "leonardo/acmee", "--gpu-h", "1", *PERIOD),
        ("role", "anna", "member", "leonardo/acmee"),
        ("ceiling", "leonardo/acmee", "gpus=8"),
        ("token", "dashboard", "viewer", "leonardo/acmee"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_is_nearly_another_is_remarked_upon(
    ledger: Ledger, forgia_command: Forgia, arguments: tuple[str, ...]
) -> None:
    done = forgia_command("quota", *arguments, *WHY)
    assert "note: leonardo/acmee is new here; there is leonardo/acme already" in done.stderr
    right = [word.replace("acmee", "acme") for word in arguments]
    assert "is new here" not in forgia_command("quota", *right, *WHY).stderr


def test_a_small_charge_does_not_look_like_none(quota: Callable[..., str], ledger: Ledger) -> None:
    assert "0.00028 GPU-h" in quota("adjust", "2", "--billing-s", "8", *WHY)
    assert "used 0.00028 → 2.0 GPU-h" in quota("adjust", "2", "--billing-s", "57592", *WHY)
    assert settling.hours(0) == "0.0 billing-h"
    assert (settling.hours(108), settling.hours(7_200)) == ("108 billing-s", "2.0 billing-h")


def test_every_change_says_what_it_did_with_balances_before_and_after(
    quota: Callable[..., str], ledger: Ledger
) -> None:
    part = ("--gpu-h", "300", "--from", "2026-12-01", "--until", "2027-01-01")
    assert quota("grant", "leonardo/acme/press", "--parent", "2", *part, *WHY) == (
        "posting 4: a grant for leonardo/acme/press, out of grant 2, 2026-12-01 to 2027-01-01: "
        "grant 2 of leonardo/acme: left 1,000.0 → 700.0 GPU-h; grant 4 of leonardo/acme/press: left 0.0 → 300.0 GPU-h\n"
    )
    told = [
        (
            ("extend", "4", "--gpu-h", "50"),
            "left 700.0 → 650.0 GPU-h; grant 4 of leonardo/acme/press: left 300.0 → 350.0",
        ),
        (("extend", "2", "--until", "2099-03-01"), "grant 2: until 2099-03-01 (was 2099-02-01)"),
        (("transfer", "2", "3", "--gpu-h", "50"), "grant 3 of leonardo/beta: left 1,000.0 → 1,050.0 GPU-h"),
        (("adjust", "2", "--units", "80"), "used 0.0 → 10.0 GPU-h"),
        (("adjust", "2", "--units", "40", "--less"), "used 10.0 → 5.0 GPU-h"),
        (("reverse", "7"), "the opposite of posting 7: grant 2 of leonardo/acme: left 595.0 → 645.0 GPU-h"),
        (("unfreeze", "2"), "open → open"),
        (
            ("close", "4"),
            "grant 2 of leonardo/acme: left 645.0 → 995.0 GPU-h; grant 4 of leonardo/acme/press: left 350.0 → 0.0",
        ),
        (("ceiling", "leonardo/acme", "gpus=8"), "gpus of leonardo/acme: none → 8"),
        (("ceiling", "leonardo/acme", "gpus=none"), "gpus of leonardo/acme: 8 → none"),
        (("role", "anna", "admin", "leonardo/acme"), "anna at leonardo/acme: none → admin"),
        (("role", "anna", "none", "leonardo/acme"), "anna at leonardo/acme: admin → none"),
    ]
    for arguments, words in told:
        assert words in quota(*arguments, *WHY)


def test_four_eyes_make_a_request_that_another_person_approves(
    quota: Callable[..., str], ledger: Ledger, forgia_command: Forgia, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = quota("token", "second", "staff", *WHY).strip()
    quota("setting", "four_eyes", "extend,token", *WHY)
    asked = forgia_command("quota", "extend", "2", "--gpu-h", "500", *WHY)
    number = re.match(r"request (\d+): grant 2: larger by 500 gpu-h", asked.stdout)
    assert asked.exit_code == 0
    assert number
    assert f"forgia quota approve {number[1]} --reason" in asked.stderr
    assert "left" not in asked.stdout
    own = forgia_command("quota", "approve", number[1], *WHY)
    assert (own.exit_code, "somebody else has to approve it" in own.stderr) == (4, True)
    assert "amount=500.0 GPU-h" in quota("requests")
    monkeypatch.setenv(access.TOKEN, second)
    assert "left 1,000.0 → 1,500.0 GPU-h" in quota("approve", number[1], *WHY)
    assert json.loads(quota("requests", "--json"))["requests"] == []
    lift = forgia_command("quota", "setting", "four_eyes", "[]", *WHY)
    assert lift.stdout.startswith("request "), "who could switch four eyes off alone, would"


def test_a_request_can_be_turned_down_and_changes_nothing(quota: Callable[..., str], ledger: Ledger) -> None:
    number = quota("request", "leonardo/acme", "--gpu-h", "7", "--until", "2099-02-01", *WHY).split()[1].rstrip(":")
    assert "rejected, nothing was changed" in quota("reject", number, *WHY)
    (told,) = json.loads(quota("requests", "--all", "--json"))["requests"]
    assert (told["state"], told["arguments"]["amount"]) == ("rejected", 7 * 8 * 3600)


def test_a_member_sees_its_own_organisation_and_asks_but_grants_nothing(
    quota: Callable[..., str], ledger: Ledger, forgia_command: Forgia, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, quota, "anna", "member", "leonardo/acme/press")
    shown = json.loads(quota("show", "--json"))
    assert [one["holder"] for one in shown["holders"]] == ["leonardo/acme"]
    assert "beta" not in quota("show", "leonardo/acme") + quota("entries") + quota("roles") + quota("holds")
    for arguments in (("show", "leonardo/beta"), ("entries", "--holder", "leonardo/beta")):
        assert forgia_command("quota", *arguments).exit_code == 3
    for arguments in (("freeze", "2"), ("grant", "leonardo/acme", "--gpu-h", "1", *PERIOD), ("role", "eve", "staff")):
        done = forgia_command("quota", *arguments, *WHY)
        assert (done.exit_code, "anna" in done.stderr) == (4, True)
    assert forgia_command("quota", "freeze", "3", *WHY).exit_code == 3
    assert forgia_command("quota", "verify").exit_code == 4
    assert quota("request", "2", "--gpu-h", "5", *WHY).startswith("request ")


def test_who_has_roles_in_two_firms_sees_both_and_divides_each(
    quota: Callable[..., str], ledger: Ledger, forgia_command: Forgia, monkeypatch: pytest.MonkeyPatch
) -> None:
    for firm in ("acme", "beta"):
        quota("role", "zoe", "admin", f"leonardo/{firm}", *WHY)
    quota("grant", "leonardo/gamma", "--gpu-h", "5", *PERIOD, *WHY)
    monkeypatch.setattr(access, "system_user", lambda: "zoe")
    lines = json.loads(quota("show", "--json"))["holders"]
    assert [line["holder"] for line in lines] == ["leonardo/acme", "leonardo/beta"]
    for number, firm in (("2", "acme"), ("3", "beta")):
        part = quota("grant", f"leonardo/{firm}/press", "--parent", number, "--gpu-h", "5", *PERIOD, *WHY)
        assert "left 0.0 → 5.0 GPU-h" in part
        assert f"grant {number} of leonardo/{firm} open → frozen" in quota("freeze", number, *WHY)
    assert forgia_command("quota", "freeze", "6", *WHY).exit_code == 3


def test_who_has_no_role_is_sent_to_staff(
    ledger: Ledger, forgia_command: Forgia, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(access.TOKEN, "fgl_nobody")
    done = forgia_command("quota", "show")
    assert (done.exit_code, "no role in this ledger" in done.stderr) == (4, True)


def test_a_token_is_printed_alone_and_the_ledger_keeps_its_digest_only(
    forgia_command: Forgia, ledger: Ledger, home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = forgia_command("quota", "token", "dashboard", "viewer", "leonardo/acme", *WHY)
    secret = done.stdout.strip()
    assert re.fullmatch(r"fgl_[\w-]{43}", secret)
    assert secret not in done.stderr
    assert secret.encode() not in home.ledger.read_bytes()
    monkeypatch.setenv(access.TOKEN, secret)
    assert json.loads(forgia_command("quota", "roles", "--json").stdout)["you"] == "dashboard"
    monkeypatch.delenv(access.TOKEN)
    assert forgia_command("quota", "role", "dashboard", "none", "leonardo/acme", *WHY).exit_code == 0
    monkeypatch.setenv(access.TOKEN, secret)
    assert forgia_command("quota", "show").exit_code == 4


def use_some(ledger: Ledger) -> None:
    """A hold of acme's that a job has used in part, and a row that nobody can judge."""
    me = ledger.actor_of()
    anna = Holder.parse("leonardo/acme/press/anna")
    asked = HoldRequest(key="mill-1@1", run_id="mill-1", holder=anna, resource="gpu", rate=8, walltime_s=3300, gpus=1)
    ledger.hold(asked, by=me)
    end = datetime.now(UTC) - timedelta(hours=1)
    used = {"cluster": "leonardo", "start": end - timedelta(hours=1), "end": end, "ends_job": False}
    job = Usage(key="leonardo:1", job_id="1", state="REQUEUED", billing_s=14_400, **used)  # type: ignore[arg-type]
    ledger.post_usage(job, by=me, hold_key="mill-1@1")
    odd = Usage(key="leonardo:2", job_id="2", state="ODD", billing_s=0, quarantined="state 'ODD' is not known", **used)  # type: ignore[arg-type]
    ledger.post_usage(odd, by=me)


def test_show_tells_used_held_left_who_and_caps(quota: Callable[..., str], ledger: Ledger) -> None:
    use_some(ledger)
    quota("ceiling", "leonardo/acme", "gpus=8", *WHY)
    acme = json.loads(quota("show", "--json"))["holders"][0]
    assert (acme["granted"], acme["used"], acme["held"], acme["left"]) == (1000.0, 0.5, 0.5, 999.0)
    assert acme["billing_s"] == {"granted": 28_800_000, "used": 14_400, "held": 14_400, "left": 28_771_200}
    detail = json.loads(quota("show", "leonardo/acme", "--json", "--unit", "units"))
    assert detail["use"] == [{"holder": "leonardo/acme/press/anna", "used": 4.0, "held": 4.0}]
    assert detail["ceilings"] == [{"holder": "leonardo/acme", "name": "gpus", "value": 8}]
    text = quota("show", "leonardo/acme/press/anna")
    assert "leonardo/acme/press/anna  0.5" in text
    assert "2  leonardo/acme" in text, "the grant above that it uses"
    assert "mill-1@1" in quota("holds", "leonardo/acme")
    (hold,) = json.loads(quota("holds", "--json"))["holds"]
    assert (hold["holder"], hold["held"], hold["charged"]) == ("leonardo/acme/press/anna", 14_400, 14_400)


def test_the_trail_says_who_did_what_and_why_page_by_page(quota: Callable[..., str], ledger: Ledger) -> None:
    use_some(ledger)
    quota("freeze", "3", "--reason", "late report")
    assert re.search(r"rule +\w+ \(staff\) +leonardo/beta +– +freeze: late report", quota("entries"))
    first = json.loads(quota("entries", "-n", "2", "--json"))
    assert ([one["seq"] for one in first["entries"]], first["more"]) == ([1, 2], True)
    rest = json.loads(quota("entries", "--after", "2", "--json"))["entries"]
    assert rest[0]["seq"] == 3
    charges = json.loads(quota("entries", "--kind", "charge", "--holder", "leonardo/acme", "--json"))["entries"]
    assert [one["key"] for one in charges] == ["charge:leonardo:1"]
    assert json.loads(quota("entries", "--since", "2099-01-01", "--json"))["entries"] == []
    newest = json.loads(quota("entries", "--newest", "-n", "2", "--json"))["entries"]
    assert "freeze" in str(newest[0]["facts"])
    assert newest[0]["seq"] == newest[1]["seq"] + 1
    (older,) = json.loads(quota("entries", "--newest", "--before", "2", "--json"))["entries"]
    assert older["seq"] == 1
    assert {one["run_id"] for one in json.loads(quota("entries", "--run", "mill-1", "--json"))["entries"]} == {"mill-1"}


def test_a_row_in_quarantine_waits_until_somebody_says_why_it_costs_nothing(
    quota: Callable[..., str], ledger: Ledger
) -> None:
    use_some(ledger)
    assert "state 'ODD' is not known" in quota("quarantine")
    assert "closed without a charge" in quota("quarantine", "leonardo:2", "--reason", "a test of the site")
    assert json.loads(quota("quarantine", "--json"))["quarantined"] == []


def test_verify_ends_badly_when_a_posting_was_altered(ledger: Ledger, forgia_command: Forgia, home: HomePaths) -> None:
    with sqlite3.connect(home.ledger) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE posting SET reason = 'something else' WHERE seq = 2")
    connection.close()
    done = forgia_command("quota", "verify")
    assert (done.exit_code, "posting 2" in done.stdout) == (1, True), done.output
    assert json.loads(forgia_command("quota", "verify", "--json").stdout)["findings"]


SACCT = """#!/usr/bin/env python3
import sys
FIELDS = "Cluster DBIndex JobIDRaw JobID User Account Partition State Submit Start End ElapsedRaw Suspended"
FIELDS += " TimelimitRaw AllocTRES JobName"
ROWS = {rows!r}
if "--helpformat" in sys.argv:
    print(FIELDS)
else:
    wanted = sys.argv[sys.argv.index("-o") + 1].split(",")
    for row in ROWS:
        print("|".join(row.get(name, "") for name in wanted))
"""


def accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, str]]) -> None:
    """A cluster whose accounting tells these rows, and whose queue is empty."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in (("sacct", SACCT.format(rows=rows)), ("squeue", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def row(number: int, **fields: str) -> dict[str, str]:
    end = int(datetime.now(UTC).timestamp()) - 7200
    times = {"Submit": str(end - 4000), "Start": str(end - 3600), "End": str(end), "ElapsedRaw": "3600"}
    names = {"Cluster": "leonardo", "DBIndex": str(number), "JobIDRaw": str(number), "JobID": str(number)}
    rest = {"State": "COMPLETED", "AllocTRES": "billing=8,cpu=8,gres/gpu=1,node=1", "JobName": "other", "User": "eve"}
    return {**names, **times, **rest, "Suspended": "00:00:00", "Account": "aifac_p02_042", **fields}


def test_a_shared_ledger_is_made_once_and_never_by_looking(
    forgia_command: Forgia, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "tests" / "contract"))
    postgres_server = importlib.import_module("postgres_server")
    if postgres_server.programs() is None:
        pytest.skip("needs PostgreSQL's server")
    with postgres_server.server() as server:
        server.run("CREATE SCHEMA budgets")
        monkeypatch.setenv("FORGIA_LEDGER", server.url("budgets"))
        for _ in range(2):
            assert forgia_command("quota", "show").exit_code == 3
        assert forgia_command("quota", "init").exit_code == 0
        assert forgia_command("quota", "init").exit_code == 4
        assert forgia_command("quota", "grant", "leonardo/acme", "--mode", "playground", *WHY).exit_code == 0
        (line,) = json.loads(forgia_command("quota", "show", "--json").stdout)["holders"]
        assert (line["left"], line["unit"]) == (5000.0, "GPU-h")
        assert forgia_command("quota", "verify").exit_code == 0


def test_settling_charges_once_and_tells_what_it_did(
    quota: Callable[..., str], ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = HoldRequest(
        key="mill-1@1", run_id="mill-1", holder=Holder.parse("leonardo/acme"), resource="gpu", rate=8, walltime_s=7200
    )
    ledger.hold(asked, by=ledger.actor_of())
    running = {"State": "RUNNING", "End": "Unknown"}
    told = [row(1, JobName="mill-1"), row(2), row(3, State="NOVEL"), row(4, **running)]
    accounting(tmp_path, monkeypatch, told)
    settle = ("settle", "--account", "aifac_p02_042", "--owner", "aifac_p02_042=leonardo/beta")
    first = quota(*settle)
    for words in ("posted            2", "quarantined       1", "unmanaged         1", "running           1"):
        assert words in first
    acme, beta = json.loads(quota("show", "--json"))["holders"]
    assert (acme["used"], acme["held"], beta["used"]) == (1.0, 0.0, 1.0)
    nobodys = [*told, row(5, Cluster="marconi")]
    accounting(tmp_path, monkeypatch, nobodys)
    quota("settle", "--account", "aifac_p02_042")
    bucket = json.loads(quota("show", "--json"))["holders"][-1]
    assert (bucket["holder"], bucket["state"], bucket["ends"]) == ("marconi/unmanaged", "overdrawn", None)
    again = json.loads(quota(*settle, "--json"))
    assert (again["posted"], again["known"], len(again["quarantined"])) == (0, 3, 1)
    assert json.loads(quota("show", "--json"))["holders"][0]["used"] == 1.0
