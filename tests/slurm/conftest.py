"""Tests below this folder share one real SLURM; each starts with an empty queue."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lab_session
from lab import SlurmLab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever lies here needs SLURM."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def slurm_lab(pytestconfig: pytest.Config) -> SlurmLab:
    """The session's SLURM; skips where there is none, and fails there under CI."""
    return lab_session.shared_lab(pytestconfig)


@pytest.fixture(autouse=True)
def slurm_client(slurm_lab: SlurmLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmLab]:
    """This process's SLURM commands reach the lab; what a test leaves in the queue is cancelled."""
    for key, value in slurm_lab.exports().items():
        monkeypatch.setenv(key, value)
    slurm_lab.resume_drained()
    yield slurm_lab
    slurm_lab.cancel_all()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say at the end that SLURM was not tested, and why."""
    if reason := config.stash.get(lab_session.REASON, ""):
        terminalreporter.section("SLURM was not tested")
        terminalreporter.write_line(reason)
