"""`forgia profile` as a user meets it, with commands that answer recorded text, and a plan's advice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """\
#!/bin/sh
case "$1 $2 $3 $4" in
  "show config"*) part=config ;;
  "show partition"*) part=partitions ;;
  "-nP show qos"*) part=qos ;;
  "-nP show assoc"*) part=associations ;;
  *) part=nodes ;;
esac
cat '{recorded}'/$part.txt
"""


@pytest.fixture
def recorded_slurm(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's commands, each with one recorded answer."""
    folder = tmp_path / "bin"
    folder.mkdir()
    text = PROGRAM.format(recorded=repository / "tests" / "unit" / "recorded" / "slurm-22.05.8")
    for name in ("scontrol", "sacctmgr", "sinfo"):
        (folder / name).write_text(text)
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_probe_shows_differences_and_writes_a_copy_that_is_accepted(
    forgia_command: Callable[..., Any], recorded_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "site" / "cluster-profiles" / "mine.yaml"
    outcome = forgia_command("profile", "probe", "leonardo-booster", "--partition", "low", "--write", file)
    assert outcome.exit_code == 0, outcome.output
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert ["memory_mb_per_node", "494000", "16000"] in lines
    assert ["gpu.type", "a100", "fake"] in lines
    assert "note: qos boost_qos_dbg is not there" in outcome.stderr
    assert forgia_command("profile", "check", file).exit_code == 0
    monkeypatch.setenv("FORGIA_CATALOGUE", str(tmp_path / "site"))
    assert "mine" in forgia_command("profile", "list").stdout
    assert forgia_command("profile", "probe", "leonardo-booster", "--partition", "low", "--write", file).exit_code == 2


def test_a_profile_is_checked_by_its_name_too(forgia_command: Callable[..., Any]) -> None:
    assert "without problems" in forgia_command("profile", "check", "leonardo-booster").stdout
    outcome = forgia_command("profile", "check", "leonardo-bouster")
    assert outcome.exit_code == 3
    assert "did you mean leonardo-booster" in outcome.stderr


def test_probe_tells_programs_and_people_the_same(forgia_command: Callable[..., Any], recorded_slurm: Path) -> None:
    told = json.loads(forgia_command("profile", "probe", "slurm-local", "--json").stdout)
    assert (told["profile"], told["cluster"], told["slurm"]) == ("slurm-local", "lab", "22.05.8")
    assert told["differences"] == []
    assert "no difference to what cluster lab tells" in forgia_command("profile", "probe", "slurm-local").stdout


def test_probe_where_there_is_no_slurm_says_where_to_go(
    forgia_command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = forgia_command("profile", "probe", "leonardo-booster")
    assert outcome.exit_code == 5
    assert "scontrol: no such program" in outcome.stderr
    assert "login node" in outcome.stderr


def test_show_lists_every_field_and_queue(forgia_command: Callable[..., Any]) -> None:
    shown = forgia_command("profile", "show", "leonardo-booster").stdout
    lines = [line.rsplit(maxsplit=1) for line in shown.splitlines()]
    assert ["qos", "–"] in lines
    assert ["queues.qos boost_qos_lprod.walltime", "4-00:00:00"] in lines
    assert ["purged.SCRATCH", "40"] in lines


def test_plan_warns_of_what_bills_more_than_its_gpus(forgia_command: Callable[..., Any]) -> None:
    wishes = ("resources.gpus_per_node=1", "resources.cpus_per_task=24")
    flags = [word for wish in wishes for word in ("--set", wish)]
    arguments = ("predictive-maintenance", "-p", "leonardo-booster", "--account", "AIFAC_P02_001", *flags)
    outcome = forgia_command("plan", *arguments)
    assert outcome.exit_code == 0, outcome.output
    assert "warning: resources.cpus_per_task: 24 cores a node bill 24 local core-h an hour (24 x 1)" in outcome.stderr
    assert "24.00 local core-h billed" in outcome.stdout
    long = ("--set", "resources.walltime=3-00:00:00", "--set", "resources.attempts.time_limit=1")
    outcome = forgia_command("check", *arguments, *long)
    assert outcome.exit_code == 2
    assert "qos boost_qos_lprod (up to 3 nodes, up to 4-00:00:00) takes it" in outcome.stderr
