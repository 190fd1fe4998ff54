"""Two Unix users of one group in one home: what a colleague may do with a run, and what nobody but its owner may."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to make a second Unix user")

COLLEAGUE, GROUP = f"fgu{os.getpid()}", f"fgg{os.getpid()}"
READ_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Where the interpreter itself lies in a private folder. It opens what may be read, never what may be written."""


@dataclass(frozen=True)
class Office:
    """One home, its owner (root) and a colleague."""

    home: HomePaths
    work: Path

    def owner(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self._forgia([], *arguments)

    def colleague(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self._forgia(self.as_colleague(), *arguments)

    def as_colleague(self) -> list[str]:
        user = ["--reuid", COLLEAGUE, "--regid", COLLEAGUE, "--groups", GROUP]
        return ["setpriv", *user, *(READ_ALL if closed() else ())]

    def shell(self, text: str, *values: object) -> int:
        argv = [*self.as_colleague(), "sh", "-c", text, "sh", *map(str, values)]
        return subprocess.run(argv, capture_output=True, check=False).returncode

    def _forgia(self, prefix: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        argv = [*prefix, sys.executable, "-m", "forgia_cli.main", *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=self.environment(), cwd=self.work)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def environment(self) -> dict[str, str]:
        return {**os.environ, "FORGIA_HOME": str(self.home.root), "HOME": str(self.work)}

    def wait(self, run_id: str) -> RunPaths:
        paths, limit = self.home.run(run_id), time.monotonic() + 120
        while (found := Journal(paths).status()).state is not State.SUCCEEDED:
            assert not found.state.is_final, found.reason
            assert time.monotonic() < limit, found
            time.sleep(0.2)
        return paths


def closed() -> bool:
    """Others cannot reach the interpreter."""
    places = [Path(sys.executable).resolve(), *Path(sys.executable).resolve().parents]
    return not all(place.stat().st_mode & stat.S_IXOTH for place in places)


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    place = Path(tempfile.mkdtemp(prefix="forgia-office-"))
    place.chmod(0o711)
    subprocess.run(["groupadd", GROUP], check=True)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/false", "--groups", GROUP, COLLEAGUE], check=True)
    try:
        (place / "work").mkdir(mode=0o777)
        (place / "work").chmod(0o777)
        made = Office(HomePaths(place / "home"), place / "work")
        assert made.owner("share", GROUP).returncode == 0
        yield made
    finally:
        subprocess.run(["userdel", "--force", COLLEAGUE], check=True)
        subprocess.run(["groupdel", GROUP], check=True)
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def finished(office: Office) -> RunPaths:
    """A run of the owner's that has ended and was not collected."""
    done = office.owner("submit", "predictive-maintenance", "-q", "--test", "--set", "train.epochs=2")
    assert done.returncode == 0, done.stderr
    return office.wait(done.stdout.split()[0])


def test_a_colleague_lists_reads_and_collects(office: Office, finished: RunPaths) -> None:
    logs = office.colleague("job", "logs", finished.root.name)
    assert logs.returncode == 0 and "[1.0" in logs.stdout
    done = office.colleague("collect", finished.root.name)
    assert done.returncode == 0, done.stderr
    assert "predictive-maintenance@1.0.0" in done.stdout
    listed = office.colleague("job", "list")
    assert finished.root.name in listed.stdout and "collected" in listed.stdout
    assert "collected" in office.owner("job", "list").stdout  # and its owner need not do it again
    assert office.owner("collect").stderr == "nothing to collect\n"
    assert office.colleague("model", "verify", "predictive-maintenance@1.0.0").returncode == 0


def test_a_colleague_changes_nothing_of_anothers_run(office: Office, finished: RunPaths) -> None:
    before = {path: path.lstat().st_mtime_ns for path in finished.root.rglob("*")}
    for attack in (
        'echo x >> "$1/journal.jsonl"',
        'echo x > "$1/submission/task.pkl"',
        'mv "$1/submission" "$1/elsewhere"',
        'touch "$1/recipe/task.py.new"',
        'mv "$1" "$1.gone"',
        'rm -rf "$1"',
        'chmod -R g+w "$1"',
    ):
        assert office.shell(attack, finished.root) != 0, attack
    assert office.shell('mv "$1" "$1.gone"', office.home.runs) != 0
    assert {path: path.lstat().st_mtime_ns for path in finished.root.rglob("*")} == before


def test_what_is_made_in_a_shared_home_is_open_to_the_group_and_to_nobody_else(
    office: Office, finished: RunPaths
) -> None:
    for path in (finished.root, *finished.root.rglob("*")):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or finished.checkpoints in path.parents:
            continue
        assert not found.st_mode & stat.S_IWGRP, path
        if path.parent in (finished.root, finished.attempt(1), finished.outbox) and path != finished.submission:
            assert found.st_mode & stat.S_IRGRP, path
    assert office.home.root.stat().st_mode & stat.S_IRWXO == 0


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_colleagues_word_does_not_move_anothers_run(office: Office, finished: RunPaths, verb: str) -> None:
    done = office.colleague("job", verb, finished.root.name)
    assert done.returncode == 4, done.stderr
    assert "only root can" in done.stderr and "next: " in done.stderr


def test_a_colleague_runs_in_the_same_home(office: Office, finished: RunPaths) -> None:
    done = office.colleague("submit", "predictive-maintenance", "-q", "--test", "--set", "train.epochs=1")
    assert done.returncode == 0, done.stderr
    paths = office.wait(done.stdout.split()[0])
    assert paths.root.stat().st_uid != os.getuid()
    assert office.owner("collect", paths.root.name).returncode == 0


def test_a_closed_home_is_its_owners_alone(office: Office, finished: RunPaths) -> None:
    assert office.owner("share", "--stop").returncode == 0
    assert stat.S_IMODE(office.home.root.stat().st_mode) == 0o700
    assert not finished.journal.stat().st_mode & stat.S_IRWXG
    assert office.owner("share", GROUP).returncode == 0
    assert finished.journal.stat().st_mode & stat.S_IRGRP
