"""A sweep on this machine, as a person does it: points, table, best registered, failures alone again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from forgia.paths import HomePaths
from forgia.run import statuses

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = ("--test", "--set", "train.epochs=1")


@pytest.mark.slow
def test_two_points_become_a_table_and_the_best_a_model(mine: Command, home: HomePaths) -> None:
    done = mine("sweep", *SMALL, "--over", "learning_rate=0.0001,0.01", "--parallel", "2")
    table, last = done.stdout.splitlines()[:-1], done.stdout.splitlines()[-1]
    assert table[0].split()[:2] == ["point", "train.learning_rate"]
    assert len(table) == 3
    assert last.startswith("mine@1.0.0  sha256:")
    assert "best: train.learning_rate = " in done.stderr
    shown = json.loads(mine("sweep", "show", "--json").stdout)
    assert sorted(point["state"] for point in shown["points"]) == ["collected", "succeeded"]
    assert shown["best"]["chosen_by"] == max(point["chosen_by"] for point in shown["points"])
    assert mine("sweep", "show", "last", "--csv").stdout.count("\n") == 3
    assert len(mine("job", "list").stdout.splitlines()) == 2, "a sweep is one line"
    assert len(mine("job", "list", "--all").stdout.splitlines()) == 3
    assert sorted(str(item.state) for item in statuses(home)) == ["collected", "succeeded"], "lists register no loser"
    again = mine("sweep", *SMALL, "--over", "learning_rate=0.0001,0.01")
    assert "2 of which ran" in again.stderr
    assert {item.attempt for item in statuses(home)} == {1}
    refused = mine("sweep", "retry", check=False)
    assert (refused.returncode, "no member has failed" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_ctrl_c_leaves_a_sweep_going_and_cancel_ends_it(mine: Command, home: HomePaths) -> None:
    argv = [sys.executable, "-m", "forgia_cli.main", "sweep", "--test", "--set", "train.epochs=900"]
    over = ["--over", "learning_rate=0.001,0.01,0.1"]
    with subprocess.Popen([*argv, *over], stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as client:
        deadline = time.monotonic() + 60
        while not any(item.started for item in statuses(home)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        client.send_signal(signal.SIGINT)
        said = client.communicate(timeout=60)[1]
    assert client.returncode == 130
    assert "goes on; the same command comes back to it" in said
    (sweep_id,) = mine("sweep", "list", "-q").stdout.split()
    assert {str(item.state) for item in statuses(home)} <= {"pending", "running"}
    assert mine("sweep", "cancel", sweep_id).stdout == f"{sweep_id}: 3 cancelled\n"
    assert mine("sweep", "cancel", sweep_id).stdout == f"{sweep_id}: 3 cancelled\n"
    array = home.sweep(sweep_id).array(1)
    while any((home.local_jobs / record.name).stat().st_size == 0 for record in home.local_jobs.iterdir()):
        assert time.monotonic() < deadline + 60, array.log.read_text()
        time.sleep(0.2)
