"""What ``forgia quota show`` reads through the driver alone is what the ledger itself says, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from forgia.grant import Actor, Holder, Terms
from forgia.quota import access
from forgia.quota.glance import glance
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.office import Office

START = datetime(2026, 11, 1, 8, tzinfo=UTC)
STAFF = Actor(name="root", role="staff")
FIRMS = [Holder(("leonardo", name)) for name in ("acme", "beta", "gamma")]


@pytest.fixture
def ledger(place: str) -> Iterator[Ledger]:
    """Three firms with a grant each; one is frozen, one is closed."""
    with open_ledger(place, now=lambda: START) as opened:
        for firm in FIRMS:
            terms = Terms(holder=firm, amount=9_000, valid_from=START, valid_until=START + timedelta(days=90))
            opened.grant(terms, by=STAFF, reason="x")
        opened.freeze(2, by=STAFF, reason="x")
        opened.close(3, by=STAFF, reason="x")
        yield opened


def where(place: str) -> Path | str:
    return place if "://" in place else Path(place)


def office_of(ledger: Ledger, token: str | None = None) -> Office:
    return Office(ledger=ledger, actor=ledger.actor_of(token=token), token=token)


def test_staff_sees_at_a_glance_what_the_ledger_says(ledger: Ledger, place: str) -> None:
    seen = glance(where(place), token=None)
    assert seen == office_of(ledger).grants()
    assert seen
    assert [(grant.frozen, grant.closed) for grant in seen] == [(True, False), (False, True), (False, False)]


def test_a_token_and_a_member_of_two_firms_see_their_own_only(
    ledger: Ledger, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = ledger.issue_token("portal", "viewer", FIRMS[1], by=STAFF, reason="x")
    assert glance(where(place), token=token) == office_of(ledger, token).grants()
    for firm, role in ((FIRMS[0], "admin"), (FIRMS[2], "member")):
        ledger.assign("anna", role, Holder((*firm.path, "press")), by=STAFF, reason="x")
    monkeypatch.setattr(access, "system_user", lambda: "anna")
    seen = glance(where(place), token=None)
    assert seen == office_of(ledger).grants()
    assert [grant.holder for grant in seen or ()] == [FIRMS[0], FIRMS[2]]


def test_whoever_has_no_role_and_a_ledger_of_a_newer_forgia_are_left_to_the_ledger_itself(
    ledger: Ledger, place: str
) -> None:
    assert glance(where(place), token="fgl_nobody's") is None
    with ledger.database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v9999'"))
    assert glance(where(place), token=None) is None


@pytest.mark.parametrize(
    "address", ["postgresql://eve:secret@nowhere/x", "postgresql://nowhere/x?password=secret", "mysql://nowhere/x"]
)
def test_an_address_that_the_ledger_refuses_is_not_even_tried(address: str) -> None:
    assert glance(address, token=None) is None


def test_what_is_no_ledger_is_left_to_the_ledger_itself(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    assert glance(path, token=None) is None
    path.write_bytes(b"")
    assert glance(path, token=None) is None
    path.write_bytes(b"no database at all" * 500)
    assert glance(path, token=None) is None
    assert sorted(tmp_path.iterdir()) == [path]
