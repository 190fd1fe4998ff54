"""What every test stands on: a home of its own, and the command line as a user meets it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from forgia.paths import HomePaths

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", default=False, help="write golden files anew")


@pytest.fixture(autouse=True)
def private_environment(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Nothing of the developer's home, settings or colours reaches a test."""
    for name in [name for name in os.environ if name.startswith("FORGIA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("user")))
    monkeypatch.setenv("FORGIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    umask = os.umask(0o077)
    yield
    os.umask(umask)


@pytest.fixture
def home(tmp_path: Path) -> HomePaths:
    return HomePaths(tmp_path / "home")


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


@pytest.fixture
def forgia_command() -> Callable[..., Outcome]:
    """Run a command in this process exactly as the console script does; nothing is swallowed."""

    def run(*arguments: str | Path) -> Outcome:
        from forgia_cli.main import invoke

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = invoke([str(argument) for argument in arguments])
        return Outcome(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


def pytest_sessionstart() -> None:
    # a shell that starts us in the background has SIGINT ignored, which the programs under test would inherit
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # child processes of tests find the packages as the tests do, installed or not
    places = [str(REPOSITORY / place) for place in ("src", "cli", "jobs")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
