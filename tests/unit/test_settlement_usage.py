"""A line of sacct becomes a charge: the states, the rates, the times, the keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forgia.grant import Usage
from forgia.profile import Billing
from forgia.quota import accounting, tres
from forgia.quota.accounting import FIELDS, Malformed, Queue, Row
from forgia.quota.usage import RULES, Fate, Judged, Verdict, judge

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = int(datetime(2026, 11, 20, 8, tzinfo=UTC).timestamp())
NODE = "billing=32,cpu=32,gres/gpu=4,gres/gpu:a100=4,mem=494000M,node=1"
BASE = {
    **{"Cluster": "leonardo", "DBIndex": "900", "JobIDRaw": "4711", "User": "anna", "Account": "aifac_p02_001"},
    **{"Partition": "boost_usr_prod", "QOS": "normal", "State": "COMPLETED", "ExitCode": "0:0"},
    **{"Submit": str(START - 60), "Eligible": str(START - 60), "Start": str(START), "End": str(START + 3600)},
    **{"ElapsedRaw": "3600", "Suspended": "00:00:00", "TimelimitRaw": "120", "NNodes": "1", "AllocTRES": NODE},
    **{"ReqTRES": NODE, "JobName": "press-20261120-1"},
}


def row(**changes: str) -> Row:
    values = dict.fromkeys(FIELDS, "") | BASE | changes
    values["JobID"] = values["JobID"] or values["JobIDRaw"]
    line = "|".join(values[name] for name in FIELDS)
    parsed = accounting.parse_line(line, FIELDS)
    assert isinstance(parsed, Row)
    return parsed


def judged(queue: Queue | None = None, **changes: str) -> Judged:
    return judge(row(**changes), now=NOW, queue=queue)


def used(**changes: str) -> Usage:
    return judged(**changes).usage


def queue_of(*ids: str) -> Queue:
    return Queue(ids=frozenset(ids), names=frozenset())


def test_a_normal_job_is_charged_its_rate_times_its_seconds() -> None:
    found = used()
    assert (found.billing_s, found.rate, found.seconds, found.refund_s) == (32 * 3600, 32, 3600, 0)
    assert (found.key, found.resource, found.gpus, found.nodes) == ("leonardo:900", "gpu", 4, 1)
    assert (found.start, found.end) == (datetime.fromtimestamp(START, UTC), datetime.fromtimestamp(START + 3600, UTC))
    assert found.ends_job
    assert found.raw.endswith("|press-20261120-1")


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED by 1001", "DEADLINE"])
def test_every_end_of_a_job_costs_what_it_used(state: str) -> None:
    found = judged(State=state)
    assert (found.verdict, found.usage.billing_s, found.usage.ends_job) == (Verdict.FINAL, 32 * 3600, True)
    assert found.usage.state == state.partition(" ")[0]


@pytest.mark.parametrize("state", ["REQUEUED", "PREEMPTED", "RESIZING"])
def test_an_attempt_that_goes_on_costs_what_it_used_and_ends_nothing(state: str) -> None:
    found = judged(State=state)
    assert (found.verdict, found.usage.billing_s, found.usage.ends_job) == (Verdict.FINAL, 32 * 3600, False)
    assert found.usage.refund_s == 0


@pytest.mark.parametrize(
    ("state", "failed_node"),
    [("NODE_FAIL", ""), ("BOOT_FAIL", "None"), ("REQUEUED", "lrdn0815"), ("RESIZING", "lrdn1")],
)
def test_what_a_failed_node_cost_is_there_to_be_given_back(state: str, failed_node: str) -> None:
    found = used(State=state, FailedNode=failed_node)
    assert found.refund_s == found.billing_s == 32 * 3600


@pytest.mark.parametrize("word", ["None", "None assigned", "Unknown", ""])
def test_no_failed_node_gives_nothing_back(word: str) -> None:
    assert used(State="REQUEUED", FailedNode=word).refund_s == 0


@pytest.mark.parametrize("state", ["RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "STOPPED"])
def test_what_runs_is_shown_with_what_it_has_used_until_now(state: str) -> None:
    found = judged(State=state, End="Unknown")
    assert (found.verdict, found.usage.billing_s, found.usage.ends_job) == (Verdict.OPEN, 32 * 3600, False)


@pytest.mark.parametrize("state", ["PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"])
def test_what_waits_costs_nothing(state: str) -> None:
    found = judged(State=state, Start="Unknown", End="Unknown", ElapsedRaw="0", AllocTRES="")
    assert (found.verdict, found.usage.billing_s, found.fate) == (Verdict.OPEN, 0, Fate.OPEN)


def test_the_sibling_that_another_cluster_took_costs_nothing_and_is_over() -> None:
    found = judged(State="REVOKED", AllocTRES="")
    assert (found.verdict, found.usage.billing_s, found.usage.ends_job) == (Verdict.FINAL, 0, True)


def test_a_state_that_nobody_knows_is_quarantined_with_its_word() -> None:
    found = judged(State="LEVITATING")
    assert (found.verdict, found.usage.billing_s) == (Verdict.QUARANTINED, 0)
    assert "LEVITATING" in found.usage.quarantined
    assert found.usage.key == "leonardo:900"


def test_every_state_has_a_rule() -> None:
    """Of job_state_codes.html, SLURM 25.05: the base states and the flags that sacct can show in their place."""
    base = "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED RUNNING SUSPENDED"
    flags = "COMPLETING CONFIGURING REQUEUED REQUEUE_HOLD RESIZING REVOKED SPECIAL_EXIT STOPPED SIGNALING STAGE_OUT"
    assert set(f"{base} TIMEOUT {flags}".split()) <= set(RULES)


@pytest.mark.parametrize(
    "changes",
    [
        {"AllocTRES": ""},
        {"AllocTRES": "cpu=4,mem=1G"},
        {"AllocTRES": "billing=many"},
        {"AllocTRES": "billing"},
        {"ElapsedRaw": ""},
        {"ElapsedRaw": "-5"},
        {"Suspended": "a while"},
        {"End": "Unknown"},
        {"Start": "Unknown"},
        {"Start": "yesterday"},
    ],
)
def test_a_row_that_cannot_be_priced_is_quarantined_and_says_why(changes: dict[str, str]) -> None:
    found = judged(**changes)
    assert (found.verdict, found.usage.billing_s) == (Verdict.QUARANTINED, 0)
    assert found.usage.quarantined


@pytest.mark.parametrize(("start", "allocated"), [("None", ""), (str(START + 3600), ""), ("None", NODE)])
def test_a_job_cancelled_before_it_started_is_over_and_costs_nothing(start: str, allocated: str) -> None:
    found = judged(State="CANCELLED by 0", Start=start, ElapsedRaw="0", AllocTRES=allocated)
    assert (found.verdict, found.usage.billing_s, found.usage.ends_job) == (Verdict.FINAL, 0, True)
    assert found.usage.start is None


def test_time_suspended_is_charged_though_elapsed_leaves_it_out() -> None:
    found = used(ElapsedRaw="3000", Suspended="00:10:00")
    assert (found.seconds, found.billing_s) == (3600, 32 * 3600)


def test_a_job_of_forty_days_is_charged_forty_days() -> None:
    forty = 40 * 86400
    found = used(ElapsedRaw=str(forty - 86400 * 33), Suspended="33-00:00:00", End=str(START + forty))
    assert found.billing_s == 32 * forty


def test_one_gpu_with_24_cores_costs_the_cores_and_one_core_with_half_the_memory_the_memory() -> None:
    leonardo = Billing(unit="local core-h", per_core=1, per_gpu=8, per_gb=32 / 494000 * 1024)
    one_gpu = {"AllocTRES": "cpu=24,gres/gpu=1,mem=100000M,node=1"}
    half_memory = {"AllocTRES": "cpu=1,mem=247000M,node=1"}
    rounded = Billing(unit="local core-h", per_core=1, per_gpu=8, per_gb=0.0663320)
    assert judge(row(**one_gpu), billing=leonardo, now=NOW).usage.billing_s == 24 * 3600
    assert judge(row(**half_memory), billing=rounded, now=NOW).usage.billing_s == 16 * 3600
    few_cores = judge(row(AllocTRES="cpu=6,gres/gpu=1,mem=1G,node=1"), billing=leonardo, now=NOW).usage
    assert few_cores.billing_s == 8 * 3600
    assert used(AllocTRES="billing=24,cpu=24,gres/gpu=1,mem=100000M,node=1").billing_s == 24 * 3600
    assert used(AllocTRES="billing=16,cpu=1,mem=247000M,node=1").billing_s == 16 * 3600


def test_slurms_own_billing_goes_before_the_profiles_formula() -> None:
    other = Billing(unit="h", per_core=1000)
    assert judge(row(), billing=other, now=NOW).usage.rate == 32


def test_a_formula_with_steps_and_a_share_of_a_unit_loses_less_than_one_billing_second() -> None:
    """LUMI's small-g: half of the largest of GCDs, packs of 8 cores and packs of 64 GB."""
    lumi = Billing(unit="GPU-h", per_core=0.0625, per_gpu=0.5, per_gb=0.0078125, core_step=8, gb_step=64)
    held = tres.parse("cpu=9,gres/gpu=1,mem=65G,node=1")
    assert tres.by_formula(held, lumi) == 1  # two packs of cores, two of memory: half of 2
    odd = judge(row(AllocTRES="cpu=8,mem=1G,node=1", ElapsedRaw="3", End=str(START + 3)), billing=lumi, now=NOW)
    assert odd.usage.billing_s == 1  # 0.5 × 3


