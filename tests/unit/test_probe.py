"""A profile beside a live cluster: differences, what stays unknown, and the copy that is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import cluster, probe, profile
from forgia.catalogue import Catalogue
from forgia.cluster import Cluster, Limits, Partition, Shape
from forgia.errors import NotFound, UserError
from forgia.probe import Comparison
from forgia.profile import Profile

TODAY = date(2026, 11, 23)


def profile_of(name: str, **changes: Any) -> Profile:
    return profile.load(Catalogue().profile(name)).model_copy(update=changes)


def partition(**changes: Any) -> Partition:
    plain = Partition(
        limits=Limits(walltime_s=86400),
        exclusive=False,
        qos=None,
        allowed_qos=(),
        cpus_per_node=None,
        memory_mb_per_node=None,
        weights={},
    )
    return replace(plain, **changes)


LEONARDO = Cluster(
    name="leonardo",
    version="25.05.1",
    largest_wins=True,
    partitions={"boost_usr_prod": partition(weights={"core": 1.0, "gpu": 8.0, "gb": 32 / 494000 * 1024})},
    shapes={"boost_usr_prod": Shape(cpus=32, memory_mb=494000, gpus=4, gpu_type="a100")},
    qos={
        "normal": Limits(nodes_max=64, walltime_s=86400),
        "boost_qos_dbg": Limits(nodes_max=2, walltime_s=1800),
        "boost_qos_bprod": Limits(nodes_min=65, nodes_max=256, walltime_s=86400),
        "boost_qos_lprod": Limits(nodes_max=3, walltime_s=345600, flags=frozenset({"PartitionTimeLimit"})),
    },
)
"""What the cluster would answer if every document were right."""


def compare(name: str, seen: Cluster = LEONARDO, **changes: Any) -> Comparison:
    return probe.compare(profile_of(name, **changes), seen)


def fields(found: Comparison) -> dict[str, tuple[Any, Any]]:
    return {item.field: (item.profile, item.cluster) for item in found.differences}


def test_a_cluster_as_the_profile_says_has_only_what_was_unknown_to_tell() -> None:
    found = compare("leonardo-booster")
    assert fields(found) == {"queues.qos boost_qos_bprod.exclusive": (None, False)}
    assert found.remarks == ()


def test_every_difference_names_its_field_and_both_sides() -> None:
    moved = replace(
        LEONARDO,
        shapes={"boost_usr_prod": Shape(cpus=32, memory_mb=480000, gpus=4, gpu_type="a100_64")},
        qos={**LEONARDO.qos, "boost_qos_dbg": Limits(nodes_max=8, walltime_s=1800)},
    )
    found = fields(compare("leonardo-booster", moved))
    assert found["memory_mb_per_node"] == (494000, 480000)
    assert found["gpu.type"] == ("a100", "a100_64")
    assert found["queues.qos boost_qos_dbg.nodes_max"] == (2, 8)


def test_closed_accounting_never_loosens_a_limit_of_the_profile() -> None:
    blind = replace(LEONARDO, qos={}, partitions={"boost_usr_prod": partition(limits=Limits(), exclusive=True)})
    seen = compare("leonardo-booster", blind).seen
    assert [(queue.nodes_max, queue.walltime) for queue in seen.queues] == [
        (queue.nodes_max, queue.walltime) for queue in profile_of("leonardo-booster").queues
    ]
    assert all(queue.exclusive for queue in seen.queues)
    strict = replace(blind, partitions={"boost_usr_prod": partition(limits=Limits(walltime_s=3600))})
    assert compare("leonardo-booster", strict).seen.queue.walltime == 3600


def test_a_cluster_that_answers_nothing_changes_nothing() -> None:
    silent = Cluster(partitions={}, shapes={}, qos={}, complaints=("sinfo did not answer within 60 s",))
    found = compare("leonardo-booster", silent)
    assert found.seen == profile_of("leonardo-booster")
    assert found.remarks == silent.complaints


def test_another_cluster_than_the_profiles_is_told_with_its_partitions() -> None:
    with pytest.raises(NotFound, match="boost_usr_prod") as caught:
        compare("karolina")
    assert "--partition" in (caught.value.hint or "")
    with pytest.raises(UserError, match="no scheduler"):
        compare("laptop")


def test_what_a_person_should_know_is_remarked() -> None:
    yours = replace(
        LEONARDO,
        qos={"normal": Limits()},
        accounts=("aifac_p02_001",),
        own_qos=("normal",),
        partitions={"boost_usr_prod": partition(weights={"core": 2.0})},
    )
    remarks = "\n".join(compare("leonardo-booster", yours, account="AIFAC_P02_001", qos="boost_qos_dbg").remarks)
    assert "qos boost_qos_lprod is not there" in remarks
    assert "your associations have no qos boost_qos_dbg" in remarks
    assert "your accounts: aifac_p02_001" in remarks
    assert "SLURM bills the largest of 2 a core" in remarks
    assert "you have no account other" in "\n".join(compare("leonardo-booster", yours, account="other").remarks)
    assert "--partition: boost_usr_prod (4 GPUs a node)" in compare("generic-slurm").remarks[0]


def test_nothing_but_a_partition_becomes_a_whole_profile() -> None:
    offered = replace(
        LEONARDO,
        partitions={
            "boost_usr_prod": partition(allowed_qos=("normal", "boost_qos_lprod", "secret"), weights={"gpu": 8.0})
        },
        own_qos=("normal", "boost_qos_lprod"),
    )
    seen = compare("generic-slurm", offered, partition="boost_usr_prod").seen
    assert [queue.qos for queue in seen.queues] == [None, "boost_qos_lprod"]
    assert [queue.walltime for queue in seen.queues] == [86400, 345600]
    assert seen.gpu is not None
    assert (seen.cpus_per_node, seen.gpu.per_node) == (32, 4)
    assert seen.billing is not None
    assert (seen.billing.unit, seen.billing.per_gpu, seen.billing.combine) == ("billing-h", 8.0, "max")


def test_the_written_copy_is_a_profile_that_was_verified_today(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    found = compare("leonardo-booster")
    written = probe.write(path, found, LEONARDO, today=TODAY)
    assert written == profile.load(path)
    assert (written.name, written.verified_on) == ("mine", "2026-11-23")
    assert written.sources[-1] == "scontrol, sacctmgr and sinfo of cluster leonardo (SLURM 25.05.1), 2026-11-23"
    left_out = {"name", "sources", "verified_on"}
    assert written.model_dump(exclude=left_out) == found.seen.model_dump(exclude=left_out)
    with pytest.raises(UserError, match="is there already"):
        probe.write(path, found, LEONARDO, today=TODAY)
    with pytest.raises(UserError, match="becomes the profile's"):
        probe.write(tmp_path / "My Own.yaml", found, LEONARDO, today=TODAY)


@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_every_text_comes_back_from_a_written_profile(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("written") / "mine.yaml"
    odd = profile_of(
        "leonardo-booster", account=text, qos="1e3", partition="no", environment={"A": text, "B": "12:30:00"}
    )
    written = probe.write(path, Comparison(seen=odd, differences=(), remarks=()), LEONARDO, today=TODAY)
    assert (written.account, written.qos, written.partition) == (text, "1e3", "no")
    assert written.environment == {"A": text, "B": "12:30:00"}


@pytest.mark.parametrize("name", sorted(Catalogue().profiles()))
def test_every_profile_can_be_written_and_read_back(name: str, tmp_path: Path) -> None:
    found = Comparison(seen=profile_of(name), differences=(), remarks=())
    written = probe.write(tmp_path / f"{name}.yaml", found, LEONARDO, today=TODAY)
    assert written.model_dump(exclude={"verified_on", "sources"}) == found.seen.model_dump(
        exclude={"verified_on", "sources"}
    )


def test_recorded_text_of_a_real_slurm_agrees_with_the_profile_of_the_lab(repository: Path) -> None:
    folder = repository / "tests" / "unit" / "recorded" / "slurm-22.05.8"
    found = cluster.parse({part: (folder / f"{part}.txt").read_text() for part in cluster.COMMANDS})
    assert compare("slurm-local", found).differences == ()
    assert compare("slurm-local", found, partition="low").seen.queue.nodes_min == 2
