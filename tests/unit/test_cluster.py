"""What a live SLURM says of itself, taken apart; text recorded from SLURM 22.05.8, and the forms that sites add."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import cluster
from forgia.cluster import COMMANDS, Cluster, Limits, Shape
from forgia.errors import ClusterError

RECORDED = Path(__file__).parent / "recorded" / "slurm-22.05.8"


def recorded(**changes: str) -> dict[str, str]:
    return {part: (RECORDED / f"{part}.txt").read_text() for part in COMMANDS} | changes


def test_recorded_text_becomes_a_cluster() -> None:
    found = cluster.parse(recorded())
    assert (found.name, found.version, found.largest_wins) == ("lab", "22.05.8", False)
    main, low = found.partitions["main"], found.partitions["low"]
    assert main.limits == Limits(walltime_s=86400)
    assert (main.exclusive, main.qos, main.allowed_qos, main.memory_mb_per_node) == (False, None, (), None)
    assert (low.exclusive, low.qos, low.allowed_qos, low.memory_mb_per_node) == (
        True,
        "long",
        ("normal", "long"),
        16000,
    )
    assert low.limits == Limits()
    assert main.weights == {"core": 1.0, "gpu": 8.0}
    assert found.shapes["main"] == Shape(cpus=8, memory_mb=32000, gpus=4, gpu_type="fake")
    flags = frozenset({"DenyOnLimit", "PartitionTimeLimit"})
    assert found.qos["long"] == Limits(walltime_s=345600, nodes_min=2, nodes_max=3, cores_max=24, flags=flags)
    assert (found.accounts, found.own_qos, found.default_qos) == (("acme", "other"), ("long", "normal"), None)


@pytest.mark.parametrize("part", sorted(COMMANDS))
def test_an_empty_answer_leaves_its_part_unknown_and_the_rest_as_it_was(part: str) -> None:
    without, whole = cluster.parse(recorded(**{part: ""})), cluster.parse(recorded())
    parts = {
        "config": ("name", "version"),
        "partitions": ("partitions",),
        "nodes": ("shapes",),
        "qos": ("qos",),
        "associations": ("accounts", "own_qos"),
    }
    assert not any(getattr(without, name) for name in parts[part])
    for name in {name for other in parts for name in parts[other]} - set(parts[part]):
        assert getattr(without, name) == getattr(whole, name)


@pytest.mark.parametrize(
    ("gres", "gpus", "kind"),
    [
        ("gpu:a100:4(S:0-1)", 4, "a100"),
        ("gpu:4", 4, None),
        ("tmpfs:10240,gpu:a100:4(S:0-1)", 4, "a100"),
        ("gpu:a100:2(S:0),gpu:h100:2", 4, "a100"),
        ("(null)", 0, None),
        ("mygpu:8", 0, None),
    ],
)
def test_gpus_are_read_out_of_what_sites_declare(gres: str, gpus: int, kind: str | None) -> None:
    shape = cluster.shapes(f"boost|3456|32|494000+|{gres}\n")["boost"]
    assert shape == Shape(cpus=32, memory_mb=494000, gpus=gpus, gpu_type=kind)


def test_the_most_frequent_kind_of_node_stands_for_a_partition() -> None:
    text = "p|2|128|2000000|gpu:a100:8\np|300|32|494000|gpu:a100:4\np|100|32|494000|gpu:a100:4\nnonsense\n"
    assert cluster.shapes(text)["p"].gpus == 4


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("CPU=1.0,Mem=0.25G,GRES/gpu=8.0", {"core": 1.0, "gb": 0.25, "gpu": 8.0}),
        ("cpu=0.5,mem=0.001", {"core": 0.5, "gb": 1.024}),
        ("Mem=1T,Node=4,GRES/gpu:a100=8,GRES/gpu:h100=16", {"gb": 1 / 1024, "node": 4.0, "gpu": 16.0}),
        ("License/x=1,CPU=many", {}),
        ("", {}),
    ],
)
def test_billing_weights_are_by_core_gpu_gigabyte_and_node(text: str, weights: dict[str, float]) -> None:
    assert cluster.weights(text) == pytest.approx(weights)


def test_the_largest_part_is_billed_where_the_site_says_so() -> None:
    config = recorded()["config"].replace(
        "PriorityFlags           =", "PriorityFlags           = MAX_TRES,NO_FAIR_TREE"
    )
    assert cluster.parse(recorded(config=config)).largest_wins


@given(text=st.text(st.characters(codec="utf-8"), max_size=200), part=st.sampled_from(sorted(COMMANDS)))
def test_no_answer_breaks_the_reader(text: str, part: str) -> None:
    assert isinstance(cluster.parse({part: text}), Cluster)


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_closed_accounting_is_unknown_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "scontrol", f'echo "$@" >> {tmp_path}/calls; cat {RECORDED}/"$2"*.txt')
    program(tmp_path, "sinfo", "echo slow >&2; exit 1")
    program(tmp_path, "sacctmgr", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = cluster.ask()
    assert found.name == "lab"
    assert set(found.partitions) == {"main", "low"}
    assert (found.qos, found.accounts, found.shapes) == ({}, (), {})
    assert any("sinfo" in words and "slow" in words for words in found.complaints)
    assert sum("it answered nothing" in words for words in found.complaints) == 2
    assert (tmp_path / "calls").read_text().splitlines() == ["show config", "show partition -o"]


def test_a_machine_without_slurm_is_told_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no such program") as caught:
        cluster.ask()
    assert "login node" in (caught.value.hint or "")
