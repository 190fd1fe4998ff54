"""SLURM's limits never let more run than the ledger has, are written once, and say what was done when one fails."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.errors import UserError
from forgia.grant import Actor, Holder, HoldRequest, Kind, Terms, Usage
from forgia.paths import HomePaths
from forgia.quota import access, limits, projection
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.limits import Actual, Limits
from forgia.quota.projection import Change, Firm, Wanted
from forgia.quota.records import Ceiling, GrantState, HolderUse

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ACME = Holder.parse("leonardo/acme")
DAY = timedelta(days=1)
WHY = "EHPC-AIF-2026PG01-042"


def grant(
    *, free: int = 6000, held: int = 0, spent: int = 0, begun: int = 10, left: int = 10, **more: Any
) -> GrantState:
    terms = Terms(
        holder=more.pop("holder", ACME),
        amount=more.pop("amount", 10_000),
        valid_from=NOW - begun * DAY,
        valid_until=NOW + left * DAY,
        overdraft=more.pop("overdraft", 0),
    )
    state = {"id": 2, "parent": None, "frozen": False, "closed": False, "expired": 0, **more}
    return GrantState(terms=terms, free=free, held=held, spent=spent, **state)


def wanted(*grants: GrantState, charged: int = 0, used: int = 0, account: str | None = None, **caps: int) -> Wanted:
    firm = Firm(holder=ACME, grants=grants, charged=charged, caps=caps)
    actual = Actual(cluster="lab", used={"fg_acme": used})
    return projection.wanted(firm, actual, now=NOW, qos="fg_acme", account=account)


def applied(actual: Actual, changes: Sequence[Change]) -> Actual:
    """What SLURM would have after these commands, by the manual of sacctmgr."""
    fields = {option.removesuffix("="): name for name, option, _ in projection.OPTIONS}
    for change in changes:
        words = list(change.argv[2:])
        assert words[0] in ("add", "modify"), "nothing is ever deleted"
        if words[1] == "account":
            name, qos = words[3].removeprefix("name="), words[6].removeprefix("qos+=").split(",")
            before = actual.associations[name, ""]
            actual = replace(actual, associations={**actual.associations, (name, ""): before | set(qos)})
            continue
        is_new = words[0] == "add"
        name = words[2] if is_new else words[3].removeprefix("name=")
        assert (name in actual.qos) is not is_new
        found = Limits(flags=frozenset()) if is_new else actual.qos[name]
        for word in words[3:] if is_new else words[5:]:
            option, _, value = word.rpartition("=")
            if option in ("Flags", "Flags+"):
                found = replace(found, flags=found.flags | set(value.split(",")))
            else:
                found = replace(found, **{fields[option]: None if value == "-1" else int(value)})
        actual = replace(actual, qos={**actual.qos, name: found})
    return actual


GRANTS = st.builds(
    grant,
    free=st.integers(-5000, 10**6),
    held=st.integers(0, 10**6),
    spent=st.integers(0, 10**6),
    begun=st.integers(-2, 5),
    left=st.integers(-2, 5).filter(bool),
    overdraft=st.integers(0, 500),
    frozen=st.booleans(),
)


@given(st.lists(GRANTS, min_size=1, max_size=4), st.integers(0, 10**6), st.integers(0, 10**5), st.booleans())
def test_slurm_never_lets_more_run_than_is_held_or_free_whatever_it_counted(grants, charged, used, capped):
    caps = {"billing_s": 300} if capped else {}
    found = wanted(*grants, charged=charged, used=used, **caps)
    usable = [one for one in grants if not one.frozen and one.terms.valid_from <= NOW < one.terms.valid_until]
    has = sum(one.held for one in grants) + sum(max(0, one.free + one.terms.overdraft) for one in usable)
    still_to_run = (found.limits.minutes or 0) - used
    assert still_to_run * 60 <= has
    assert found.limits.minutes is not None


@given(st.integers(0, 10**5), st.integers(0, 10**5), st.integers(0, 10**5))
def test_what_runs_and_is_charged_leaves_the_limit_as_it_is(free, held, charge):
    before = wanted(grant(free=free, held=held + charge), used=10**6)
    after = wanted(grant(free=free, held=held, spent=charge), charged=charge, used=10**6)
    assert before.limits.minutes == after.limits.minutes


def test_what_ran_elsewhere_or_was_adjusted_is_not_added_and_a_count_set_to_zero_lowers_the_limit():
    assert wanted(grant(free=600, spent=60_000), charged=0, used=0).limits.minutes == 10
    assert wanted(grant(free=600, spent=60_000), charged=6000, used=100).limits.minutes == 110
    assert wanted(grant(free=600, spent=60_000), charged=6000, used=0).limits.minutes == 10


@pytest.mark.parametrize(
    ("grants", "word", "minutes"),
    [
        ([grant()], "", 100),
        ([grant(frozen=True, held=120)], "frozen", 2),
        ([grant(frozen=True), grant()], "", 100),
        ([grant(left=-1, held=60)], "its grants are over", 1),
        ([grant(begun=-1)], "not valid yet", 0),
        ([grant(free=0)], "nothing is left", 0),
        ([grant(free=-5, held=60)], "", 1),
        ([grant(free=0, overdraft=60)], "", 1),
        ([grant(closed=True, free=0)], "its grants are over", 0),
    ],
)
def test_who_is_frozen_over_early_or_without_budget_is_paused_and_keeps_what_is_held(grants, word, minutes):
    found = wanted(*grants)
    assert (found.paused, found.limits.minutes) == (word, minutes)
    assert found.limits.submitted == (0 if word else None)


def test_caps_of_the_organisation_and_its_site_become_limits_and_those_of_billing_count_what_is_left():
    site = Holder.parse("leonardo")
    ceilings = [Ceiling(holder=ACME, kind="gpus", value=8), Ceiling(holder=site, kind="gpus", value=6)]
    ceilings += [Ceiling(holder=ACME, kind="billing_s", value=1000), Ceiling(holder=ACME, kind="jobs", value=3)]
    ceilings += [Ceiling(holder=Holder.parse("leonardo/beta"), kind="jobs", value=1)]
    use = [HolderUse(holder=Holder.parse("leonardo/acme/p/anna"), held=300, charged=100)]
    caps = projection.caps_on(ACME, ceilings, use)
    assert caps == {"gpus": 6, "jobs": 3, "billing_s": 600}
    found = wanted(grant(held=300), **caps)
    assert found.limits == Limits(minutes=15, gpus=6, jobs=3)


@given(st.data())
def test_a_second_apply_changes_nothing_and_what_lets_less_run_comes_first(data):
    names = ("fg_a", "fg_b", "fg_c")
    counts = st.none() | st.integers(0, 50)
    flags = st.sets(st.sampled_from(["DenyOnLimit", "NoDecay", "PartitionTimeLimit"])).map(frozenset)
    some = st.builds(Limits, minutes=counts, gpus=counts, jobs=counts, submitted=counts, flags=flags)
    has = frozenset(data.draw(st.sets(st.sampled_from(["normal", *names]))))
    actual = Actual(
        cluster="lab",
        qos=data.draw(st.dictionaries(st.sampled_from([*names, "fg_stranger"]), some)),
        associations={("acme", ""): has, ("acme", "anna"): frozenset()},
    )
    new = st.builds(Limits, minutes=st.integers(0, 50), gpus=counts, jobs=counts, submitted=st.sampled_from([0, None]))
    every = [replace(wanted(grant(), account="acme"), qos=name, limits=data.draw(new)) for name in names]
    found = projection.changes(every, actual)
    after = applied(actual, found)
    assert projection.changes(every, after) == ()
    assert after.associations["acme", ""] == has | set(names)
    assert after.qos.get("fg_stranger") == actual.qos.get("fg_stranger")
    for name in names:  # a flag that somebody set for a purpose of their own stays
        assert after.qos[name].flags >= (actual.qos[name].flags if name in actual.qos else frozenset())
    raising = [change.raises for change in found]
    assert raising == sorted(raising)


def test_each_change_is_a_list_of_words_and_a_sentence():
    old = Actual(cluster="lab", qos={"fg_acme": Limits(minutes=100, gpus=4)}, associations={("acme", ""): frozenset()})
    lowered, attached = projection.changes([wanted(grant(frozen=True), account="acme")], old)
    assert lowered.argv == (
        *("sacctmgr", "--immediate", "modify", "qos", "where", "name=fg_acme", "set"),
        *("GrpTRESMins=billing=0", "GrpTRES=gres/gpu=-1", "GrpSubmitJobs=0"),
    )
    assert "at most 0 billing-minutes in all (was 100), no limit of GPUs at once (was 4)" in lowered.sentence
    assert lowered.sentence.endswith("paused, frozen: new jobs are refused; jobs that run keep running")
    assert attached.argv[-3:] == ("cluster=lab", "set", "qos+=fg_acme")
    (unsafe, _) = projection.changes([wanted(grant(frozen=True), account="acme")], replace(old, is_safe=False))
    assert "jobs that run are ended" in unsafe.sentence


@pytest.mark.parametrize("name", ["a,b", "a b", "fg;", "x[1-3]", "-i", "A", "a=b", "'a'", "", "a.b", "é"])
def test_names_that_sacctmgr_could_misread_are_refused_all_at_once(name):
    with pytest.raises(UserError) as caught:
        projection.qos_names([ACME], prefix=name, accounts=[name])
    assert {problem.field for problem in caught.value.problems} >= {"--prefix", "--account"}


def test_two_organisations_never_share_a_qos():
    holders = [Holder.parse(f"leonardo/{name}") for name in ("a.b", "a_b", "a-b", "ab")]
    names = projection.qos_names(holders, prefix="fg_")
    assert len(set(names.values())) == 4
    assert names[holders[0]] == "fg_a__b"


def test_the_words_of_slurm_are_read_and_what_is_no_row_is_passed_over():
    text = "normal|||||\nfg_acme|DenyOnLimit,NoDecay|billing=10,cpu=7|gres/gpu=4,gres/gpu:fake=2|0|3\nbroken|row\n"
    assert limits.limits_of(text) == {
        "normal": Limits(flags=frozenset()),
        "fg_acme": Limits(minutes=10, gpus=4, jobs=0, submitted=3),
    }
    rest = "GrpTRES=cpu=N(1),billing=N(16) GrpTRESMins=cpu=N(0),mem=N(1),billing=600(57),gres/gpu=N(0) MaxWallPJ="
    told = f"Current Association Manager state\nQOS Records\nQOS=fg_acme(2) UsageRaw=3440.000000 {rest}\n"
    assert limits.used_of(told) == {"fg_acme": 57}
    assert limits.associations_of("acme||fg_acme,normal\nacme|anna|normal\n") == {
        ("acme", ""): frozenset({"fg_acme", "normal"}),
        ("acme", "anna"): frozenset({"normal"}),
    }


def test_a_cluster_that_does_not_enforce_or_count_is_told():
    fine = {"AccountingStorageEnforce": "associations,limits,qos,safe", "PriorityType": "priority/multifactor"}
    assert list(limits.enforcement(fine)) == []
    assert len(list(limits.enforcement({"PriorityType": "priority/basic"}))) == 3


# Against a sacctmgr that tells what it was told, and a ledger


PROGRAMS = {
    "scontrol": """
