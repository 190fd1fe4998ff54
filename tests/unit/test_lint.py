"""Advice before a request is sent: more billed than the GPUs, nodes partly used, limits of a queue, with the sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import fit, lint, profile
from forgia.catalogue import Catalogue
from forgia.profile import Billing, Profile, Queue


def profile_of(name: str, **changes: Any) -> Profile:
    return profile.load(Catalogue().profile(name)).model_copy(update=changes)


def wanted(**changes: Any) -> dict[str, Any]:
    few = {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 1, "cpus_per_task": 8, "memory_gb": 100.0}
    return {**few, "walltime_s": 3600, **changes}


def warnings(
    on: Profile, *, home: str = "/home/anna", machine: str = "x86_64", torch: str | None = None, **changes: Any
) -> list[str]:
    variables = {"SCRATCH": "/scratch/anna", "HOME": "/home/anna"}
    resources = wanted(**changes)
    return lint.warnings(resources, on, home=Path(home), variables=variables, machine=machine, torch=torch)


LEONARDO = profile_of("leonardo-booster")


def test_cores_that_bill_more_than_the_gpus_are_told_with_both_sums() -> None:
    assert warnings(LEONARDO, cpus_per_task=24) == [
        "resources.cpus_per_task: 24 cores a node bill 24 local core-h an hour (24 x 1), 1 GPU alone 8 (1 x 8); "
        "cpus_per_task of 8 or less bills only the GPUs"
    ]
    assert "cpus_per_task of 8 or less" in warnings(LEONARDO, gpus_per_node=2, tasks_per_node=2, cpus_per_task=9)[0]
    assert "fewer tasks_per_node" in warnings(LEONARDO, tasks_per_node=9, cpus_per_task=1)[0]
    assert warnings(LEONARDO) == []
    assert warnings(LEONARDO, gpus_per_node=0, cpus_per_task=24) == []


def test_memory_that_bills_more_than_the_gpus_is_told_with_the_most_that_does_not() -> None:
    (told,) = warnings(LEONARDO, memory_gb=240.0)
    assert "240 GB a node bill 15.92 local core-h an hour" in told
    assert "memory_gb of 120.6 or less" in told
    assert warnings(LEONARDO, memory_gb=120.6) == []
    assert "memory_gb of 64 or less" in warnings(profile_of("lumi-g", python="/p"), memory_gb=65.0)[0]


@given(
    gpus=st.integers(1, 8),
    per_gpu=st.floats(0.1, 100),
    per_core=st.floats(0.01, 10),
    per_gb=st.floats(0.001, 10),
    core_step=st.integers(1, 16),
)
def test_the_most_that_is_offered_costs_no_more_than_the_gpus_and_a_little_more_would(
    gpus: int, per_gpu: float, per_core: float, per_gb: float, core_step: int
) -> None:
    billing = Billing(unit="h", per_gpu=per_gpu, per_core=per_core, per_gb=per_gb, core_step=core_step)
    cores, memory_gb = lint.most_cores(billing, gpus), lint.most_memory_gb(billing, gpus)
    ceiling = per_gpu * gpus * (1 + 1e-6)
    assert billing.node_hour(cores=cores, gpus=gpus, memory_gb=memory_gb) <= ceiling
    assert billing.parts(cores=cores + 1, gpus=gpus, memory_gb=0)["cores"] > per_gpu * gpus * (1 - 1e-6)
    assert billing.parts(cores=0, gpus=gpus, memory_gb=memory_gb + 0.2)["memory"] > per_gpu * gpus * (1 - 1e-6)


def test_a_whole_node_that_is_partly_used_is_told_with_its_charge() -> None:
    standard = profile_of("lumi-g", partition="standard-g", python="/p")
    (told,) = warnings(standard, gpus_per_node=2, tasks_per_node=2)
    assert told == (
        "resources.gpus_per_node: 2 of 8 GPUs a node are used, but partition standard-g gives and bills whole nodes: "
        "4 GPU-h an hour either way"
    )
    assert warnings(standard, gpus_per_node=8, tasks_per_node=8) == []
    (told,) = warnings(profile_of("meluxina", python="/p"), nodes=2, gpus_per_node=0)
    assert "0 of 4 GPUs" in told
    assert "2 node-h an hour" in told
    full = LEONARDO.model_copy(update={"qos": "boost_qos_bprod"})
    assert "1 of 4 GPUs" in warnings(full, nodes=65)[0]


def test_gpus_that_no_process_uses_are_told() -> None:
    (told,) = warnings(LEONARDO, gpus_per_node=4, tasks_per_node=2, cpus_per_task=4)
    assert told == (
        "resources.tasks_per_node: 2 process(es) use as many of the 4 GPUs a node that are asked for; "
        "set it to 4, or gpus_per_node to 2"
    )


def test_the_cores_that_belong_to_a_gpu_are_told() -> None:
    marenostrum = profile_of("marenostrum5-acc", python="/p")
    (told,) = warnings(marenostrum, gpus_per_node=2, tasks_per_node=2, cpus_per_task=8)
    assert "16 cores with 2 GPUs a node, profile marenostrum5-acc wants exactly 40 (2 x 20)" in told
    assert "set cpus_per_task to 20" in told
    assert warnings(marenostrum, cpus_per_task=20) == []
    karolina = profile_of("karolina", python="/p")
    assert warnings(karolina, cpus_per_task=8) == []
    assert "gives 16 (1 x 16)" in warnings(karolina, cpus_per_task=17)[0]


def test_what_is_missing_on_the_way_in_is_told() -> None:
    (told,) = warnings(profile_of("generic-slurm", python="/p"))
    assert "names no partition" in told
    assert warnings(profile_of("laptop"), cpus_per_task=900) == []


def test_a_home_that_the_site_empties_is_told() -> None:
    (told,) = warnings(LEONARDO, home="/scratch/anna/.forgia")
    assert "$SCRATCH" in told
    assert "after 40 days" in told
    assert warnings(LEONARDO, home="/scratch/annabel/.forgia") == []


def test_an_environment_that_the_nodes_cannot_run_is_told() -> None:
    assert "aarch64 nodes" in warnings(profile_of("jupiter"))[0]
    assert warnings(profile_of("jupiter"), machine="aarch64") == []
    assert warnings(profile_of("jupiter", python="/jupiter/bin/python")) == []
    assert "not built for ROCm" in warnings(profile_of("lumi-g"), memory_gb=60.0, torch="2.6.0+cu124")[0]
    assert warnings(profile_of("lumi-g"), memory_gb=60.0, torch="2.6.0+rocm6.2") == []


# Limits of a queue


def misfits(on: Profile, **changes: Any) -> dict[str, str]:
    return dict(fit.queue_misfits(wanted(**changes), on))


def test_a_walltime_past_the_qos_names_the_qos_that_allows_it() -> None:
    (told,) = misfits(LEONARDO, walltime_s=3 * 86400).values()
    assert told == (
        "3-00:00:00, profile leonardo-booster allows 1-00:00:00; qos boost_qos_lprod (up to 3 nodes, up to 4-00:00:00) "
        "takes it: name it in a copy of the profile; else lower it"
    )
    assert "boost_qos" not in misfits(LEONARDO, walltime_s=3 * 86400, nodes=4)["walltime"]
    assert "boost_qos" not in misfits(LEONARDO, walltime_s=5 * 86400)["walltime"]


def test_more_nodes_than_the_queue_gives_name_the_queue_that_does() -> None:
    told = misfits(LEONARDO, nodes=100)["nodes"]
    assert "100, profile leonardo-booster allows 64; qos boost_qos_bprod (from 65 nodes on, up to 256 nodes" in told
    assert "full nodes only" in told
    assert "partition standard-g" in misfits(profile_of("lumi-g"), nodes=8)["nodes"]
    short = LEONARDO.model_copy(update={"qos": "boost_qos_dbg"})
    assert misfits(short, nodes=3)["nodes"].startswith(
        "3, profile leonardo-booster with qos boost_qos_dbg allows 2; qos"
    )
    big = LEONARDO.model_copy(update={"qos": "boost_qos_bprod"})
    assert "wants 65 or more; qos default" in misfits(big, nodes=2)["nodes"]
    debug = profile_of("marenostrum5-acc", qos="acc_interactive")
    assert "80 cores in all" in misfits(debug, cpus_per_task=80)["cpus_per_task"]


def test_an_unknown_queue_has_no_limits_and_its_cost_is_told_for_whole_nodes() -> None:
    strange = LEONARDO.model_copy(update={"qos": "of-my-own"})
    assert misfits(strange, nodes=999, walltime_s=10**7) == {}
    assert strange.charge_per_hour(wanted()) == pytest.approx(32, rel=1e-3)
    assert LEONARDO.charge_per_hour(wanted()) == 8
    assert profile_of("leonardo-serial").charge_per_hour(wanted(gpus_per_node=0)) == 0
    assert profile_of("jupiter").charge_per_hour(wanted()) is None


def test_the_charge_follows_the_sites_own_examples() -> None:
    """Cineca's wiki: 24 cores and 1 GPU bill 24; 6 cores and 1 GPU bill 8; 24 cores and 4 GPUs bill 32."""
    for cores, gpus, charge in ((24, 1, 24), (6, 1, 8), (24, 4, 32)):
        assert LEONARDO.charge_per_hour(wanted(cpus_per_task=cores, gpus_per_node=gpus)) == charge
    lumi = profile_of("lumi-g")
    assert lumi.charge_per_hour(wanted(cpus_per_task=9)) == 1.0  # two packs of eight cores
    assert lumi.charge_per_hour(wanted(memory_gb=130.0)) == 1.5
    assert lumi.model_copy(update={"partition": "standard-g"}).charge_per_hour(wanted(nodes=2)) == 8.0
    assert profile_of("karolina").charge_per_hour(wanted(gpus_per_node=8)) == 1.0
    assert profile_of("slurm-local").charge_per_hour(wanted(gpus_per_node=4, cpus_per_task=2)) == 34  # the sum of both


def test_what_is_only_known_of_a_cluster_does_not_change_a_runs_identity() -> None:
    looked = LEONARDO.model_copy(update={"verified_on": "2026-11-23", "sources": (), "purged": {}, "title": "x"})
    assert profile.resolved(looked) == profile.resolved(LEONARDO)
    further = LEONARDO.model_copy(update={"queues": (*LEONARDO.queues, Queue(qos="new"))})
    assert profile.resolved(further) == profile.resolved(LEONARDO)
    assert profile.resolved(LEONARDO)["limits"] == {"nodes": 64, "walltime": 86400}
    assert profile.resolved(LEONARDO.model_copy(update={"qos": "boost_qos_lprod"}))["limits"]["nodes"] == 3
