"""Each recipe of the catalogue takes the same first steps with two processes, under any strategy, as with one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forgia
from forgia import submission
from forgia.catalogue import Catalogue
from forgia.paths import HomePaths

from .conftest import in_ranks

RECIPES = sorted(Catalogue().recipes())
KINDS = ("ddp", "fsdp", "zero2", "zero3")
STILL = {
    "energy-forecasting": ("dropout=0.0",),
    "visual-inspection": ("shift=0.0", "light=0.0", "turns=false"),
}
"""What is done at random, each process does by its own generator."""
SAME = 2e-4
"""Relative; sums over processes round in another order, and a few steps of an optimizer make more of it."""
Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen run of each recipe, at the size of its test."""
    home = HomePaths(tmp_path_factory.mktemp("together") / "home")
    client = forgia.Client(forgia.Settings(home=home))
    for name in RECIPES:
        plan = client.plan(name, sets=STILL.get(name, ()), test=True)
        submission.freeze(home.run(name), plan)
    return home.runs


def train(runs: Path, kinds: Sequence[str], size: int) -> Found:
    said = in_ranks(size, "recipe_program.py", runs, ",".join(kinds))
    found: Found = json.loads(said[0].splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def alone(runs: Path) -> Found:
    return train(runs, ["ddp"], 1)


@pytest.fixture(scope="module")
def together(runs: Path) -> Found:
    return train(runs, KINDS, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_take_the_steps_of_one(name: str, kind: str, alone: Found, together: Found) -> None:
    expected, found = alone[name]["ddp"], together[name][kind]
    assert np.isfinite(expected["losses"]).all()
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=SAME)
    np.testing.assert_allclose(found["answers"], expected["answers"], rtol=10 * SAME, atol=10 * SAME)