case "$*" in
  "show config") echo "ClusterName = lab"; echo "AccountingStorageEnforce = associations,limits,qos,safe" ;;
  *) cat "$0.use" ;;
esac
""",
    "sacctmgr": """
case "$*" in
  *"show qos"*) cat "$0.qos" ;;
  *"show assoc"*) cat "$0.assoc" ;;
  *$(cat "$0.refused")*) echo " Your user/uid doesn't have privilege to perform this action" >&2; exit 1 ;;
  *) echo "$*" >> "$0.log" ;;
esac
""",
}


class FakeSlurm:
    """Commands on PATH with canned answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in PROGRAMS.items():
            program = folder / name
            program.write_text(f"#!/bin/sh{text}")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.tell(qos="normal|||||", assoc="root||normal\nacme||normal", use="QOS Records", refused="nothing")

    def tell(self, *, use: str | None = None, **answers: str) -> None:
        for name, text in answers.items():
            (self.folder / f"sacctmgr.{name}").write_text(text + "\n")
        if use is not None:
            (self.folder / "scontrol.use").write_text(use + "\n")

    @property
    def told(self) -> list[str]:
        log = self.folder / "sacctmgr.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return FakeSlurm(folder)


@pytest.fixture
def ledger(home: HomePaths) -> Iterator[Ledger]:
    """Two firms of 100 billing-minutes each, grants 2 and 3."""
    home.quota.mkdir(parents=True)
    with open_ledger(home.ledger) as opened:
        for firm in ("acme", "beta"):
            times = {"valid_from": datetime.now(UTC) - DAY, "valid_until": datetime.now(UTC) + DAY}
            terms = Terms(holder=Holder.parse(f"leonardo/{firm}"), amount=6000, **times)
            opened.grant(terms, by=opened.actor_of(), reason=WHY)
        yield opened


