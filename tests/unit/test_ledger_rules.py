"""Who may do what to a ledger, what needs two people, what a ceiling stops, and what a URL must not hold."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forgia.errors import ClusterError, NotFound, Refused, UserError
from forgia.grant import Actor, Holder, HoldRequest, QuotaExceeded, Terms, Usage
from forgia.paths import HomePaths
from forgia.quota import access, changes, office
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.office import Office
from forgia.settings import Settings

START = datetime(2026, 11, 1, tzinfo=UTC)
EVA = Actor(name="eva", role="staff")
ACME, OTHER = Holder(("leonardo", "acme")), Holder(("leonardo", "other"))
ANNA = Holder((*ACME.path, "press", "anna"))
MEMBER = Actor(name="anna", role="member", holder=Holder((*ACME.path, "press")))
ADMIN = Actor(name="ada", role="admin", holder=ACME)
VIEWER = Actor(name="vito", role="viewer", holder=ACME)


@pytest.fixture
def ledger(home: HomePaths) -> Iterator[Ledger]:
    with open_ledger(home.ledger, now=lambda: START) as opened:
        yield opened
        assert opened.verify() == ()


@pytest.fixture
def staff(ledger: Ledger) -> Actor:
    return ledger.actor_of()


def terms(holder: Holder = ACME, amount: int = 100_000, days: int = 90, **more: object) -> Terms:
    end = START + timedelta(days=days)
    return Terms(holder=holder, amount=amount, valid_from=START, valid_until=end, **more)  # type: ignore[arg-type]


def asked(key: str = "r@1", holder: Holder = ANNA, **more: object) -> HoldRequest:
    whole = {"resource": "gpu", "rate": 10, "walltime_s": 700, **more}
    return HoldRequest(key=key, run_id="r", holder=holder, **whole)  # type: ignore[arg-type]


def test_who_makes_a_ledger_is_staff_and_its_file_is_private(ledger: Ledger, staff: Actor, home: HomePaths) -> None:
    assert (staff.name, staff.role, staff.holder) == (access.system_user(), "staff", None)
    assert stat.S_IMODE(home.ledger.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="'eva' has no role"):
        ledger.actor_of(user="eva")


def test_roles_are_given_and_taken_back(ledger: Ledger, staff: Actor) -> None:
    ledger.assign("anna", "member", ACME, by=staff, reason="joined")
    assert ledger.actor_of(user="anna") == Actor(name="anna", role="member", holder=ACME)
    assert ledger.actor_of(user="anna").role in [member.role for member in ledger.members(by=ADMIN)]
    ledger.revoke("anna", ACME, by=staff, reason="left")
    with pytest.raises(Refused):
        ledger.actor_of(user="anna")
    with pytest.raises(NotFound):
        ledger.revoke("anna", ACME, by=staff, reason="left")
    with pytest.raises(Refused, match="last of the staff"):
        ledger.revoke(staff.name, None, by=staff, reason="bye")
    with pytest.raises(UserError, match="staff is staff everywhere"):
        ledger.assign("anna", "staff", ACME, by=staff, reason="x")


def test_a_token_is_told_once_and_only_its_digest_is_kept(ledger: Ledger, staff: Actor, home: HomePaths) -> None:
    token = ledger.issue_token("portal", "viewer", ACME, by=staff, reason="portal")
    assert ledger.actor_of(token=token) == Actor(name="portal", role="viewer", holder=ACME)
    assert token.encode() not in home.ledger.read_bytes()
    with pytest.raises(Refused, match="is taken"):
        ledger.issue_token("portal", "viewer", ACME, by=staff, reason="portal")
    ledger.revoke("portal", ACME, by=staff, reason="lost")
    with pytest.raises(Refused, match="this token has no role"):
        ledger.actor_of(token=token)


def test_a_token_comes_from_a_private_file_or_the_environment(home: HomePaths) -> None:
    path = home.root.parent / "token"
    path.write_text("secret\n")
    assert access.token_from({access.TOKEN_FILE: str(path)}) == "secret"
    assert access.token_from({access.TOKEN: "direct"}) == "direct"
    assert access.token_from({}) is None
    path.chmod(0o640)
    with pytest.raises(UserError, match="others can read"):
        access.token_from({access.TOKEN_FILE: str(path)})


def test_a_member_holds_and_sees_for_its_own_organisation_only(ledger: Ledger, staff: Actor) -> None:
    mine, theirs = (ledger.grant(terms(holder), by=staff, reason="x") for holder in (ACME, OTHER))
    ledger.hold(asked(), by=MEMBER)
    assert [grant.id for grant in ledger.grants(by=MEMBER)] == [mine]
    assert {str(line.holder) for line in ledger.balances(by=MEMBER)} == {"leonardo/acme"}
    assert {str(entry.holder) for entry in ledger.entries(by=MEMBER)} == {"leonardo/acme", str(ANNA)}
    for refused in (
        lambda: ledger.hold(asked("s@1", OTHER), by=MEMBER),
        lambda: ledger.balance(theirs, by=MEMBER),
        lambda: ledger.balance(OTHER, by=MEMBER),
        lambda: list(ledger.entries(by=MEMBER, holder=Holder(("leonardo",)))),
        lambda: ledger.grant(terms(), by=MEMBER, reason="x"),
        lambda: ledger.quarantined(by=MEMBER),
        lambda: ledger.hold(asked("t@1"), by=VIEWER),
        lambda: ledger.hold(asked("u@1", rate=10**6), by=MEMBER, overdraft_reason="please"),
        lambda: ledger.post_usage(_used(), by=MEMBER),
        lambda: ledger.grants(by=Actor(name="x", role="king")),
    ):
        with pytest.raises(Refused):
            refused()


def test_an_admin_rules_its_organisation_and_makes_no_budget(ledger: Ledger, staff: Actor) -> None:
    pot = ledger.grant(terms(), by=staff, reason="x")
    press = Holder((*ACME.path, "press"))
    part = ledger.sub_grant(pot, terms(press, 1_000, 30), by=ADMIN, reason="x")
    ledger.set_ceiling(press, "gpus", 4, by=ADMIN, reason="x")
    ledger.transfer(pot, part, 10, by=staff, reason="x")
    ledger.transfer(part, pot, 0 + 10, by=staff, reason="x")
    for refused in (
        lambda: ledger.set_ceiling(ACME, "gpus", 400, by=ADMIN, reason="x"),
        lambda: ledger.adjust(pot, -5, by=ADMIN, reason="x"),
        lambda: ledger.extend(part, amount=5, by=ADMIN, reason="x"),
        lambda: ledger.transfer(part, pot, 5, by=ADMIN, reason="x"),
        lambda: ledger.sub_grant(pot, terms(press, 5, 30, overdraft=9), by=ADMIN, reason="x"),
        lambda: ledger.assign("bob", "staff", None, by=ADMIN, reason="x"),
    ):
        with pytest.raises(Refused):
            refused()


def test_what_wants_four_eyes_takes_two_people(ledger: Ledger, staff: Actor) -> None:
    ledger.set_setting("four_eyes", ["grant"], by=staff, reason="audit")
    with pytest.raises(Refused, match="four eyes"):
        ledger.grant(terms(), by=staff, reason="x")
    with pytest.raises(Refused, match="four eyes"):
        ledger.set_setting("four_eyes", [], by=staff, reason="a short cut")
    request = ledger.request(changes.grant(terms()), by=staff, reason="agreement 7")
    assert [one.verb for one in ledger.requests(by=EVA)] == ["grant"]
    with pytest.raises(Refused, match="somebody else"):
        ledger.approve(request, by=staff, reason="me")
    with pytest.raises(Refused, match="may not grant"):
        ledger.approve(request, by=ADMIN, reason="me too")
    grant = ledger.approve(request, by=EVA, reason="seen")
    entry = next(ledger.entries(by=staff, after=grant - 1))
    assert (entry.actor, entry.facts["requested_by"], entry.facts["request"]) == ("eva", staff.name, request)
    with pytest.raises(Refused, match="approved by eva"):
        ledger.approve(request, by=EVA, reason="again")
    second = ledger.request(changes.grant(terms()), by=MEMBER, reason="we need more")
    ledger.reject(second, by=EVA, reason="no")
    assert ledger.requests(by=staff) == ()


def test_an_admin_of_two_firms_approves_for_either(
    ledger: Ledger, staff: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants = [ledger.grant(terms(firm), by=staff, reason="x") for firm in (ACME, OTHER)]
    for firm in (ACME, OTHER):
        ledger.assign("ada", "admin", firm, by=staff, reason="x")
    asked_for = [ledger.request(changes.freeze(grant), by=staff, reason="x") for grant in grants]
    monkeypatch.setattr(access, "system_user", lambda: "ada")
    desk = Office(ledger=ledger, actor=ledger.actor_of())
    made = [desk.approve(request, reason="seen") for request in asked_for]
    assert [one.by.holder for one in made] == [ACME, OTHER]
    with pytest.raises(NotFound):
        desk.approve(999, reason="x")


def test_of_several_roles_the_one_that_covers_the_place_is_acted_in() -> None:
    press = Holder((*ACME.path, "press"))
    roles = [Actor(name="a", role="admin", holder=press), Actor(name="a", role="member", holder=ACME)]
    assert access.strongest(roles, Holder((*ACME.path, "mill"))).role == "member"
    assert access.strongest(roles, press).role == "admin"
    assert access.strongest(roles, None).role == "admin"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [("gpus", 6, "6 GPUs at once, 4 in use, 4 wanted"), ("jobs", 1, "1 jobs at once"), ("billing_s", 15_000, "15,000")],
)
def test_a_ceiling_counts_everything_below_its_holder(
    ledger: Ledger, staff: Actor, kind: str, value: int, text: str
) -> None:
    ledger.grant(terms(), by=staff, reason="x")
    ledger.set_ceiling(ACME, kind, value, by=staff, reason="x")
    ledger.hold(asked(gpus=4), by=staff)
    beside = Holder((*ACME.path, "mill", "bob"))
    with pytest.raises(QuotaExceeded, match=text):
        ledger.hold(asked("s@1", beside, gpus=4), by=staff)
    ledger.set_ceiling(ACME, kind, None, by=staff, reason="x")
    ledger.hold(asked("s@1", beside, gpus=4), by=staff)


def test_a_job_must_end_within_its_grant_unless_it_may_cross(ledger: Ledger, staff: Actor) -> None:
    ledger.grant(terms(days=1), by=staff, reason="x")
    ledger.grant(terms(resource="cpu"), by=staff, reason="x")
    long = asked(walltime_s=86_401, rate=1)
    with pytest.raises(QuotaExceeded, match="before the job may") as refused:
        ledger.hold(long, by=staff)
    assert "for cpu only" in str(refused.value)
    assert "a walltime of 1 day, 0:00:00" in str(refused.value)
    assert ledger.hold(long, by=staff, allow_cross=True).open


def test_staff_may_overdraw_for_a_reason_and_it_is_told(ledger: Ledger, staff: Actor) -> None:
    grant = ledger.grant(terms(amount=4_000), by=staff, reason="x")
    ledger.hold(asked(), by=staff, overdraft_reason="the review is tomorrow")
    assert ledger.balance(grant, by=staff).free == -6_000
    entry = list(ledger.entries(by=staff))[-1]
    assert (entry.reason, entry.facts["overdraft"]) == ("the review is tomorrow", {str(grant): -6_000})


def test_a_change_needs_a_reason_and_terms_that_make_sense(ledger: Ledger, staff: Actor) -> None:
    with pytest.raises(UserError, match="say why"):
        ledger.grant(terms(), by=staff, reason=" ")
    with pytest.raises(UserError) as refused:
        ledger.grant(terms(amount=0, days=-1, resource="tpu"), by=staff, reason="x")
    assert [problem.field for problem in refused.value.problems] == ["amount", "valid_until", "resource"]
    with pytest.raises(UserError, match="rate: -1 is less than 0"):
        ledger.hold(asked(rate=-1), by=staff)


def test_a_grant_that_holds_nothing_is_closed_and_gives_back(ledger: Ledger, staff: Actor) -> None:
    pot = ledger.grant(terms(), by=staff, reason="x")
    part = ledger.sub_grant(pot, terms(Holder((*ACME.path, "press")), 20_000), by=staff, reason="x")
    ledger.hold(asked(), by=staff)
    with pytest.raises(Refused, match="holds 10,000"):
        ledger.close(part, by=staff, reason="x")
    ledger.post_usage(_used(4_000), by=staff, hold_key="r@1")
    ledger.close(part, by=staff, reason="done")
    assert (ledger.balance(pot, by=staff).free, ledger.balance(part, by=staff).free) == (96_000, 0)
    with pytest.raises(Refused, match="is closed"):
        ledger.freeze(part, by=staff, reason="x")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("postgresql://anna:secret@host/db", "seen by everybody"),
        ("postgresql://host/db?password=secret", "seen by everybody"),
        ("mysql://host/db", "not a database that forgia keeps"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_its_secret(place: str, text: str) -> None:
    with pytest.raises(UserError, match=text) as refused:
        open_ledger(place)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_and_a_file_that_is_no_ledger_are_said(home: HomePaths) -> None:
    with pytest.raises(ClusterError, match="ledger postgresql://"):
        open_ledger(f"postgresql://x@/x?host={home.root}")
    path = home.root.parent / "notes.db"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(UserError, match="not a SQLite database"):
        open_ledger(path)


def _used(billing_s: int = 100) -> Usage:
    return Usage(
        key="leonardo:1",
        cluster="leonardo",
        job_id="1",
        state="COMPLETED",
        billing_s=billing_s,
        start=START,
        end=START + timedelta(hours=1),
    )


def test_a_firm_does_not_turn_down_what_another_firm_asked_for(ledger: Ledger, staff: Actor) -> None:
    grant = ledger.grant(terms(OTHER), by=staff, reason="x")
    ledger.assign("ada", "admin", ACME, by=staff, reason="x")
    rival, boss = Actor(name="olaf", role="admin", holder=OTHER), Actor(name="olga", role="admin", holder=OTHER)
    change = changes.sub_grant(grant, terms(Holder((*OTHER.path, "lab")), amount=5))
    asked_for = ledger.request(change, by=rival, reason="pilot")
    setting = ledger.request(changes.setting("note", "x"), by=rival, reason="x")
    for request in (asked_for, setting):
        for decide in (ledger.reject, ledger.approve):
            with pytest.raises(NotFound):
                decide(request, by=ADMIN, reason="rivals")
    ledger.reject(asked_for, by=boss, reason="no")
    ledger.reject(setting, by=EVA, reason="no")


def test_what_staff_froze_a_firm_neither_opens_nor_empties(ledger: Ledger, staff: Actor) -> None:
    grant, mine = (ledger.grant(terms(), by=staff, reason="x") for _ in range(2))
    ledger.freeze(grant, by=staff, reason="contract under review")
    ledger.freeze(grant, by=ADMIN, reason="so that I may lift it")
    part = changes.sub_grant(grant, terms(ANNA, amount=5))
    for change in (changes.unfreeze(grant), part, changes.transfer(grant, mine, 5)):
        with pytest.raises(Refused, match="frozen"):
            ledger.do(change, by=ADMIN, reason="we like it")
    ledger.unfreeze(grant, by=staff, reason="review is over")
    ledger.freeze(grant, by=ADMIN, reason="our own")
    ledger.unfreeze(grant, by=ADMIN, reason="our own")
    ledger.do(part, by=ADMIN, reason="x")


def test_nothing_moves_to_another_site_or_to_a_grant_that_is_over(ledger: Ledger, staff: Actor) -> None:
    here = ledger.grant(terms(), by=staff, reason="x")
    there = ledger.grant(terms(Holder(("lumi", "acme"))), by=staff, reason="x")
    with pytest.raises(Refused, match="bill apart"):
        ledger.transfer(here, there, 5, by=staff, reason="x")
    early = Terms(holder=ACME, amount=5, valid_from=START - timedelta(days=9), valid_until=START)
    over = ledger.grant(early, by=staff, reason="told late")
    with pytest.raises(Refused, match="would be lost"):
        ledger.transfer(here, over, 5, by=staff, reason="x")


def test_a_grant_that_was_closed_by_mistake_is_open_again_when_that_is_reversed(ledger: Ledger, staff: Actor) -> None:
    grant = ledger.grant(terms(), by=staff, reason="x")
    ledger.reverse(ledger.close(grant, by=staff, reason="the wrong one"), by=staff, reason="a mistake")
    (state,) = ledger.grants(by=staff)
    assert (state.id, state.closed, state.free) == (grant, False, 100_000)
    assert ledger.hold(asked(), by=MEMBER).held == 10_000


def test_nobody_becomes_two_people_by_a_role_or_a_token_of_ones_own(ledger: Ledger, staff: Actor) -> None:
    ledger.set_setting("four_eyes", ["grant"], by=staff, reason="audit")
    with pytest.raises(Refused, match="four eyes"):
        ledger.issue_token("me-again", "staff", None, by=staff, reason="a short cut")
    with pytest.raises(Refused, match="four eyes"):
        ledger.assign("me-again", "staff", None, by=staff, reason="a short cut")


def test_an_emptied_ledger_is_not_taken_for_none(ledger: Ledger, tmp_path: Path) -> None:
    emptied = Settings(home=HomePaths(tmp_path / "other"))
    assert office.open_office(emptied) is None
    emptied.home.ledger.parent.mkdir(parents=True)
    emptied.home.ledger.write_bytes(b"")
    with pytest.raises(UserError, match="the file is empty"):
        office.open_office(emptied)


def test_a_torn_ledger_file_sends_to_the_backup(home: HomePaths) -> None:
    with open_ledger(home.ledger, now=lambda: START):
        pass
    home.ledger.write_bytes(home.ledger.read_bytes()[:9_000])
    with pytest.raises(ClusterError, match="malformed") as torn:
        open_ledger(home.ledger, now=lambda: START).verify()
    assert "backup" in (torn.value.hint or "")
