"""Modes of a shared home, and who may open it."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from forgia import sharing, store
from forgia.errors import NotFound
from forgia.paths import HomePaths
from forgia.quota.ledger import open_ledger
from forgia.run import Journal, State

OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_private_unless_the_home_is_shared(home: HomePaths) -> None:
    store.private_directory(home.runs)
    store.write_json(home.runs / "some.json", {})
    assert (mode(home.root), mode(home.runs), mode(home.runs / "some.json")) == (0o700, 0o700, 0o600)


def test_a_shared_home_lets_the_group_read_runs_and_write_the_registry(home: HomePaths) -> None:
    sharing.share(home, OWN_GROUP)
    run = home.run("mill-1")
    store.private_directory(run.attempt(1))
    store.append_line(run.journal, {}, sync=False)
    store.write_json(store.private_directory(home.registry / "acme") / "index.json", {})
    assert (mode(home.root), mode(home.runs)) == (0o2750, 0o3770)
    assert (mode(run.root), mode(run.attempt(1)), mode(run.journal)) == (0o2750, 0o2750, 0o640)
    assert (mode(home.sweeps), mode(store.private_directory(home.sweep("mill-sweep-1").root))) == (0o3770, 0o2750)
    open_ledger(home.ledger).close_connections()
    assert mode(home.ledger) == 0o660
    assert (mode(home.registry / "acme"), mode(home.registry / "acme" / "index.json")) == (0o2770, 0o660)


def test_sharing_reaches_what_is_there_already_and_stopping_takes_it_back(home: HomePaths) -> None:
    run = home.run("mill-1")
    store.private_directory(run.attempt(1))
    store.append_line(run.journal, {}, sync=False)
    sharing.share(home, OWN_GROUP)
    assert (mode(run.attempt(1)), mode(run.journal)) == (0o2750, 0o640)
    sharing.share(home, OWN_GROUP)  # again
    sharing.unshare(home)
    assert (mode(home.root), mode(run.attempt(1)), mode(run.journal)) == (0o700, 0o700, 0o600)


def test_a_marker_that_is_not_the_folders_owners_opens_nothing(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to give a file to another user")
    project = tmp_path / "project"
    project.mkdir()
    (project / store.SHARED_MARKER).write_text("write\n")
    os.chown(project / store.SHARED_MARKER, 65534, -1)
    place = store.private_directory(project / "mine" / "home")
    assert mode(place) == 0o700


def test_an_unknown_group_is_named_with_its_neighbours(home: HomePaths) -> None:
    with pytest.raises(NotFound, match="no group named 'no-such-group'"):
        sharing.share(home, "no-such-group")


def test_a_group_that_cannot_reach_the_home_is_told_of_at_once(home: HomePaths, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert tmp_path in sharing.share(home, OWN_GROUP).closed_above


def test_an_altered_payload_is_refused_before_it_is_loaded(home: HomePaths, tmp_path: Path) -> None:
    run = home.run("mill-1")
    payload = store.private_directory(run.submission) / "task.pkl"
    witness = tmp_path / "was-loaded"
    payload.write_bytes(b"cposix\nsystem\n(S'touch %s'\ntR." % str(witness).encode())
    argv = [sys.executable, "-m", "forgia.schedulers.node", str(run.submission)]
    for seal in ("0" * 64, None):
        environment = {key: value for key, value in os.environ.items() if key != "FORGIA_SEAL"}
        environment |= {"FORGIA_SEAL": seal} if seal else {}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "is not what its digest says" in done.stderr
    status = Journal(run).status()
    assert status.state is State.FAILED and "nothing of it was loaded" in status.reason
    assert not witness.exists()