Forgia = Callable[..., Any]
SYNC = ("quota", "sync", "--account", "acme")


def test_a_plan_writes_nothing_and_an_apply_writes_and_notes_what_the_plan_showed(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia
) -> None:
    shown = forgia_command(*SYNC, "--json")
    assert shown.exit_code == 0, shown.output
    planned = json.loads(shown.stdout)
    text = forgia_command(*SYNC, "--plan").stdout
    assert all(" ".join(change["command"]) in text and change["sentence"] in text for change in planned["changes"])
    assert slurm.told == []
    assert [one["limits"]["minutes"] for one in planned["limits"]] == [100, 100]
    done = forgia_command(*SYNC, "--apply")
    assert done.exit_code == 0, done.output
    assert slurm.told == [" ".join(change["command"][1:]) for change in planned["changes"]]
    assert slurm.told[-1].endswith("name=acme cluster=lab set qos+=fg_acme,fg_beta")
    (entry,) = list(ledger.entries(by=ledger.actor_of(), after=3))
    assert (entry.kind, entry.lines) == (Kind.RULE, ())
    assert entry.facts["arguments"]["value"]["commands"] == [f"sacctmgr {line}" for line in slurm.told]
    assert ledger.verify() == ()


def test_an_apply_that_has_nothing_to_do_notes_nothing(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia
) -> None:
    rows = [f"fg_{firm}|DenyOnLimit,NoDecay|billing=100|||" for firm in ("acme", "beta")]
    slurm.tell(qos="\n".join(rows), assoc="root||normal\nacme||fg_acme,fg_beta,normal")
    done = forgia_command(*SYNC, "--apply")
    assert (done.exit_code, slurm.told) == (0, [])
    assert "nothing to change" in done.stdout
    assert list(ledger.entries(by=ledger.actor_of(), after=3)) == []


