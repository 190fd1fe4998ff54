"""The main job's world: three firms' exports, a folder to work in, and the command line as its own process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forgia import samples
from forgia.catalogue import Catalogue

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Firm → its export."""
    place = tmp_path_factory.mktemp("exports")
    files = samples.generate(Catalogue().generator("three-firms"), place)
    return {path.name.partition(".")[0]: path for path in files}


def forgia(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    argv = [sys.executable, "-m", "forgia_cli.main", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=300)
    assert not check or done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def start_ranks(size: int, program: str, *arguments: str | Path) -> list[subprocess.Popen[str]]:
    """A program of this folder as so many ranks that meet; what they print is to be read."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(program)), *map(str, arguments)],
            env={**os.environ, **meeting, "WORLD_SIZE": str(size), "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]


def in_ranks(size: int, program: str, *arguments: str | Path) -> list[str]:
    """Run a program of this folder as so many ranks that meet; what each has printed. All have to end well."""
    ranks = start_ranks(size, program, *arguments)
    said = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * size, "\n".join(said)
    return said


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return forgia


@pytest.fixture
def mine(command: Command, exports: dict[str, Path]) -> Command:
    """A recipe of one's own in this folder, bound to two firms' data."""
    for firm in ("alfa", "beta"):
        command("dataset", "add", firm, exports[firm], "--owner", firm)
    command("init", "mine", "--from", "predictive-maintenance", "--data", "alfa", "--data", "beta")
    return command
