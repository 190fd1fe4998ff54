"""Alerts say what stands, each once until it changes; the files for dashboards are what their readers take."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from forgia.errors import UserError
from forgia.grant import Holder, Terms
from forgia.quota import outlets
from forgia.quota.alerts import Alert, Facts, alerts, digest, tell, worst
from forgia.quota.outlook import outlook
from forgia.quota.reconcile import Drift
from forgia.quota.records import GrantState, Member, Quarantined

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TODAY = date(2026, 11, 23)
HOLDER = Holder(("leonardo", "acme"))


def grant(*, spent: int = 500, held: int = 0, begun: int = 50, left: int = 50, **more) -> GrantState:
    times = {"valid_from": NOW - timedelta(days=begun), "valid_until": NOW + timedelta(days=left)}
    terms = Terms(holder=HOLDER, amount=1000, **times, strategy=more.pop("strategy", "none"))
    pots = {"free": 1000 - spent - held, "held": held, "spent": spent, "expired": 0}
    return GrantState(id=7, terms=terms, parent=None, **{"frozen": False, "closed": False, **pots, **more})


def kinds(*grants: GrantState, **more) -> list[tuple[str, str]]:
    return [(one.kind, one.state.split()[0]) for one in alerts(Facts(grants=grants, now=NOW, used={}, **more))]


@pytest.mark.parametrize(
    ("spent", "held", "state", "level"),
    [(500, 0, "50", "info"), (700, 100, "80", "warning"), (899, 1, "90", "warning"), (1100, 0, "100", "critical")],
)
def test_what_is_used_or_held_is_told_by_its_highest_threshold(spent, held, state, level):
    (found,) = alerts(Facts(grants=[grant(spent=spent, held=held)], now=NOW, used={}))
    assert (found.kind, found.state, found.level) == ("used", state, level)


@pytest.mark.parametrize(("left", "state"), [(30, "30"), (7, "7"), (1, "1")])
def test_a_near_end_is_told_by_its_nearest_threshold(left, state):
    assert ("ends", state) in kinds(grant(spent=400, begun=20, left=left))


def test_a_budget_that_is_hardly_used_is_told_but_not_in_its_first_week():
    assert kinds(grant(spent=100)) == [("idle", "idle")]
    assert kinds(grant(spent=0, begun=6, left=300)) == []


def test_a_frozen_grant_a_drift_and_the_quarantine_are_told():
    row = Quarantined(key="c:1", seq=9, time=NOW, reason="state 'ODD' is not known", usage={}, resolved="")
    drifts = [Drift(account="aifac", site=1000, ours=970), Drift(account="fine", site=1000, ours=981)]
    found = kinds(grant(spent=400, frozen=True), quarantined=[row], drifts=drifts)
    assert found == [("drift", "-3" if drifts[0].difference < 0 else "+3"), ("quarantine", "1"), ("frozen", "frozen")]


def test_a_month_slice_that_is_used_up_is_told():
    mine = grant(spent=400, strategy="cineca")
    (found,) = alerts(Facts(grants=[mine], now=NOW, used={7: {"2026-11": 400}}))
    assert (found.kind, found.level) == ("slice", "warning")
    assert "at lower priority" in found.text
    assert alerts(Facts(grants=[mine], now=NOW, used={7: {"2026-11": 200}})) == []


def test_a_closed_or_ended_grant_is_silent():
    assert kinds(grant(closed=True), grant(left=-1)) == []


def alert(state: str = "80", level: str = "warning", kind: str = "used") -> Alert:
    return Alert(kind=kind, level=level, state=state, text="x", grant=7)


def test_an_alert_is_told_once_until_it_changes():
    first = digest([alert()], {}, today=TODAY)
    again = digest([alert()], first.memory, today=TODAY + timedelta(days=1))
    changed = digest([alert("90")], again.memory, today=TODAY + timedelta(days=2))
    assert [len(one.told) for one in (first, again, changed)] == [1, 0, 1]


def test_a_second_digest_of_a_day_tells_only_what_is_critical():
    first = digest([alert()], {}, today=TODAY)
    more = [alert(), alert(kind="frozen"), alert("100", "critical", "ends")]
    second = digest(more, first.memory, today=TODAY)
    assert ([one.kind for one in second.told], second.waiting) == (["ends"], 1)
    third = digest(more, second.memory, today=TODAY + timedelta(days=1))
    assert [one.kind for one in third.told] == ["frozen"]


def test_an_alert_that_went_away_and_came_back_is_told_again():
    memory = digest([], digest([alert()], {}, today=TODAY).memory, today=TODAY + timedelta(days=1)).memory
    assert len(digest([alert()], memory, today=TODAY + timedelta(days=2)).told) == 1


def test_ledgers_do_not_silence_each_other(tmp_path):
    memory = tmp_path / "quota" / "told.json"
    told = [len(tell([alert()], memory, ledger=name, today=TODAY).told) for name in ("one", "two", "one")]
    assert told == [1, 1, 0]


def test_the_worst_level_decides():
    assert worst([alert(), alert(level="critical"), alert(level="info")]) == "critical"
    assert worst([]) == ""


def the_outlook(**more):
    return outlook(HOLDER, [grant(**more)], [], now=NOW)


def test_the_prometheus_file_names_every_unit_and_escapes_labels():
    hostile = replace(alert(), holder='a"b\\c\nd')
    text = outlets.prometheus([the_outlook()], [hostile], now=NOW)
    assert 'forgia_quota_held_billing_seconds{holder="leonardo/acme"} 0\n' in text
    assert r'holder="a\"b\\c\nd"' in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(line.split("{")[0].split(" ")[0] in outlets.METRICS for line in lines)
    for name in {line.split("{")[0].split(" ")[0] for line in lines}:
        assert f"# TYPE {name} gauge\n" in text
    assert text.endswith("\n")


def test_open_ondemand_gets_the_days_of_each_person():
    members = [
        Member(name="anna", role="member", holder=HOLDER),
        Member(name="other", role="member", holder=Holder(("leonardo", "else"))),
        Member(name="robot", role="member", holder=HOLDER, token=True),
    ]
    found = outlets.ood([the_outlook()], members, now=NOW)
    assert found["version"] == 1
    assert found["timestamp"] == int(NOW.timestamp())
    assert found["config"] == {"unit": "day", "project_type": "grant"}
    assert found["balances"] == [{"user": "anna", "project": "leonardo/acme", "value": 50}]


def test_a_published_file_keeps_its_readers_and_is_replaced_whole(tmp_path):
    path = tmp_path / "quota.prom"
    outlets.publish(path, "old\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    outlets.publish_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="no such folder"):
        outlets.publish(tmp_path / "nowhere" / "x.prom", "")