def test_the_first_failure_ends_it_and_says_what_was_done_and_what_was_not(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia
) -> None:
    slurm.tell(refused="fg_beta")
    done = forgia_command(*SYNC, "--apply")
    assert done.exit_code == 5
    assert "1 of 3 changes were made before it" in done.stderr
    assert "privilege" in done.stderr
    made, _, missing = done.stderr.partition("not made:")
    assert "make the QOS fg_acme" in made
    assert "make the QOS fg_beta" in missing
    assert len(slurm.told) == 1
    (entry,) = list(ledger.entries(by=ledger.actor_of(), after=3))
    assert len(entry.facts["arguments"]["value"]["commands"]) == 1


def test_where_four_eyes_are_wanted_the_note_waits_for_the_second_pair(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia
) -> None:
    ledger.set_setting("four_eyes", ["grant"], by=ledger.actor_of(), reason=WHY)
    done = forgia_command(*SYNC, "--apply")
    assert "waits for a second person" in done.stdout
    assert len(slurm.told) == 3
    assert [one.verb for one in ledger.requests(by=ledger.actor_of())] == ["setting"]


@pytest.mark.parametrize("role", ["admin", "member", "viewer"])
@pytest.mark.parametrize("flag", ["--plan", "--apply"])
def test_whoever_is_not_staff_is_refused(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia, monkeypatch: pytest.MonkeyPatch, role: str, flag: str
) -> None:
    secret = ledger.issue_token("x", role, ACME, by=ledger.actor_of(), reason=WHY)
    monkeypatch.setenv(access.TOKEN, secret)
    done = forgia_command(*SYNC, flag)
    assert (done.exit_code, slurm.told) == (4, [])
    assert "takes the role staff" in done.stderr


