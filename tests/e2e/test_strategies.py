"""Every strategy trains the same network: same losses, same state, wherever it is interrupted and whoever goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import strategy_program as program

from forgia_jobs import determinism
from forgia_jobs.meeting.rendezvous import World

from .conftest import in_ranks

KINDS = ("ddp", "fsdp", "zero0", "zero1", "zero2", "zero3")
WORLDS = [int(size) for size in os.environ.get("FORGIA_STRATEGY_WORLDS", "2,4").split(",")]
"""Numbers of processes: sums of two are the same in any order, those of more are not. The variable may name others;
it is read before tests hide such variables."""
SAME = 1e-5
"""Losses are between 0.05 and 7; sums over ranks and micro-batches round in another order than one sum."""
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
Found = dict[str, Any]


@pytest.fixture(scope="module")
def stop() -> int:
    """Where the trainings are interrupted: anywhere."""
    return random.randrange(3, program.STEPS - 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture(scope="module")
def alone(folder: Path, stop: int) -> Found:
    """The reference: one process."""
    determinism.set_up(level="D1", seed=0, threads=1)
    found = program.explore("ddp", folder / "world-1", ALONE, stop=stop)
    shutil.copytree(folder / "world-1" / "ddp", folder / "foreign" / "alone")
    return found


@pytest.fixture(scope="module", params=WORLDS)
def together(request: pytest.FixtureRequest, folder: Path, alone: Found, stop: int) -> dict[str, Found]:
    """What several processes find; they have nothing to say on the way."""
    size = request.param
    said = in_ranks(size, "strategy_program.py", folder, str(stop), ",".join(KINDS))
    assert "".join(said) == ""
    found: dict[str, Found] = json.loads((folder / f"found-{size}.json").read_text())
    return found


def apart(some: list[float], others: list[float]) -> float:
    assert len(some) == len(others) == program.STEPS
    return max(abs(one - other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_one_process_also_in_micro_batches(
    kind: str, alone: Found, together: dict[str, Found]
) -> None:
    assert apart(together[kind]["losses"], alone["losses"]) < SAME
    assert apart(together[kind]["accumulated"], alone["losses"]) < SAME
    assert alone["losses"][-4:] < alone["losses"][:4]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_changes_no_bit(kind: str, together: dict[str, Found], stop: int) -> None:
    found = together[kind]
    assert (found["resumed_differs"], found["resumed_losses_differ"]) == (0.0, 0.0), f"stopped after {stop} steps"


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_outlives_the_steps_after_it(kind: str, together: dict[str, Found]) -> None:
    assert together[kind]["snapshot_differs"] == 0.0
    assert together[kind]["weights_elsewhere"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_taken_over_bit_by_bit_from_other_strategies_and_worlds(
    kind: str, together: dict[str, Found]
) -> None:
    before = KINDS[KINDS.index(kind) - 1]
    assert together[kind]["adopted"] == {"alone": 0.0, before: 0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_goes_on_where_several_were_interrupted(
    kind: str, together: dict[str, Found], folder: Path, alone: Found, stop: int, tmp_path: Path
) -> None:
    source = max(folder.glob(f"world-[2-9]/{kind}"), default=folder / "world-1" / "ddp")
    assert program.adopt("ddp", source, tmp_path, ALONE) == 0.0
    strategy = program.start("ddp", ALONE)
    strategy.load_state(program.Stored(source))
    rest = program.steps(strategy, first=stop)
    assert max(abs(one - other) for one, other in zip(rest, alone["losses"][stop:], strict=True)) < SAME
