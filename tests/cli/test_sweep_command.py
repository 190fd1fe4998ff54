"""``forgia sweep`` on the command line: what it says before anything is sent, and how it shows what there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia import sweep as sweeps
from forgia.errors import JobFailed
from forgia.paths import HomePaths
from forgia.run import Journal, State
from forgia.store import append_line, private_directory
from forgia.sweep import Member, Sweep
from forgia_cli.app import App
from forgia_cli.sweep.folding import shortened
from forgia_cli.sweep.following import conclude

Command = Callable[..., Any]


def make_sweep(home: HomePaths, *, name: str = "mill-sweep-1", figures: tuple[float | None, ...]) -> Sweep:
    """A sweep whose members have ended: with this figure, or without a release."""
    members = []
    for index, figure in enumerate(figures):
        paths = home.run(f"{name}-{index}")
        private_directory(paths.root)
        journal = Journal(paths)
        journal.record(State.PLANNED, by="submitter", attempt=1)
        if figure is None:
            journal.record(State.FAILED, by="job", attempt=1, reason="out of memory")
        else:
            model = {"validation": {"rmse": figure}, "test": {"rmse": figure + 1}}
            append_line(paths.metrics, {"kind": "evaluation", "model": model}, sync=False)
            journal.record(State.SUCCEEDED, by="job", attempt=1)
        members.append(Member(run_id=paths.root.name, identity=f"sha256:{index}", values={"params.width": 2**index}))
    sweep = Sweep(
        id=name, recipe="mill", version="1.0.0", profile="laptop", scheduler="local", primary="rmse",
        is_lower_better=True, members=tuple(members), created="2026-11-23T10:00:00.000Z", array_size=1000,
    )  # fmt: skip
    sweeps.save(home, sweep)
    return sweep


@pytest.mark.parametrize("arguments", [["sweep"], ["sweep", "run"]])
def test_the_verb_need_not_be_said(
    forgia_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for tail in (["predictive-maintenance", "--over", "widht=1"], ["--over", "widht=1", "predictive-maintenance"]):
        outcome = forgia_command(*arguments, *tail)
        assert outcome.exit_code == 2
        assert "did you mean width?" in outcome.stderr


def test_help_of_the_noun_lists_its_verbs(forgia_command: Command) -> None:
    for arguments in (["sweep", "--help"], ["sweep", "-h"], ["sweep"]):
        outcome = forgia_command(*arguments)
        assert all(verb in outcome.output for verb in ("run", "show", "list", "retry", "cancel")), arguments


def test_wrong_points_are_told_before_anything_is_made(
    forgia_command: Command, home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    over = ("--over", "width=8,4096", "--over", "learning_rate=0.1..1", "--over", "depth=none")
    outcome = forgia_command("sweep", "predictive-maintenance", *over)
    assert outcome.exit_code == 2
    for words in ("4096 is outside", "0.1..1:5", "expected int"):
        assert words in outcome.stderr
    assert not home.runs.exists()
    assert not home.sweeps.exists()
    assert not home.datasets.exists()


def test_a_sweep_is_shown_as_table_json_and_csv(forgia_command: Command, home: HomePaths) -> None:
    make_sweep(home, figures=(0.5, None, 0.25))
    table = forgia_command("sweep", "show", "mill")
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["point", "width", "rmse", "(validation)", "rmse", "(test)", "state", "run"]
    assert lines[2].split() == ["1", "2", "–", "–", "failed", "mill-sweep-1-1"]
    assert "1 without a release: out of memory" in table.stderr
    assert "forgia sweep retry mill-sweep-1" in table.stderr
    assert "best: mill-sweep-1-2" in table.stderr
    shown = json.loads(forgia_command("sweep", "show", "--json").stdout)
    assert shown["schema_version"] == 1
    assert (shown["best"]["run_id"], shown["best"]["test"]) == ("mill-sweep-1-2", 1.25)
    assert forgia_command("sweep", "show", "--csv").stdout.splitlines()[1] == "0,1,0.5,1.5,succeeded,mill-sweep-1-0"


def test_one_reason_of_many_members_is_said_once_and_the_next_command_names_a_run(
    home: HomePaths, forgia_command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep(home, figures=(None, None))
    for run_id in sweep.run_ids:
        reason = f"no task in /home/runs/{run_id}/recipe"
        Journal(home.run(run_id)).record(State.FAILED, by="job", attempt=2, reason=reason)
    with pytest.raises(JobFailed) as caught:
        conclude(App(), sweep)
    assert caught.value.hint == "forgia job why mill-sweep-1-0"
    assert "2 without a release: no task in /home/runs/RUN/recipe" in capsys.readouterr().err


def test_a_list_of_jobs_shows_a_sweep_as_one_line_and_registers_none_of_its_members(
    forgia_command: Command, home: HomePaths
) -> None:
    make_sweep(home, figures=(0.5, None, 0.25))
    lines = forgia_command("job", "list").stdout.splitlines()
    assert len(lines) == 2
    assert "2 succeeded, 1 failed" in lines[1]
    assert len(forgia_command("job", "list", "--all").stdout.splitlines()) == 4
    assert len(json.loads(forgia_command("job", "list", "--json").stdout)["runs"]) == 3
    assert "mill-sweep-1" in forgia_command("sweep", "list").stdout
    assert json.loads(forgia_command("sweep", "list", "--json").stdout)["sweeps"][0]["states"].count("failed") == 1


def test_no_sweep_of_that_name_is_told(forgia_command: Command, home: HomePaths) -> None:
    assert forgia_command("sweep", "show").exit_code == 3
    make_sweep(home, figures=(0.5,))
    make_sweep(home, name="mill-sweep-2", figures=(0.5,))
    outcome = forgia_command("sweep", "cancel", "mill")
    assert outcome.exit_code == 3
    assert "2 sweeps begin so" in outcome.stderr


def test_a_reason_that_is_cut_says_so() -> None:
    assert shortened("a short reason") == "a short reason"
    assert shortened("word " * 20) == ("word " * 12).rstrip()[:59] + "…"
