"""One PostgreSQL server for all contract tests of a session, and a new place for a ledger on each database."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Postgres]:
    if postgres_server.programs() is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL server on this machine: apt-get install postgresql")
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    with postgres_server.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new ledger can be."""
    if request.param == "sqlite":
        return str(tmp_path / "quota" / "ledger.db")
    name = f"test_{time.monotonic_ns()}"
    server: postgres_server.Postgres = request.getfixturevalue("postgres")
    server.run(f"CREATE SCHEMA {name}")
    return server.url(name)