def test_a_gpu_is_counted_once_whether_typed_untyped_or_both() -> None:
    assert tres.parse("gres/gpu=4,gres/gpu:a100=4").gpus == 4
    assert tres.parse("gres/gpu:a100=2,gres/gpu:h100=1").gpus == 3
    assert tres.parse("cpu=1").gpus == 0


def test_energy_that_is_a_sentinel_is_no_energy() -> None:
    assert used(AllocTRES=NODE + ",energy=18446744073709551614").billing_s == 32 * 3600
    assert tres.known("18446744073709551614") is None
    assert tres.parse("billing=18446744073709551614,cpu=1").billing is None


@pytest.mark.parametrize(
    ("text", "mb"),
    [("494000M", 494000), ("1.50G", 1536), ("1T", 1024**2), ("2048K", 2), ("100", 100), ("0", 0), ("0.50G", 512)],
)
def test_memory_is_read_with_its_unit_and_its_decimals(text: str, mb: int) -> None:
    assert tres.memory_mb(text) == mb


@pytest.mark.parametrize("text", ["", "1.5X", "G", "1,5G", "-1M"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory"):
        tres.memory_mb(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:10:00", 600), ("10:00", 600), ("1-00:00:00", 86400), ("40-01:02:03", 3459723), ("00:00:01.750", 1)],
)
def test_clocks_have_any_number_of_days(text: str, seconds: int) -> None:
    assert tres.seconds(text) == seconds


def test_the_key_is_the_database_index_and_without_one_everything_that_tells_attempts_apart() -> None:
    assert used(DBIndex="").key == used(DBIndex="0").key == f"leonardo:4711:{START - 60}:{START}"
    again = used(JobIDRaw="4711", DBIndex="901")
    assert again.key != used().key  # the id of a job that was lost, given again


@pytest.mark.parametrize("job_id", ["4711_4", "4711_[4-9]", "4711_[4-9%2]", "4711+1", "4711"])
def test_tasks_and_components_belong_to_the_job_that_was_submitted(job_id: str) -> None:
    assert judged(JobID=job_id).job == "4711"


def test_a_job_in_no_queue_that_never_ended_is_shown_up_to_its_limit_and_flagged() -> None:
    lost = {"State": "RUNNING", "End": "Unknown", "ElapsedRaw": "999999", "TimelimitRaw": "120"}
    found = judged(queue_of(), **lost)
    assert (found.usage.billing_s, found.verdict) == (32 * 120 * 60, Verdict.OPEN)
    assert "runaway" in found.flag
    for queue in (queue_of("4711"), None):
        assert judged(queue, **lost).usage.billing_s == 32 * 999999
        assert not judged(queue, **lost).flag
    young = judged(queue_of(), **lost | {"Start": str(int((NOW - timedelta(minutes=5)).timestamp()))})
    assert young.usage.seconds == 300


def test_a_clock_of_its_own_is_read_where_a_slurm_does_not_know_the_format() -> None:
    written = datetime.fromtimestamp(START, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    assert used(Start=written).start == used().start


def test_separators_in_a_jobs_name_stay_in_the_name() -> None:
    assert used(JobName="sweep|lr=1|x").name == "sweep|lr=1|x"


@pytest.mark.parametrize("line", ["", "lab|1|2", "sacct: error: slurm_persist_conn_open_without_init"])
def test_a_line_that_is_no_row_is_told_and_does_not_stop_the_others(line: str) -> None:
    text = "\n".join([row().raw, line, row(DBIndex="901").raw])
    found = [judge(one, now=NOW) for one in accounting.parse(text, FIELDS)]
    assert [one.usage.key for one in found if one.verdict is Verdict.FINAL] == ["leonardo:900", "leonardo:901"]
    assert [one.usage.raw for one in found if one.verdict is Verdict.QUARANTINED] == [line] * bool(line)


def test_two_bad_lines_have_keys_of_their_own() -> None:
    assert Malformed(raw="a|b", why="").key != Malformed(raw="a|c", why="").key


def test_the_call_asks_for_every_attempt_and_cuts_nothing() -> None:
    since = datetime(2026, 11, 16, 1, 30, tzinfo=UTC)
    argv = accounting.command(["AIFAC_P02_001", "IscrB_X"], FIELDS, since=since, cluster="leonardo")
    assert argv[:7] == ["sacct", "-D", "-X", "-P", "-n", "--noconvert", "-a"]
    assert argv[7:15] == ["-M", "leonardo", "-A", "aifac_p02_001,iscrb_x", "-S", "2026-11-16T01:30:00", "-E", "now"]
    assert {"-T", "-s", "--truncate", "--state"}.isdisjoint(argv)
    assert accounting.ENVIRONMENT["TZ"] == "UTC"


def test_only_fields_that_this_slurm_has_are_asked_for_and_the_name_comes_last() -> None:
    old = " ".join(name for name in FIELDS if name not in ("SLUID", "FailedNode", "Restarts", "OriginalSLUID"))
    assert accounting.fields_of(old) == tuple(old.split())
    assert accounting.fields_of(old)[-1] == FIELDS[-1] == "JobName"
    with pytest.raises(accounting.ClusterError, match="AllocTRES"):
        accounting.fields_of("Cluster JobIDRaw State Submit Start End ElapsedRaw JobName")


def test_the_queue_is_read_past_headings_and_with_the_ids_of_arrays() -> None:
    found = accounting.parse_queue("CLUSTER: lab\n4713|4711|press-1\n4720|4720|a|b\n")
    assert (found.ids, found.names) == ({"4713", "4711", "4720"}, {"press-1", "a|b"})