def test_a_missing_sacctmgr_a_closed_one_and_an_account_that_is_not_there_are_told(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = forgia_command("quota", "sync", "--account", "nope")
    assert (absent.exit_code, "no SLURM account named 'nope'" in absent.stderr) == (3, True)
    slurm.tell(assoc="")
    closed = forgia_command(*SYNC)
    assert (closed.exit_code, "answered nothing" in closed.stderr) == (5, True)
    monkeypatch.setenv("PATH", "/nowhere")
    missing = forgia_command(*SYNC)
    assert (missing.exit_code, "no such program" in missing.stderr) == (5, True)


def test_an_account_can_be_of_one_organisation_and_slips_of_the_hand_are_found(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia
) -> None:
    slurm.tell(qos="normal|||||\nfg_zeta||||||\nfg_old|||||", assoc="root||normal\nacme||normal\nother||normal")
    own = forgia_command("quota", "sync", "leonardo", "--account", "beta=other", "--json")
    planned = json.loads(own.stdout)
    assert [change["command"][-1] for change in planned["changes"] if "account" in change["command"]] == [
        "qos+=fg_beta"
    ]
    assert any("fg_acme" in note and "--account" in note for note in planned["notes"])
    assert any("left alone" in note and "fg_old" in note for note in planned["notes"])
    assert forgia_command("quota", "sync", "--account", "bta=other").exit_code == 3
    assert forgia_command("quota", "sync", "leonrado").exit_code == 3
    assert forgia_command(*SYNC, "--account", "other").exit_code == 2
    assert forgia_command("quota", "sync", "--account", "acme,other").exit_code == 2


def test_only_charges_of_the_qos_on_this_cluster_count_and_a_refund_takes_nothing_off(
    slurm: FakeSlurm, ledger: Ledger, forgia_command: Forgia
) -> None:
    me: Actor = ledger.actor_of()

    def charge(key: str, billing_s: int, qos: str, **more: Any) -> None:
        raw = f"lab|{key}|{key}|{key}|anna|acme|main|{qos}|COMPLETED|a|name|with|bars"
        times = {"start": datetime.now(UTC), "end": datetime.now(UTC)}
        usage = Usage(
            **{"key": key, "cluster": "lab", "job_id": key, "state": "COMPLETED", "billing_s": billing_s, **more},
            **times,
            raw=raw,
        )
        ledger.post_usage(usage, by=me, holder=ACME)

    charge("1", 600, "fg_acme")
    charge("2", 300, "normal")
    charge("3", 240, "fg_acme", cluster="elsewhere")
    charge("4", 120, "fg_acme", state="NODE_FAIL", refund_s=120)
    ask = HoldRequest(key="r@1", run_id="r", holder=ACME, resource="gpu", rate=1, walltime_s=60)
    ledger.hold(ask, by=me)
    use = "GrpTRESMins=cpu=N(0),billing=100(50),gres/gpu=N(0)"
    slurm.tell(qos="fg_acme|DenyOnLimit,NoDecay|billing=100|||", use=f"QOS=fg_acme(2) UsageRaw=1.0 {use}")
    shown = json.loads(forgia_command(*SYNC, "--json").stdout)
    acme = shown["limits"][0]
    left = 6000 - 600 - 300 - 240
    assert (acme["counted"], acme["held"], acme["free"]) == (720, 360, left - 360)
    assert acme["limits"]["minutes"] == (720 + left) // 60
